from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import Predictions, protocols, summarise
from hemlets.evaluation.metrics.definitions import SEGMENTS, SURFACE
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.protocols import load_protocol
from hemlets.evaluation.scoring.sample_scores import score
from hemlets.evaluation.scoring.truth import Truth

from .layouts import (
    H36M_ACTIONS,
    LAYOUTS,
    annotations_of,
    human36m,
    layout_of,
    predictions_of,
    with_info,
    written,
)

P1 = load_protocol("human36m-p1")
PROTOCOLS = Path(protocols.__file__).parent


def scored(folder, annotations, predictions, protocol=P1, **more):
    files = written(folder, annotations, predictions)
    return score(files[0], Truth.read(files[1], protocol), protocol, **more)


def changed(annotations: Annotations, **columns) -> Annotations:
    kept = {f: annotations.column(f) for f in annotations.table.column_names}
    return Annotations.from_columns(kept | columns)


@pytest.fixture(scope="module")
def truth() -> Annotations:
    return human36m("S9", "S11")


def test_a_wrist_off_by_34_mm_in_every_sample_is_an_mpjpe_of_2_over_17_joints(truth, tmp_path):
    exact = predictions_of(truth, noise_mm=0)
    joints = exact.joints3d_mm.copy()
    joints[:, Joint.LEFT_WRIST] += [16, 30, 0]
    found = scored(tmp_path, truth, dataclasses.replace(exact, joints3d_mm=joints))
    np.testing.assert_allclose(found.of("mpjpe_mm"), 2.0, atol=1e-3)


def test_our_eighteenth_joint_does_not_count_on_human36m(truth, tmp_path):
    exact = predictions_of(truth, noise_mm=0)
    joints = exact.joints3d_mm.copy()
    joints[:, Joint.THORAX] += 500
    found = scored(tmp_path, truth, dataclasses.replace(exact, joints3d_mm=joints))
    np.testing.assert_allclose(found.of("mpjpe_mm"), 0, atol=1e-3)


@pytest.mark.parametrize("name", ["human36m-p1", "human36m-p2", "human36m-pa"])
def test_the_last_column_of_human36m_is_the_mean_of_the_actions_however_many_samples_each_has(
    name, truth, tmp_path
):
    protocol = load_protocol(name)
    # Walking has four times as many samples as any other action, and alone has errors.
    walking = truth.column("action") == "Walking"
    kept = truth.take(np.flatnonzero(walking | (truth.frame == 0)))
    predictions = predictions_of(kept, noise_mm=0)
    joints = predictions.joints3d_mm.copy()
    joints[kept.column("action") == "Walking", Joint.LEFT_WRIST] += [16, 30, 0]
    predictions = dataclasses.replace(predictions, joints3d_mm=joints)
    if len(protocol.subjects) == 1:
        chosen = np.flatnonzero(kept.subject == protocol.subjects[0])
        kept, predictions = kept.take(chosen), predictions.take(chosen)
    summary = summarise(scored(tmp_path, kept, predictions, protocol), resamples=10)
    for table in summary.tables:
        (walk,) = [cell.figure.mean for cell in table.cells if cell.title == "Walk"]
        assert walk > 0.5
        assert table.average.mean == pytest.approx(walk / len(H36M_ACTIONS), rel=1e-3)
    if name == "human36m-p1":
        assert summary.tables[0].average.mean == pytest.approx(2 / 15, rel=1e-3)


def moved(predictions, joint, by_mm):
    joints = predictions.joints3d_mm.copy()
    joints[:, joint] += by_mm
    return dataclasses.replace(predictions, joints3d_mm=joints)


COUNTED_BY_3DHP = (
    "RIGHT_ANKLE", "RIGHT_KNEE", "RIGHT_HIP", "LEFT_HIP", "LEFT_KNEE", "LEFT_ANKLE",
    "RIGHT_WRIST", "RIGHT_ELBOW", "RIGHT_SHOULDER", "LEFT_SHOULDER", "LEFT_ELBOW", "LEFT_WRIST",
    "NECK", "HEAD_TOP",
)  # fmt: skip


def test_3dhp_counts_each_of_14_joints_as_a_fourteenth_and_no_other(tmp_path):
    annotations, protocol = layout_of("mpi_inf_3dhp"), load_protocol("mpi_inf_3dhp")
    exact = predictions_of(annotations, noise_mm=0)
    for joint in Joint:
        if joint == Joint.PELVIS:
            continue
        found = scored(tmp_path, annotations, moved(exact, joint, [400, 0, 0]), protocol)
        wrong = 100 / 14 if joint.name in COUNTED_BY_3DHP else 0
        np.testing.assert_allclose(found.of("pck3d_150mm_pct"), 100 - wrong, atol=1e-3)
        np.testing.assert_allclose(found.of("auc3d_150mm_pct"), (100 - wrong) * 30 / 31, atol=1e-3)


def test_3dpw_is_a_mean_over_12_limb_joints_and_the_neck(tmp_path):
    annotations, protocol = layout_of("threedpw"), load_protocol("threedpw")
    exact = predictions_of(annotations, noise_mm=0)
    for joint in Joint:
        if joint == Joint.PELVIS:
            continue
        found = scored(tmp_path, annotations, moved(exact, joint, [0, 26, 0]), protocol)
        counts = joint.name in COUNTED_BY_3DHP and joint != Joint.HEAD_TOP
        np.testing.assert_allclose(found.of("mpjpe_mm"), 2.0 if counts else 0.0, atol=1e-3)
        aligned = found.of("pa_mpjpe_mm")
        assert (aligned > 0.5).all() if counts else (aligned < 1e-3).all(), joint.name


def test_the_similarity_protocols_agree_with_scipy_on_their_joints(truth, tmp_path):
    from .test_metrics_against_scipy import scipy_errors_mm

    protocol = load_protocol("human36m-pa")
    predictions = predictions_of(truth, noise_mm=60)
    found = scored(tmp_path, truth, predictions, protocol)
    joints = list(JOINT_SETS["17j"])
    expected = [
        scipy_errors_mm(p.astype(float), t.astype(float), scale=True).mean()
        for p, t in zip(
            predictions.joints3d_mm[:, joints], truth.joints3d_mm[:, joints], strict=True
        )
    ]
    np.testing.assert_allclose(found.of("pa_mpjpe_mm"), expected, atol=1e-6)


def test_protocol_2_is_of_subject_11_alone_and_its_name_says_how_it_is_aligned(truth, tmp_path):
    protocol = load_protocol("human36m-p2")
    only = truth.take(np.flatnonzero(truth.subject == "S11"))
    files = written(tmp_path, truth, predictions_of(only))
    found = score(files[0], Truth.read(files[1], protocol), protocol)
    assert len(found) == len(only)
    assert [name.align for name in found.names] == ["similarity", "rigid"]


def test_predictions_and_annotations_may_stand_in_any_order(truth, tmp_path):
    predictions = predictions_of(truth)
    order = np.random.default_rng(0).permutation(len(truth))
    one = scored(tmp_path, truth, predictions)
    other = scored(tmp_path, truth, predictions.take(order))
    np.testing.assert_array_equal(one.values, other.values)


def test_scores_do_not_depend_on_how_many_rows_are_read_at_a_time(truth, tmp_path, monkeypatch):
    predictions = predictions_of(truth)
    whole = scored(tmp_path, truth, predictions)
    batches = Predictions.batches
    monkeypatch.setattr(Predictions, "batches", lambda path: batches(path, 7))
    np.testing.assert_array_equal(scored(tmp_path, truth, predictions).values, whole.values)


def test_a_table_of_many_datasets_and_splits_gives_the_protocols_samples(truth, tmp_path):
    table = Annotations.concatenate(
        [annotations_of("mpii", [("", "")]), human36m("S1", split="train"), truth]
    )
    assert len(scored(tmp_path, table, predictions_of(truth))) == len(truth)


def test_a_sample_of_a_training_subject_is_refused_by_name(truth, tmp_path):
    table = Annotations.concatenate([truth, human36m("S5", actions=["Walking"], each=1)])
    with pytest.raises(DataError, match=r"S5/Walking/00000\): they are of a subject that.*trains"):
        scored(tmp_path, table, predictions_of(table))


def test_a_sample_of_a_subject_that_is_not_tested_is_refused_by_name(truth, tmp_path):
    with pytest.raises(DataError, match=r"60 predictions can't count \(S9/Direc.*than S11"):
        scored(tmp_path, truth, predictions_of(truth), load_protocol("human36m-p2"))


def test_an_action_without_predictions_is_named_with_its_rows(truth, tmp_path):
    predictions = predictions_of(truth).take(np.flatnonzero(truth.action != "Eating"))
    with pytest.raises(DataError, match=r"8 samples have.*S9/Eating/00008.*action Eating is"):
        scored(tmp_path, truth, predictions)


def test_an_action_without_annotations_is_named_with_its_subject(tmp_path):
    fewer = Annotations.concatenate([human36m("S9"), human36m("S11", actions=H36M_ACTIONS[:-1])])
    with pytest.raises(DataError, match=r"1 group .* has no sample: WalkT\. of S11"):
        scored(tmp_path, fewer, predictions_of(fewer))


def test_an_action_that_no_column_knows_is_refused_with_its_rows(truth, tmp_path):
    action = truth.action.copy()
    action[3] = "Juggling"
    odd = changed(truth, action=action)
    with pytest.raises(DataError, match=r"actions: Juggling[\s\S]*S9/Directions/00003"):
        scored(tmp_path, odd, predictions_of(odd))


def test_a_subject_without_annotations_is_named(tmp_path):
    alone = human36m("S9")
    with pytest.raises(DataError, match="no sample of subject S11"):
        scored(tmp_path, alone, predictions_of(alone))


def test_one_pose_in_metres_is_refused_by_name(truth, tmp_path):
    predictions = predictions_of(truth)
    joints = predictions.joints3d_mm.copy()
    joints[17] /= 1000
    with pytest.raises(DataError, match=r"1 predicted pose is in metres[\s\S]*S9/Phoning/00017"):
        scored(tmp_path, truth, dataclasses.replace(predictions, joints3d_mm=joints))


def append(path, source):
    """A file whose rows stand in two files, one after the other, as no writer of ours would."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [pq.read_table(path), pq.read_table(source)]
    pq.write_table(pa.concat_tables(parts), path, row_group_size=4)


def test_a_sample_predicted_twice_is_refused_by_name_wherever_it_stands(
    truth, tmp_path, monkeypatch
):
    predictions = predictions_of(truth)
    files = written(tmp_path, truth, predictions)
    twice = tmp_path / "twice.parquet"
    predictions.take(np.array([5])).write(twice)
    append(files[0], twice)
    batches = Predictions.batches
    monkeypatch.setattr(Predictions, "batches", lambda path: batches(path, 50))
    with pytest.raises(DataError, match=r"predicted more than once[\s\S]*S9/Discussion/00005"):
        score(files[0], Truth.read(files[1], P1), P1)


def test_an_unknown_sample_is_refused_by_name(truth, tmp_path):
    predictions = predictions_of(truth)
    ids = predictions.sample_id.copy()
    ids[2] = "nobody"
    with pytest.raises(DataError, match=r"1 prediction is of no annotated sample \(nobody\)"):
        scored(tmp_path, truth, dataclasses.replace(predictions, sample_id=ids))


def test_nan_is_refused_by_name(truth, tmp_path):
    predictions = predictions_of(truth)
    files = written(tmp_path, truth, predictions)
    predictions.joints3d_mm[9, 4, 1] = np.nan
    predictions.write(files[0])
    with pytest.raises(DataError, match=r"not finite in 1 row[\s\S]*S9/Eating/00009"):
        score(files[0], Truth.read(files[1], P1), P1)


def test_frames_off_the_protocols_step_are_refused_by_name(truth, tmp_path):
    frame = truth.frame.copy()
    frame[6] += 1
    with pytest.raises(DataError, match=r"multiple of 64 frames[\s\S]*S9/Discussion/00006"):
        scored(tmp_path, changed(truth, frame=frame), predictions_of(truth))


def test_predictions_of_another_split_are_refused(truth, tmp_path):
    with pytest.raises(DataError, match=r"predictions of the gate split[\s\S]*the test split"):
        scored(tmp_path, truth, with_info(predictions_of(truth), split="gate"))


def test_a_missing_joint_counts_neither_for_nor_against(truth, tmp_path):
    valid = truth.valid3d.copy()
    valid[0, Joint.LEFT_WRIST] = False
    exact = predictions_of(truth, noise_mm=0)
    joints = exact.joints3d_mm.copy()
    joints[0, Joint.LEFT_WRIST] += 300
    joints[0, Joint.RIGHT_WRIST] += [0, 32, 0]
    found = scored(
        tmp_path, changed(truth, valid3d=valid), dataclasses.replace(exact, joints3d_mm=joints)
    )
    assert found.of("mpjpe_mm")[0] == pytest.approx(2.0, abs=1e-3)


def test_a_collapsed_or_straight_prediction_has_a_defined_aligned_error(truth, tmp_path):
    predictions = predictions_of(truth)
    joints = predictions.joints3d_mm.copy()
    joints[0] = 0
    joints[1] = np.linspace(0, 1, 18)[:, None] * [0, 900, 0]
    found = scored(
        tmp_path, truth, dataclasses.replace(predictions, joints3d_mm=joints),
        load_protocol("human36m-pa"),
    )  # fmt: skip
    assert np.isfinite(found.of("pa_mpjpe_mm")).all()


def test_a_mirrored_prediction_is_not_aligned_by_a_reflection(truth, tmp_path):
    exact = predictions_of(truth, noise_mm=0)
    mirrored = dataclasses.replace(exact, joints3d_mm=exact.joints3d_mm * np.float32([-1, 1, 1]))
    found = scored(tmp_path, truth, mirrored, load_protocol("human36m-pa"))
    assert found.of("pa_mpjpe_mm").min() > 20


@pytest.mark.parametrize(
    "name", [name for name in LAYOUTS if not load_protocol(name).needs(SURFACE | SEGMENTS)]
)
def test_every_pose_protocol_scores_its_datasets_layout(name, tmp_path):
    annotations = layout_of(name)
    protocol = load_protocol(name)
    found = scored(tmp_path, annotations, predictions_of(annotations), protocol)
    assert found.keys == tuple(measure.key for measure in protocol.measures)
    assert np.isfinite(found.values).all()


def test_a_joint_set_with_a_joint_that_the_dataset_never_annotates_is_refused(tmp_path):
    annotations = layout_of("threedpw")
    mine = tmp_path / "mine.toml"
    text = (PROTOCOLS / "threedpw.toml").read_text()
    mine.write_text(text.replace("13j-no-head-top", "14j"))
    with pytest.raises(
        DataError, match=r"head_top of the joint set 14j are annotated in no sample"
    ):
        scored(tmp_path, annotations, predictions_of(annotations), load_protocol(mine))


@pytest.mark.parametrize("name", ["surreal", "up3d"])
def test_body_protocols_measure_the_surface(name, tmp_path, body):
    annotations = layout_of(name)
    protocol = load_protocol(name)
    predictions = predictions_of(annotations)
    found = scored(tmp_path, annotations, predictions, protocol, body=body)
    np.testing.assert_allclose(found.values, 0, atol=1e-3)
    assert found.names[0].over == "1229v"


def test_what_the_predictions_lack_is_left_out_with_its_reason(tmp_path):
    annotations = annotations_of("open-rendered", [("s", "walk"), ("s", "run")])
    predictions = with_info(predictions_of(annotations), absent=("theta", "betas"))
    found = scored(tmp_path, annotations, predictions, load_protocol("open"))
    assert "per_vertex_mm" not in found.keys
    assert found.left_out["per_vertex_mm"] == "the predictions have no θ and β"
