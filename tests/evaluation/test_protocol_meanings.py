"""What each protocol averages over, by figures that would differ otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hemlets.core.skeleton import Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import Summary, Truth, load_protocol, score, summarise

from .layouts import human36m, layout_of, predictions_of

LSP14 = [
    Joint.RIGHT_ANKLE, Joint.RIGHT_KNEE, Joint.RIGHT_HIP, Joint.LEFT_HIP, Joint.LEFT_KNEE,
    Joint.LEFT_ANKLE, Joint.RIGHT_WRIST, Joint.RIGHT_ELBOW, Joint.RIGHT_SHOULDER,
    Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST, Joint.NECK, Joint.HEAD_TOP,
]  # fmt: skip


def measured(name: str, rows: Annotations, wrong_mm: np.ndarray) -> Summary:
    """Predictions off by so many millimetres along x, (N, 18)."""
    exact = predictions_of(rows, noise_mm=0)
    shift = np.stack([wrong_mm, 0 * wrong_mm, 0 * wrong_mm], -1)
    predictions = replace(exact, joints3d_mm=(exact.joints3d_mm + shift).astype(np.float32))
    protocol = load_protocol(name)
    return summarise(score(predictions, Truth.of(rows, protocol), protocol), resamples=100)


def test_human36m_averages_over_actions_not_over_samples() -> None:
    # Eating has ten times the samples of any other action, and the only errors.
    rows = Annotations.concatenate(
        [human36m("S9", "S11", each=2), human36m("S9", actions=["Eating"], each=20, seed=1)]
    )
    kept = {name: rows.column(name) for name in rows.table.column_names}
    ids = [f"{name}-{row}" for row, name in enumerate(rows.sample_id)]
    rows = Annotations.from_columns(kept | {"sample_id": ids})
    wrong = np.where((rows.column("action") == "Eating")[:, None], 170.0, 0.0) * np.ones(18)
    wrong[:, Joint.PELVIS] = 0
    (table,) = measured("human36m-p1", rows, wrong).tables
    eating = next(cell.figure.mean for cell in table.cells if cell.title == "Eating")
    assert eating == pytest.approx(170 * 16 / 17, rel=1e-4)
    assert table.average.mean == pytest.approx(eating / 15, rel=1e-4)


@pytest.mark.parametrize("joint", Joint)
def test_3dhp_counts_its_14_relevant_joints_and_no_other(joint: Joint) -> None:
    rows = layout_of("mpi_inf_3dhp", each=1)
    wrong = np.zeros((len(rows), 18))
    wrong[:, joint] = 200
    summary = measured("mpi_inf_3dhp", rows, wrong)
    counted = joint in {*LSP14} and joint is not Joint.PELVIS
    expected = 100 * 13 / 14 if counted else 100
    if joint is not Joint.PELVIS:
        assert summary.metric("pck3d_150mm_pct").figure.mean == pytest.approx(expected)


def test_3dhps_threshold_is_150_mm_and_strict() -> None:
    rows = layout_of("mpi_inf_3dhp", each=1)
    for error, share in ((149.9, 100 * 14 / 14), (150.1, 100 * 13 / 14)):
        wrong = np.zeros((len(rows), 18))
        wrong[:, Joint.LEFT_WRIST] = error
        found = measured("mpi_inf_3dhp", rows, wrong).metric("pck3d_150mm_pct").figure.mean
        assert found == pytest.approx(share)


@pytest.mark.parametrize("joint", [j for j in Joint if j not in (Joint.NOSE, Joint.HEAD_TOP)])
def test_3dpw_aligns_the_joints_of_lsp_that_it_annotates(joint: Joint) -> None:
    rows = layout_of("threedpw", each=1)
    wrong = np.zeros((len(rows), 18))
    wrong[:, joint] = 400
    error = measured("threedpw", rows, wrong).metric("pa_mpjpe_mm").figure.mean
    assert (error > 10) == (joint in LSP14)


def test_3dpws_reconstruction_error_is_of_the_mesh_over_lsps_14_joints(body) -> None:
    rows = layout_of("threedpw", each=1)
    protocol = load_protocol("threedpw")
    exact = predictions_of(rows, noise_mm=300)
    truth = Truth.of(rows, protocol)
    found = score(exact, truth, protocol, body=body)
    assert found.of("mesh_pa_mpjpe_mm").max() == pytest.approx(0, abs=1e-6)
    assert found.of("pa_mpjpe_mm").min() > 50
    assert found.name("mesh_pa_mpjpe_mm").over == "14j"
    bent = exact.theta.copy()
    bent[:, 16:18] = 0.5
    assert score(replace(exact, theta=bent), truth, protocol, body=body).of(
        "mesh_pa_mpjpe_mm"
    ).min() > 5  # fmt: skip
