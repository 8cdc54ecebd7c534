from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.data.table import Annotations
from hemlets.evaluation import LinearLifter, MeanPose
from hemlets.evaluation.baselines import _features

from .layouts import scored


@pytest.fixture(scope="module")
def splits(make_annotations):
    return {
        name: make_annotations(count, seed=seed, split=name, prefix=name)
        for name, count, seed in (("train", 400, 11), ("validation", 100, 12), ("test", 100, 13))
    }


def changed(annotations: Annotations, **columns) -> Annotations:
    kept = {f: annotations.column(f) for f in annotations.table.column_names}
    return Annotations.from_columns(kept | columns)


def test_the_mean_pose_is_the_mean_of_the_poses_about_the_pelvis(splits):
    train = splits["train"]
    joints = train.joints3d_mm - train.joints3d_mm[:, :1]
    np.testing.assert_allclose(MeanPose.fit(train).joints3d_mm, joints.mean(0), atol=1e-3)


def test_the_mean_pose_leaves_unknown_joints_out(splits):
    train = splits["train"]
    valid, joints = train.valid3d.copy(), train.joints3d_mm.copy()
    valid[::2, Joint.NOSE] = False
    joints[::2, Joint.NOSE] = 0
    fitted = MeanPose.fit(changed(train, valid3d=valid, joints3d_mm=joints))
    known = (train.joints3d_mm - train.joints3d_mm[:, :1])[1::2, Joint.NOSE]
    np.testing.assert_allclose(fitted.joints3d_mm[Joint.NOSE], known.mean(0), atol=1e-3)


def test_the_mean_of_a_rotation_and_its_opposite_is_none(splits):
    train = splits["train"].take(np.array([0, 1]))
    theta = np.zeros((2, 24, 3), np.float32)
    theta[:, 5] = [[0, 0, 0.4], [0, 0, -0.4]]
    np.testing.assert_allclose(MeanPose.fit(changed(train, theta=theta)).theta[5], 0, atol=1e-6)


def test_a_joint_that_no_row_has_is_named(splits):
    train = splits["train"]
    valid = train.valid3d.copy()
    valid[:, Joint.NOSE] = False
    with pytest.raises(DataError, match="nose"):
        MeanPose.fit(changed(train, valid3d=valid))


def test_the_lifter_finds_a_linear_world_again(splits):
    def linear(annotations):
        weights = np.random.default_rng(0).normal(0, 200, (_features(annotations).shape[1], 54))
        joints = (_features(annotations) @ weights + 30).reshape(-1, 18, 3)
        joints[:, Joint.PELVIS] = 0
        return changed(annotations, joints3d_mm=joints)

    train, validation, test = (linear(splits[name]) for name in ("train", "validation", "test"))
    lifter = LinearLifter.fit(train, validation)
    np.testing.assert_allclose(lifter.lift(test), test.joints3d_mm, atol=0.5)


def test_the_lifter_agrees_with_a_plain_ridge_solution_over_the_rows_that_have_a_joint(splits):
    train, test, ridge = splits["train"], splits["test"], 0.3
    valid = train.valid3d.copy()
    # The rows that have the nose are unlike the others.
    valid[train.joints2d_px[:, Joint.NOSE, 0] > 128, Joint.NOSE] = False
    lifter = LinearLifter.fit(changed(train, valid3d=valid), splits["validation"], ridges=[ridge])

    features = _features(train)
    middle, spread = features.mean(0), features.std(0)
    for joint in (Joint.NOSE, Joint.LEFT_KNEE):
        rows = valid[:, joint]
        inputs = np.c_[(features[rows] - middle) / spread, np.ones(rows.sum())]
        target = (train.joints3d_mm[:, joint] - train.joints3d_mm[:, Joint.PELVIS])[rows]
        # Ridge as extra rows that pull each weight, but not the bias, to zero.
        pull = np.sqrt(ridge * rows.sum()) * np.eye(inputs.shape[1])[:-1]
        weights, *_ = np.linalg.lstsq(
            np.r_[inputs, pull], np.r_[target, np.zeros((len(pull), 3))], rcond=None
        )
        plain = np.c_[(_features(test) - middle) / spread, np.ones(len(test))] @ weights
        np.testing.assert_allclose(lifter.lift(test)[:, joint], plain, atol=1e-3)


def test_the_ridge_is_the_one_that_is_best_on_the_validation_split(splits):
    lifter = LinearLifter.fit(splits["train"], splits["validation"])
    assert lifter.validation_mm[lifter.ridge] == min(lifter.validation_mm.values())
    assert len(lifter.validation_mm) == 7


def test_features_do_not_change_when_image_and_person_are_scaled_alike(splits):
    test = splits["test"]
    twice = changed(
        test,
        joints2d_px=2 * test.joints2d_px,
        box_xyxy=2 * test.box_xyxy,
        image_width=2 * test.image_width,
        image_height=2 * test.image_height,
    )
    np.testing.assert_allclose(_features(twice), _features(test), atol=1e-6)


def test_baselines_are_scored_like_models_and_the_lifter_beats_the_mean_pose(splits, body, info):
    test = splits["test"]
    mean = scored(MeanPose.fit(splits["train"]).predict(test, info), test, body=body)
    lifter = LinearLifter.fit(splits["train"], splits["validation"])
    lifted = scored(lifter.predict(test, info), test, body=body)
    assert lifted.of("mpjpe_mm").mean() < 0.8 * mean.of("mpjpe_mm").mean()
    assert mean.of("per_vertex_mm").mean() > 10
    assert mean.info.model_version == "mean-pose"


def test_what_a_baseline_does_not_predict_is_not_scored(splits, body, info):
    test = splits["test"]
    lifter = LinearLifter.fit(splits["train"], splits["validation"])
    lifted = scored(lifter.predict(test, info), test, body=body)
    for key in ("per_vertex_mm", "theta_deg", "root_mm", "joints2d_px"):
        with pytest.raises(DataError, match=f"no metric '{key}'"):
            lifted.of(key)
