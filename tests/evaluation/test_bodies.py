"""The study of bodies says whose error is whose, on the same samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import SMPL_JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import MeanPose
from hemlets.evaluation.bodies import BodyRow, BodyStudy, pick_bodies, study_bodies

BENT = [SMPL_JOINTS.index(name) for name in ("left_knee", "right_knee", "left_hip", "right_hip")]


@pytest.fixture(scope="module")
def rows(make_annotations) -> Annotations:
    return make_annotations(8, clips=4)


@pytest.fixture(scope="module")
def mean(make_annotations) -> MeanPose:
    return MeanPose.fit(make_annotations(16, seed=5, split="train", prefix="u"))


@pytest.fixture(scope="module")
def study(body, rows, mean, make_estimates, info):
    """Studies predictions that are the truth but for their θ and β."""

    def of(*, bent_rad: float = 0.0, betas: float = 0.0, mean: MeanPose = mean, **changes: object):
        estimates = []
        for estimate in make_estimates(rows):
            theta = estimate.theta.copy()
            theta[BENT, 0] += bent_rad
            estimates.append(
                dataclasses.replace(estimate, theta=theta, betas=estimate.betas + betas)
            )
        return study_bodies(body, estimates, rows, mean, info.model_copy(update=changes))

    return of


@pytest.fixture(scope="module")
def bent(study) -> BodyStudy:
    return study(bent_rad=0.6)


@pytest.mark.parametrize("key", ["per_vertex_mm", "mesh_joints_mm"])
def test_a_wrong_pose_is_what_the_true_pose_takes_away(bent, key) -> None:
    predicted = bent.of(BodyRow.PREDICTED, key)
    assert (predicted > 1).all()
    assert bent.of(BodyRow.TRUE_SHAPE, key) == pytest.approx(predicted, abs=1e-3)
    assert bent.of(BodyRow.TRUE_POSE, key) == pytest.approx(np.zeros(8), abs=1e-3)


@pytest.mark.parametrize("key", ["per_vertex_mm", "mesh_joints_mm"])
def test_a_wrong_shape_is_what_the_true_shape_takes_away(study, key) -> None:
    stout = study(betas=1.0)
    predicted = stout.of(BodyRow.PREDICTED, key)
    assert (predicted > 1).all()
    assert stout.of(BodyRow.TRUE_POSE, key) == pytest.approx(predicted, abs=1e-3)
    assert stout.of(BodyRow.TRUE_SHAPE, key) == pytest.approx(np.zeros(8), abs=1e-3)


def test_refinement_brings_a_wrong_body_back_to_right_joints(bent) -> None:
    for key in ("mesh_joints_mm", "reprojection_from_network_px", "reprojection_from_truth_px"):
        assert bent.change(BodyRow.REFINED, BodyRow.PREDICTED, key).high < -1 / 3, key


def test_the_two_errors_in_the_image_are_told_apart(body, rows, mean, make_estimates, info) -> None:
    shifted = [
        dataclasses.replace(e, joints2d_px=e.joints2d_px + np.float32([3, 4]))
        for e in make_estimates(rows)
    ]
    found = study_bodies(body, shifted, rows, mean, info)
    assert found.of(BodyRow.SKELETON, "joints2d_px") == pytest.approx(np.full(8, 5.0), abs=1e-3)
    assert found.of(BodyRow.PREDICTED, "reprojection_from_truth_px").max() < 0.1
    assert found.of(BodyRow.PREDICTED, "reprojection_from_network_px").min() > 4.9


def test_unknown_joints_in_the_image_count_for_nothing(
    body, rows, mean, make_estimates, info
) -> None:
    valid = rows.valid2d.copy()
    valid[:, Joint.HEAD_TOP] = False
    pixels = rows.joints2d_px.copy()
    pixels[:, Joint.HEAD_TOP] = 1e4
    columns = {name: rows.column(name) for name in rows.table.column_names}
    hidden = Annotations.from_columns(columns | {"valid2d": valid, "joints2d_px": pixels})
    found = study_bodies(body, make_estimates(rows), hidden, mean, info)
    assert found.of(BodyRow.PREDICTED, "reprojection_from_truth_px").max() < 0.1


def test_rotations_stand_beside_those_of_a_body_at_rest(bent, rows) -> None:
    turned = np.rad2deg(0.6) * len(BENT) / 23
    assert bent.of(BodyRow.PREDICTED, "theta_deg") == pytest.approx(np.full(8, turned), rel=0.2)
    angles = np.rad2deg(np.linalg.norm(rows.theta[:, 1:], axis=-1)).mean(1)
    assert bent.of(BodyRow.REST, "theta_deg") == pytest.approx(angles, rel=1e-4)


def test_what_has_to_be_beaten_is_worse_than_a_nearly_right_body(study) -> None:
    right = study(betas=0.1)
    for row in (BodyRow.LAID, BodyRow.MEAN_PERSON, BodyRow.RESTING, BodyRow.MEAN_SHAPE):
        assert right.change(row, BodyRow.PREDICTED, "per_vertex_mm").low > 1, row


def test_every_figure_tells_how_it_was_predicted(study) -> None:
    names = [name for _, name in study(flip_test=True, box_source="mask").figures]
    assert all(name.full.endswith("/flip:yes") and "/box:mask/" in name.full for name in names)
    assert {name.over for name in names if name.key == "theta_deg"} == {"23r"}


def test_without_bodies_in_training_there_is_no_mean_person(study, mean) -> None:
    found = study(mean=dataclasses.replace(mean, theta=None, betas=None))
    assert BodyRow.MEAN_PERSON not in {row for row, _ in found.figures}
    with pytest.raises(DataError, match="mean pose and shape"):
        found.of(BodyRow.MEAN_PERSON, "per_vertex_mm")


def test_a_prediction_too_few_is_refused(body, rows, mean, make_estimates, info) -> None:
    with pytest.raises(DataError, match="7 predictions of 8 samples"):
        study_bodies(body, make_estimates(rows)[1:], rows, mean, info)


def test_samples_are_spread_evenly_over_those_with_a_known_body(make_annotations) -> None:
    rows = make_annotations(20)
    known = np.arange(20) % 2 == 1
    columns = {name: rows.column(name) for name in rows.table.column_names}
    rows = Annotations.from_columns(columns | {"smpl_valid": known})
    assert pick_bodies(rows, 4).tolist() == [1, 7, 13, 19]
    assert pick_bodies(rows, 99).tolist() == list(range(1, 20, 2))
    assert pick_bodies(rows, 0).size == 0
    assert pick_bodies(rows.take(~known), 4).size == 0
