from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import (
    Predictions,
    Run,
    SampleScores,
    Summary,
    Truth,
    compare_for_promotion,
    load_protocol,
    read_run,
    score,
    split_protocol,
    summarise,
    write_results,
)
from hemlets.evaluation.metrics.surface import mesh_errors_mm
from hemlets.evaluation.scoring import results

from .layouts import scored, summarised


@pytest.fixture(scope="module")
def scores(predictions, annotations, body) -> SampleScores:
    return scored(predictions, annotations, body=body)


@pytest.fixture(scope="module")
def summary(scores) -> Summary:
    return summarise(scores, resamples=200)


def stored(folder, scores: SampleScores) -> Run:
    write_results(folder, scores, summarise(scores, resamples=100))
    return read_run(folder)


def test_figures_that_are_replaced_have_no_earlier_summary(scores, tmp_path, monkeypatch):
    stored(tmp_path, scores)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, scores)
    with pytest.raises(DataError, match="no benchmark"):
        read_run(tmp_path)


def changed(annotations: Annotations, **columns) -> Annotations:
    kept = {f: annotations.column(f) for f in annotations.table.column_names}
    return Annotations.from_columns(kept | columns)


def test_the_truth_has_no_error(annotations, make_predictions, body):
    found = scored(make_predictions(annotations), annotations, body=body)
    for key in ("mpjpe_mm", "pa_mpjpe_mm", "per_vertex_mm", "mesh_joints_mm", "theta_deg"):
        assert found.of(key).mean() == pytest.approx(0, abs=1e-3)
    assert found.of("pck3d_150mm_pct").min() == 100
    assert found.of("auc3d_150mm_pct").mean() == pytest.approx(100 * 30 / 31, abs=1e-6)


def test_every_metric_has_its_protocol_in_its_name(scores, summary):
    assert scores.name("mpjpe_mm").full == (
        "mpjpe_mm/test/18j/root:pelvis/align:none/box:ground-truth/depth:bone-length-prior/flip:no"
    )
    assert scores.name("pa_mpjpe_mm").root == "centroid"
    assert scores.name("per_vertex_mm").over == "1229v"
    assert set(summary.logged) == {name.full for name in scores.names}


def test_the_names_are_ones_that_mlflow_takes(summary):
    validation = pytest.importorskip("mlflow.utils.validation")
    for name in summary.logged:
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
    found = scored(guessed, bent)
    assert found.name("theta_deg").over == found.name("theta_rest_deg").over == "1r"
    assert found.of("theta_deg").mean() == pytest.approx(np.degrees((0.1 + 0.3) / 2), abs=1e-4)
    assert found.of("theta_rest_deg").mean() == pytest.approx(np.degrees((0.4 + 0.8) / 2), abs=1e-4)


def test_predictions_without_theta_have_neither_its_error_nor_the_rest_poses(
    annotations, predictions
):
    info = predictions.info.model_copy(update={"absent": ("theta", "betas")})
    found = scored(dataclasses.replace(predictions, info=info), annotations)
    assert not {"theta_deg", "theta_rest_deg"} & set(found.keys)


def test_joint_errors_average_to_the_mpjpe(summary):
    mean = np.mean(list(summary.joints_mm.values()))
    assert mean == pytest.approx(summary.metric("mpjpe_mm").figure.mean)
    assert summary.joints_mm["pelvis"] == 0
    assert list(summary.joints_mm) == list(JOINTS)


def test_predictions_may_come_in_any_order(predictions, annotations, body, scores):
    order = np.random.default_rng(0).permutation(len(predictions))
    shuffled = scored(predictions.take(order), annotations, body=body)
    np.testing.assert_allclose(shuffled.values, scores.values, rtol=1e-4)


def test_vertex_errors_do_not_depend_on_the_block(predictions, annotations, body):
    other = np.roll(np.arange(len(predictions)), 1)
    turned = dataclasses.replace(
        predictions, theta=predictions.theta[other], betas=predictions.betas[other]
    )
    truth = annotations.theta, annotations.betas
    whole = mesh_errors_mm(body, (turned.theta, turned.betas), truth)
    blocks = mesh_errors_mm(body, (turned.theta, turned.betas), truth, block=5)
    assert whole.surface.min() > 10
    np.testing.assert_allclose(blocks, whole, rtol=1e-4)


def test_the_vertex_error_is_that_of_bodies_with_a_common_pelvis(predictions, annotations, body):
    import torch

    betas = predictions.betas + 2
    found = scored(dataclasses.replace(predictions, betas=betas), annotations, body=body)
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
    found = scored(wrong, annotations)
    assert found.of("pck3d_150mm_pct").max() == 0
    assert found.of("auc3d_150mm_pct").max() == 0


def test_samples_without_theta_have_no_vertex_error(predictions, annotations, body):
    known = np.ones(len(annotations), bool)
    known[:3] = False
    rows = changed(annotations, smpl_valid=known)
    assert np.isnan(scored(predictions, rows, body=body).of("per_vertex_mm")[:3]).all()
    found = summarised(predictions, rows, body=body)
    assert found.metric("per_vertex_mm").figure.samples == len(annotations) - 3
    assert found.metric("mpjpe_mm").figure.samples == len(annotations)


def test_without_a_body_the_surface_is_left_out(predictions, annotations):
    found = scored(predictions, annotations)
    assert "per_vertex_mm" not in found.keys
    assert found.left_out["per_vertex_mm"] == "no body model was given"


def test_groups_cover_all_samples_once(scores, summary, annotations):
    for by in ("family of motions", "joints outside the image", "visible joints"):
        parts = [part for part in summary.slices if part.by == by]
        assert sum(part.figure.samples for part in parts) == len(annotations)
    family = next(p for p in summary.slices if p.value == "tfamily1")
    by_hand = scores.of("mpjpe_mm")[annotations.family == "tfamily1"].mean()
    assert family.figure.mean == pytest.approx(by_hand)


def test_missing_predictions_are_named(predictions, annotations):
    with pytest.raises(DataError, match=r"2 samples have no prediction \(t0-00000, t0-00001\)"):
        scored(predictions.take(np.arange(2, 24)), annotations)


def test_predictions_of_unknown_samples_are_named(predictions, annotations):
    with pytest.raises(DataError, match=r"1 prediction is of no [\s\S]*(t0-00023)[\s\S]*as t0-"):
        scored(predictions, annotations.take(np.arange(23)))


def test_samples_annotated_twice_are_named(predictions, annotations):
    twice = annotations.take(np.array([*range(24), 4]))
    with pytest.raises(DataError, match=r"annotated more than once[\s\S]*t0-00004"):
        scored(predictions, twice)


def test_annotations_of_another_split_are_refused(predictions, make_annotations):
    gate = make_annotations(split="gate")
    with pytest.raises(DataError, match=r"no annotated sample[\s\S]*another split than test"):
        scored(predictions, gate)


def test_no_samples_are_no_score(predictions, annotations):
    with pytest.raises(DataError, match="no annotated sample"):
        scored(predictions.take(np.arange(0)), annotations.take(np.arange(0)))


def test_one_prediction_in_metres_is_refused_by_name(predictions, annotations):
    joints = predictions.joints3d_mm.copy()
    joints[8] /= 1000
    with pytest.raises(DataError, match=r"1 predicted pose is in metres[\s\S]*t0-00008"):
        scored(dataclasses.replace(predictions, joints3d_mm=joints), annotations)


def test_annotations_in_metres_are_refused_by_name(predictions, annotations):
    metres = changed(annotations, joints3d_mm=annotations.joints3d_mm / 1000)
    with pytest.raises(DataError, match=r"not of human length[\s\S]*t0-00000"):
        scored(predictions, metres)


def test_an_untrained_models_collapsed_poses_are_scored_all_the_same(predictions, annotations):
    noise = np.random.default_rng(0).normal(0, 0.3, predictions.joints3d_mm.shape)
    collapsed = dataclasses.replace(predictions, joints3d_mm=noise.astype(np.float32))
    assert scored(collapsed, annotations).of("mpjpe_mm").mean() > 200


def test_scores_are_read_back_as_they_were_written(scores, tmp_path):
    run = stored(tmp_path, scores)
    for name in scores.names:
        assert run.name(name.key) == name
        np.testing.assert_array_equal(run.samples.by_key[name.key], scores.of(name.key))
    np.testing.assert_array_equal(run.samples.sequence, scores.truth.sequence.values)


def test_the_summary_is_json_without_nan(predictions, annotations, tmp_path):
    valid = annotations.valid3d.copy()
    valid[:, Joint.NOSE] = False
    # With a single sequence there are no intervals.
    alone = changed(
        annotations, valid3d=valid, clip=["one"] * len(annotations), frame=[0] * len(annotations)
    )
    stored(tmp_path, scored(predictions, alone))

    def refuse(text):
        raise AssertionError(text)

    found = json.loads((tmp_path / "benchmark.json").read_text(), parse_constant=refuse)
    assert found["joints_mm"]["nose"] is None
    assert found["metrics"][0]["figure"]["low"] is None
    assert found["predictions"]["model_version"] == "model-1"


def test_damaged_scores_are_refused(scores, tmp_path):
    stored(tmp_path, scores)
    file = tmp_path / "samples.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="can't be read"):
        read_run(tmp_path)


class TestPairs:
    """A challenger's stored benchmark compared with a champion's."""

    @pytest.fixture
    def champion(self, scores, tmp_path) -> Run:
        return stored(tmp_path / "champion", scores)

    def test_a_worse_model_is_seen_to_be_worse(
        self, champion, make_predictions, annotations, tmp_path
    ):
        worse = scored(make_predictions(annotations, noise_mm=30), annotations)
        found = compare_for_promotion(stored(tmp_path / "worse", worse), champion, "mpjpe_mm")
        assert found.ratio == pytest.approx(0.5, abs=0.01)
        assert found.low <= found.ratio <= found.high

    def test_samples_in_another_order_are_paired_by_their_ids(
        self, champion, predictions, annotations, tmp_path
    ):
        order = np.random.default_rng(0).permutation(len(annotations))
        other = scored(predictions.take(order), annotations.take(order))
        found = compare_for_promotion(stored(tmp_path / "other", other), champion, "mpjpe_mm")
        assert found.ratio == pytest.approx(0, abs=1e-9)
        assert found.high - found.low == pytest.approx(0, abs=1e-9)

    def of(self, scores: SampleScores, folder, *, data_version: str = "data-1", **name) -> Run:
        info = scores.info.model_copy(update={"data_version": data_version})
        names = tuple(dataclasses.replace(known, **name) for known in scores.names)
        return stored(folder, dataclasses.replace(scores, info=info, names=names))

    def test_scores_on_other_data_are_not_compared(self, champion, scores, tmp_path):
        other = self.of(scores, tmp_path / "other", data_version="data-2")
        with pytest.raises(DataError, match="data version data-1, the champion on data-2"):
            compare_for_promotion(champion, other, "mpjpe_mm")

    def test_only_the_flip_test_may_differ(self, champion, scores, tmp_path):
        other = self.of(scores, tmp_path / "box", box="detector")
        with pytest.raises(DataError, match="same protocol but for the flip test"):
            compare_for_promotion(champion, other, "mpjpe_mm")
        flipped = self.of(scores, tmp_path / "flip", flip="yes")
        assert compare_for_promotion(champion, flipped, "mpjpe_mm").ratio == 0

    def test_scores_at_the_true_distance_decide_nothing(self, champion, scores, tmp_path):
        told = self.of(scores, tmp_path / "told", depth="ground-truth-root")
        for pair in ((told, told), (told, champion), (champion, told)):
            with pytest.raises(DataError, match="true distance"):
                compare_for_promotion(*pair, "mpjpe_mm")
        bones = self.of(scores, tmp_path / "bones", depth="test-bone-lengths")
        with pytest.raises(DataError, match="true distance"):
            compare_for_promotion(bones, champion, "mpjpe_mm")

    def test_shares_that_are_better_when_larger_are_not_compared(self, champion):
        with pytest.raises(DataError, match="better when it is larger"):
            compare_for_promotion(champion, champion, "pck3d_150mm_pct")

    def test_scores_of_other_samples_are_not_compared(
        self, champion, predictions, annotations, tmp_path
    ):
        rows = np.arange(20)
        fewer = stored(tmp_path / "fewer", scored(predictions.take(rows), annotations.take(rows)))
        with pytest.raises(DataError, match=r"not scored on the same samples[\s\S]*t0-00020"):
            compare_for_promotion(champion, fewer, "mpjpe_mm")

    def test_a_metric_that_one_lacks_is_not_compared(
        self, champion, predictions, annotations, tmp_path
    ):
        bare = stored(tmp_path / "bare", scored(predictions, annotations))
        with pytest.raises(DataError, match="no metric 'per_vertex_mm'"):
            compare_for_promotion(bare, champion, "per_vertex_mm")


def test_predictions_are_not_changed_by_scoring(predictions, annotations, body):
    before = Predictions.take(predictions, np.arange(len(predictions)))
    scored(predictions, annotations, body=body)
    np.testing.assert_array_equal(before.joints3d_mm, predictions.joints3d_mm)


def test_the_scores_of_a_split_are_the_open_protocols_on_the_same_samples(
    predictions, annotations, body, tmp_path
):
    # Half of the samples lack a joint, so that what counts differs by sample.
    valid = annotations.valid3d.copy()
    valid[::2, Joint.LEFT_WRIST] = False
    kept = {"source": ["open-rendered"] * len(annotations), "valid3d": valid}
    rows = changed(annotations, **kept)
    whole = scored(predictions, rows, body=body)
    protocol, path = load_protocol("open"), tmp_path / "predictions.parquet"
    truth = Truth.of(rows, protocol)
    predictions.write(path)
    anew, reused = score(path, truth, protocol, body=body), whole.under(protocol, truth)
    assert anew.names == reused.names
    np.testing.assert_array_equal(anew.values, reused.values)
    assert summarise(anew, resamples=100) == summarise(reused, resamples=100)


def test_scores_are_not_reused_for_other_samples_or_measures(predictions, annotations):
    whole, protocol = scored(predictions, annotations), load_protocol("open")
    rows = changed(annotations, source=["open-rendered"] * len(annotations))
    fewer = Truth.of(rows.take(np.arange(20)), protocol)
    assert whole.under(protocol, fewer) is None
    lsp = load_protocol("lsp-pck")
    assert whole.under(lsp, whole.truth) is None


def test_a_file_of_others_is_checked_for_its_units_and_an_own_one_is_not(
    predictions, annotations, tmp_path
):
    """A network that has learnt nothing has its joints in one point, and is scored."""
    protocol = split_protocol(predictions.info.split)
    truth = Truth.of(annotations, protocol)
    file = tmp_path / "predictions.parquet"
    tiny = (0.001 * predictions.joints2d_px).astype(np.float32)
    dataclasses.replace(predictions, joints2d_px=tiny).write(file)
    with pytest.raises(DataError, match="joints2d_px looks like fractions of the image"):
        score(file, truth, protocol)
    assert score(file, truth, protocol, known_units=True).values.shape[0] == len(truth)
