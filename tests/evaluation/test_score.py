from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import Predictions, SampleScores, Scores, compare, score_samples
from hemlets.evaluation.predictions import PredictionsInfo
from hemlets.evaluation.protocols import load_protocol
from hemlets.evaluation.scoring.benchmark import score_file
from hemlets.evaluation.scoring.score import score
from hemlets.evaluation.scoring.truth import Truth


@pytest.fixture(scope="module")
def scores(predictions, annotations, body) -> Scores:
    return score(predictions, annotations, body=body, resamples=200)


def changed(annotations: Annotations, **columns) -> Annotations:
    kept = {f: annotations.column(f) for f in annotations.table.column_names}
    return Annotations.from_columns(kept | columns)


def test_the_truth_has_no_error(annotations, make_predictions, body):
    found = score(make_predictions(annotations), annotations, body=body, resamples=10)
    for key in ("mpjpe_mm", "pa_mpjpe_mm", "per_vertex_mm", "mesh_joints_mm", "theta_deg"):
        assert found.mean(key) == pytest.approx(0, abs=1e-3)
    assert found.mean("pck3d_150mm_pct") == 100
    assert found.mean("auc3d_150mm_pct") == pytest.approx(100 * 30 / 31, abs=1e-6)


def test_every_metric_has_its_protocol_in_its_name(scores):
    assert scores.samples.name("mpjpe_mm").full == (
        "mpjpe_mm/test/18j/root:pelvis/align:none/box:ground-truth/depth:bone-length-prior/flip:no"
    )
    assert scores.samples.name("pa_mpjpe_mm").root == "centroid"
    assert scores.samples.name("per_vertex_mm").over == "1229v"
    assert len(scores.logged) == len(scores.samples.names)


def test_the_names_are_ones_that_mlflow_takes(scores):
    validation = pytest.importorskip("mlflow.utils.validation")
    for name in scores.logged:
        validation._validate_metric_name(name)


def test_an_error_of_theta_is_over_the_joints_that_move_beside_that_of_the_rest_pose(
    annotations, make_predictions, body
):
    theta = annotations.theta.copy()
    theta[:, 1:] = 0
    theta[:, 4] = [0.4, 0, 0]
    theta[::2, 4] = [0.8, 0, 0]
    bent = changed(annotations, theta=theta)
    predictions = make_predictions(bent)
    # Wrong at a joint that never moves, and in its facing: neither is a matter of the pose.
    guess = theta.copy()
    guess[:, 0], guess[:, 22], guess[:, 4] = 0, 1, [0.5, 0, 0]
    guessed = dataclasses.replace(predictions, theta=guess)
    found = score(guessed, bent, body=None, resamples=10)
    assert found.samples.name("theta_deg").over == found.samples.name("theta_rest_deg").over == "1r"
    assert found.mean("theta_deg") == pytest.approx(np.degrees((0.1 + 0.3) / 2), abs=1e-4)
    assert found.mean("theta_rest_deg") == pytest.approx(np.degrees((0.4 + 0.8) / 2), abs=1e-4)


def test_predictions_without_theta_have_neither_its_error_nor_the_rest_poses(
    annotations, predictions
):
    info = predictions.info.model_copy(update={"absent": ("theta", "betas")})
    found = score(dataclasses.replace(predictions, info=info), annotations, body=None, resamples=10)
    assert not {"theta_deg", "theta_rest_deg"} & set(found.metrics)


def test_joint_errors_average_to_the_mpjpe(scores):
    assert np.mean(list(scores.joints_mm.values())) == pytest.approx(scores.mean("mpjpe_mm"))
    assert scores.joints_mm["pelvis"] == 0
    assert list(scores.joints_mm) == list(JOINTS)


def test_predictions_may_come_in_any_order(predictions, annotations, body, scores):
    order = np.random.default_rng(0).permutation(len(predictions))
    shuffled = score(predictions.take(order), annotations, body=body, resamples=200)
    np.testing.assert_array_equal(shuffled.samples.values, scores.samples.values)


def test_vertex_errors_do_not_depend_on_the_block(predictions, annotations, body):
    other = np.roll(np.arange(len(predictions)), 1)
    turned = dataclasses.replace(
        predictions, theta=predictions.theta[other], betas=predictions.betas[other]
    )
    whole = score_samples(turned, annotations, body=body).of("per_vertex_mm")
    steps = []
    blocks = score_samples(
        turned, annotations, body=body, block=5, progress=lambda *step: steps.append(step)
    ).of("per_vertex_mm")
    assert whole.min() > 10
    np.testing.assert_allclose(blocks, whole, rtol=1e-4)
    assert steps == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]


def test_the_vertex_error_is_that_of_bodies_with_a_common_pelvis(predictions, annotations, body):
    import torch

    betas = predictions.betas + 2
    found = score_samples(dataclasses.replace(predictions, betas=betas), annotations, body=body)
    with torch.inference_mode():
        theta = torch.tensor(annotations.theta[3:4])
        ours, truth = (
            body(theta, torch.tensor(betas[3:4])),
            body(theta, torch.tensor(annotations.betas[3:4])),
        )
    placed = [b.vertices_BV3_mm[0] - b.joints18_B183_mm[0, Joint.PELVIS] for b in (ours, truth)]
    by_hand = (placed[0] - placed[1]).norm(dim=1).mean().item()
    assert found.of("per_vertex_mm")[3] == pytest.approx(by_hand, rel=1e-5)


def test_the_pelvis_that_is_always_right_does_not_count_in_3dpck(predictions, annotations):
    joints = predictions.joints3d_mm.copy()
    joints[:, 1:] += 5000
    wrong = dataclasses.replace(predictions, joints3d_mm=joints)
    found = score_samples(wrong, annotations, body=None)
    assert found.of("pck3d_150mm_pct").max() == 0
    assert found.of("auc3d_150mm_pct").max() == 0


def test_samples_without_theta_have_no_vertex_error(predictions, annotations, body):
    known = np.ones(len(annotations), bool)
    known[:3] = False
    found = score(predictions, changed(annotations, smpl_valid=known), body=body, resamples=10)
    assert np.isnan(found.samples.of("per_vertex_mm")[:3]).all()
    assert found.metrics["per_vertex_mm"].samples == len(annotations) - 3
    assert found.metrics["mpjpe_mm"].samples == len(annotations)


def test_without_a_body_the_surface_is_left_out(predictions, annotations):
    found = score(predictions, annotations, body=None, resamples=10)
    assert "per_vertex_mm" not in found.metrics


def test_slices_cover_all_samples_once(scores, annotations):
    for by in ("family", "truncation", "visibility"):
        parts = [part for part in scores.slices if part.by == by]
        assert sum(part.samples for part in parts) == len(annotations)
    family = next(p for p in scores.slices if (p.by, p.value) == ("family", "tfamily1"))
    rows = annotations.family == "tfamily1"
    by_hand = scores.samples.of("mpjpe_mm")[rows].mean()
    assert family.metrics["mpjpe_mm"].mean == pytest.approx(by_hand)


def test_missing_predictions_are_named(predictions, annotations):
    with pytest.raises(DataError, match=r"2 samples have no prediction \(t0-00000, t0-00001\)"):
        score(predictions.take(np.arange(2, 24)), annotations, body=None)


def test_predictions_of_unknown_samples_are_named(predictions, annotations):
    with pytest.raises(DataError, match=r"1 prediction is of no such sample \(t0-00023\)"):
        score(predictions, annotations.take(np.arange(23)), body=None)


def test_samples_annotated_twice_are_named(predictions, annotations):
    twice = annotations.take(np.array([*range(24), 4]))
    with pytest.raises(DataError, match=r"annotated more than once[\s\S]*t0-00004"):
        score(predictions, twice, body=None)


def test_annotations_of_another_split_are_refused(predictions, make_annotations):
    gate = make_annotations(split="gate")
    with pytest.raises(DataError, match=r"split gate[\s\S]*split test only"):
        score(predictions, gate, body=None)


def test_no_samples_are_no_score(predictions, annotations):
    with pytest.raises(DataError, match="no samples to score"):
        score(predictions.take(np.arange(0)), annotations.take(np.arange(0)), body=None)


def test_one_prediction_in_metres_is_refused_by_name(predictions, annotations):
    joints = predictions.joints3d_mm.copy()
    joints[8] /= 1000
    with pytest.raises(DataError, match=r"1 predicted pose is in metres[\s\S]*t0-00008"):
        score(dataclasses.replace(predictions, joints3d_mm=joints), annotations, body=None)


def test_annotations_in_metres_are_refused_by_name(predictions, annotations):
    metres = changed(annotations, joints3d_mm=annotations.joints3d_mm / 1000)
    with pytest.raises(DataError, match=r"not of human length[\s\S]*t0-00000"):
        score(predictions, metres, body=None)


def test_an_untrained_models_collapsed_poses_are_scored_all_the_same(predictions, annotations):
    noise = np.random.default_rng(0).normal(0, 0.3, predictions.joints3d_mm.shape)
    collapsed = dataclasses.replace(predictions, joints3d_mm=noise.astype(np.float32))
    assert score(collapsed, annotations, body=None, resamples=10).mean("mpjpe_mm") > 200


def test_scores_are_read_back_as_they_were_written(scores, tmp_path):
    scores.write(tmp_path)
    samples = SampleScores.read(tmp_path / "scores.parquet")
    assert samples.names == scores.samples.names
    np.testing.assert_array_equal(samples.values, scores.samples.values)
    np.testing.assert_array_equal(samples.joint_errors_mm, scores.samples.joint_errors_mm)
    assert Scores.read(tmp_path).mean("mpjpe_mm") == scores.mean("mpjpe_mm")


def test_the_summary_is_json_without_nan(predictions, annotations, tmp_path):
    valid = annotations.valid3d.copy()
    valid[:, Joint.NOSE] = False
    # With a single sequence there are no intervals.
    alone = changed(
        annotations, valid3d=valid, clip=["one"] * len(annotations), frame=[0] * len(annotations)
    )
    score(predictions, alone, body=None, resamples=10).write(tmp_path)

    def refuse(text):
        raise AssertionError(text)

    stored = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert stored["joints_mm"]["nose"] is None
    assert stored["metrics"][0]["low"] is None
    assert stored["predictions"]["model_version"] == "model-1"


def test_damaged_scores_are_refused(scores, tmp_path):
    scores.write(tmp_path)
    file = tmp_path / "scores.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="can't be read"):
        Scores.read(tmp_path)


def test_a_worse_model_is_seen_to_be_worse(scores, make_predictions, annotations, body):
    worse = score(make_predictions(annotations, noise_mm=30), annotations, body=body, resamples=10)
    found = compare(worse, scores, "mpjpe_mm")
    assert found.ratio == pytest.approx(0.5, abs=0.01)
    assert found.low <= found.ratio <= found.high


def other_info(scores: Scores, **values) -> Scores:
    info = PredictionsInfo.model_validate(scores.samples.info.model_dump() | values)
    return dataclasses.replace(scores, samples=dataclasses.replace(scores.samples, info=info))


def test_scores_on_other_data_are_not_compared(scores):
    with pytest.raises(DataError, match="data version data-1, the champion on data-2"):
        compare(scores, other_info(scores, data_version="data-2"), "mpjpe_mm")


def test_scores_of_another_protocol_are_not_compared(scores):
    names = tuple(dataclasses.replace(name, flip="yes") for name in scores.samples.names)
    other = dataclasses.replace(scores, samples=dataclasses.replace(scores.samples, names=names))
    with pytest.raises(DataError, match="same protocol"):
        compare(scores, other, "mpjpe_mm")
    assert compare(scores, other, "mpjpe_mm", same_protocol=False).ratio == 0


@pytest.mark.parametrize("same_protocol", [True, False])
def test_scores_at_the_true_distance_decide_nothing(scores, same_protocol):
    def at(depth: str) -> Scores:
        names = tuple(dataclasses.replace(name, depth=depth) for name in scores.samples.names)
        return dataclasses.replace(scores, samples=dataclasses.replace(scores.samples, names=names))

    told = at("ground-truth-root")
    for pair in ((told, told), (told, scores), (scores, told)):
        with pytest.raises(DataError, match="true distance"):
            compare(*pair, "mpjpe_mm", same_protocol=same_protocol)
    with pytest.raises(DataError, match="true distance"):
        compare(at("test-bone-lengths"), scores, "mpjpe_mm", same_protocol=same_protocol)


def test_scores_of_other_samples_are_not_compared(scores, predictions, annotations, body):
    rows = np.arange(20)
    fewer = score(predictions.take(rows), annotations.take(rows), body=body, resamples=10)
    with pytest.raises(DataError, match=r"not scored on the same samples[\s\S]*t0-00020"):
        compare(scores, fewer, "mpjpe_mm")


def test_a_metric_that_one_lacks_is_not_compared(scores, predictions, annotations):
    bare = score(predictions, annotations, body=None, resamples=10)
    with pytest.raises(DataError, match="no metric 'per_vertex_mm'"):
        compare(bare, scores, "per_vertex_mm")


def test_predictions_are_not_changed_by_scoring(predictions, annotations, body):
    before = Predictions.take(predictions, np.arange(len(predictions)))
    score(predictions, annotations, body=body, resamples=10)
    np.testing.assert_array_equal(before.joints3d_mm, predictions.joints3d_mm)


def test_the_flows_figures_are_the_protocols_on_the_same_predictions(
    predictions, annotations, body, tmp_path
):
    # Half of the samples lack a joint, so that what counts differs by sample.
    valid = annotations.valid3d.copy()
    valid[::2, Joint.LEFT_WRIST] = False
    kept = {"source": ["open-rendered"] * len(annotations), "valid3d": valid}
    rows = changed(annotations, **kept)
    ours = score_samples(predictions, rows, body=body)
    protocol, path = load_protocol("open"), tmp_path / "predictions.parquet"
    predictions.write(path)
    theirs = score_file(path, Truth.of(rows, protocol), protocol, body=body)
    assert set(theirs.keys) <= {name.key for name in ours.names}
    for name in theirs.names:
        np.testing.assert_array_equal(theirs.of(name.key), ours.of(name.key), err_msg=name.key)
        # One name, but for what it calls the samples: the protocol or the split.
        assert dataclasses.replace(name, split="test") == ours.name(name.key)
