"""Real rows through their own readers, predicted with an error that is known, and scored.

The samples are of the datasets' training parts. Where a protocol wants test subjects, the real
poses and cameras stand in for every sequence of the test set, in the words of the reader.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.transform import Rotation

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.data.readers.catalogue import datasets, find
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.mpi_inf_3dhp import _ACTIVITIES
from hemlets.data.table import FIELDS, Annotations
from hemlets.evaluation.protocols import load_protocol, protocol_names
from hemlets.evaluation.scoring.sample_scores import SampleScores, score
from hemlets.evaluation.scoring.truth import Truth

from .layouts import H36M_ACTIONS, LAYOUTS, predictions_of, written

TS_ACTIVITIES = _ACTIVITIES[1:]


def read(name: str, folder: Path, **settings: str) -> dict[str, Any]:
    """Columns of every row that a dataset's reader gives."""
    options = ReadOptions(frame_step=1, settings=settings)
    parts = [part.columns for part in find(name).read(folder, options)]
    return {field: np.concatenate([np.asarray(p[field]) for p in parts]) for field in parts[0]}


def table(columns: dict[str, Any]) -> Annotations:
    """As ingest makes it, without its images."""
    count = len(columns["sample_id"])
    empty = {pa.string(): "", pa.binary(): b""}
    return Annotations.from_columns(
        {
            field.name: [empty[field.dtype]] * count
            if field.dtype in empty
            else np.zeros((count, *field.shape), field.dtype.to_pandas_dtype())
            for field in FIELDS
            if field.default is None
        }
        | columns
    )


def standing_in(columns: dict[str, Any], groups: list[tuple[str, str]]) -> dict[str, Any]:
    """The rows once for every (subject, action) of a test set, 64 frames apart."""
    count, many = len(columns["sample_id"]), len(groups)
    whole = {name: np.concatenate([values] * many) for name, values in columns.items()}
    subject, action = (np.repeat([group[i] for group in groups], count) for i in (0, 1))
    frame = np.tile(np.arange(count) * 64, many)
    return whole | {
        "split": np.array(["test"] * count * many, object),
        "subject": subject.astype(object),
        "action": action.astype(object),
        "clip": np.array([f"{s}_{a}" for s, a in zip(subject, action, strict=True)], object),
        "camera_id": np.array(["54138969"] * count * many, object),
        "frame": frame,
        "sample_id": np.array(
            [f"{s}_{a}_{f:06d}" for s, a, f in zip(subject, action, frame, strict=True)], object
        ),
    }


def scored(folder: Path, rows: Annotations, predictions: Any, name: str, **more) -> SampleScores:
    protocol = load_protocol(name)
    files = written(folder, rows, predictions)
    return score(files[0], Truth.read(files[1], protocol), protocol, **more)


def wrist_off(rows: Annotations, offset_mm: list[float]):
    exact = predictions_of(rows, noise_mm=0)
    joints = exact.joints3d_mm.copy()
    joints[:, Joint.LEFT_WRIST] += offset_mm
    return replace(exact, joints3d_mm=joints)


@pytest.fixture(scope="module")
def human36m(samples) -> Annotations:
    groups = [(s, a) for s in ("S9", "S11") for a in H36M_ACTIONS]
    return table(standing_in(read("human36m", samples / "human36m"), groups))


@pytest.fixture(scope="module")
def mpi_inf_3dhp(samples) -> Annotations:
    groups = [(f"TS{i}", TS_ACTIVITIES[i]) for i in range(1, 7)]
    return table(standing_in(read("mpi_inf_3dhp", samples / "mpi_inf_3dhp"), groups))


def test_human36m_p1_of_real_poses_with_a_wrist_off_by_34_mm_is_2_mm(human36m, tmp_path):
    found = scored(tmp_path, human36m, wrist_off(human36m, [16, 30, 0]), "human36m-p1")
    np.testing.assert_allclose(found.of("mpjpe_mm"), 2.0, atol=1e-3)


@pytest.mark.parametrize("name", ["human36m-p2", "human36m-pa"])
def test_human36m_aligned_of_real_poses_turned_and_shrunk_is_0(name, human36m, tmp_path):
    subjects = load_protocol(name).subjects
    rows = human36m.take(np.flatnonzero(np.isin(human36m.subject, subjects)))
    exact = predictions_of(rows, noise_mm=0)
    turned = 0.8 * exact.joints3d_mm @ Rotation.from_rotvec([0.3, 0.2, -0.4]).as_matrix().T
    found = scored(tmp_path, rows, replace(exact, joints3d_mm=np.float32(turned)), name)
    np.testing.assert_allclose(found.of("pa_mpjpe_mm"), 0, atol=1e-3)
    if "rigid_mpjpe_mm" in found.keys:
        assert found.of("rigid_mpjpe_mm").min() > 10


def test_real_rows_of_training_subjects_are_refused_by_their_names(samples, tmp_path):
    rows = table(read("human36m", samples / "human36m"))
    with pytest.raises(DataError, match=r"(?s)no annotated sample .*2 rows: they are of a subject"):
        scored(tmp_path, rows, predictions_of(rows), "human36m-p1")


def test_mpi_inf_3dhp_counts_a_real_wrist_160_mm_off_as_one_of_14_wrong(mpi_inf_3dhp, tmp_path):
    found = scored(tmp_path, mpi_inf_3dhp, wrist_off(mpi_inf_3dhp, [0, 0, 160]), "mpi_inf_3dhp")
    np.testing.assert_allclose(found.of("pck3d_150mm_pct"), 100 * 13 / 14)
    np.testing.assert_allclose(found.of("auc3d_150mm_pct"), 100 * 13 / 14 * 30 / 31)
    np.testing.assert_allclose(found.of("mpjpe_mm"), 160 / 17, atol=1e-3)


def test_surreal_scores_a_real_clips_bodies_and_sees_another_shape(samples, tmp_path, body):
    # The folder tells the split, as in the dataset.
    clip = tmp_path / "test" / "run0" / "01_01"
    clip.mkdir(parents=True)
    shutil.copy(samples / "surreal" / "01_01_c0001_info.mat", clip)
    columns = read("surreal", tmp_path)
    rows = table({name: values[:8] for name, values in columns.items()})
    exact = predictions_of(rows, noise_mm=0)
    found = scored(tmp_path, rows, exact, "surreal", body=body)
    np.testing.assert_allclose(found.values, 0, atol=1e-2)
    thinner = replace(exact, betas=exact.betas - np.float32([2] + [0] * 9))
    assert scored(tmp_path, rows, thinner, "surreal", body=body).of("per_vertex_mm").min() > 5


def test_lspet_scores_the_real_images_that_are_held_out(samples, tmp_path):
    columns = read("lspet", samples / "lspet", validation_from="251")
    rows = table(columns)
    held_out = rows.take(np.flatnonzero(rows.column("split") == "validation"))
    assert len(held_out) == 50
    exact = predictions_of(held_out, noise_mm=0)
    found = scored(tmp_path, rows, exact, "lspet-pck").of("pck20_torso_pct")
    known = held_out.valid2d[:, [Joint.LEFT_SHOULDER, Joint.RIGHT_HIP]].all(1)
    assert known.sum() > 25
    np.testing.assert_array_equal(found[known], 100)
    assert np.isnan(found[~known]).all()
    away = replace(exact, joints2d_px=exact.joints2d_px + 10_000)
    assert np.nanmax(scored(tmp_path, rows, away, "lspet-pck").of("pck20_torso_pct")) == 0


def test_mpii_scores_real_people_by_the_head_and_not_at_all_without_its_length(samples, tmp_path):
    root = tmp_path / "mpii"
    shutil.copytree(samples / "mpii", root)
    (root / "mpii.json").rename(root / "valid.json")
    columns = read("mpii", root)
    # The JSON form lacks the head boxes of the official file.
    without = table(columns)
    found = scored(tmp_path, without, predictions_of(without, noise_mm=0), "mpii-pckh")
    assert np.isnan(found.values).all()
    ends = columns["joints2d_px"][:, [Joint.NECK, Joint.HEAD_TOP]]
    rows = table(columns | {"head_px": np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)})
    found = scored(tmp_path, rows, predictions_of(rows, noise_mm=0), "mpii-pckh")
    assert np.nanmin(found.values) == 100


def test_protocols_and_layouts_call_datasets_and_activities_as_the_readers_do():
    names = {dataset.name for dataset in datasets()}
    for name in protocol_names():
        assert set(load_protocol(name).datasets) <= names
    assert {source for source, _ in LAYOUTS.values()} <= names
    for table_ in load_protocol("mpi_inf_3dhp").tables:
        words = [word for column in table_.columns for word in column.where.get("action", ())]
        assert words in ([], list(TS_ACTIVITIES))
