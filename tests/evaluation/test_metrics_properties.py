"""What must hold for any poses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hemlets.core.skeleton import FLIP_JOINTS, Joint
from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.alignment import aligned_errors_mm

seeds = st.integers(0, 2**32 - 1)
factors = st.floats(0.05, 20.0)
lenient = settings(max_examples=40, deadline=None)


def poses(seed: int, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 300, (count, 18, 3))
    return true + rng.normal(0, rng.uniform(0, 400), true.shape), true


def rigid_errors_mm(*poses: np.ndarray) -> np.ndarray:
    return aligned_errors_mm(*poses)[1]


def rigid_mpjpe_mm(*poses: np.ndarray) -> np.ndarray:
    return metrics.aligned_mpjpe_mm(*poses)[1]


def turn(seed: int) -> np.ndarray:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


@lenient
@given(seeds)
def test_mpjpe_ignores_where_the_poses_stand(seed):
    predicted, true = poses(seed)
    shift = np.random.default_rng(seed).normal(0, 1000, 3)
    np.testing.assert_allclose(
        metrics.mpjpe_mm(predicted + shift, true), metrics.mpjpe_mm(predicted, true)
    )


@lenient
@given(seeds)
def test_all_metrics_ignore_a_rotation_of_both_poses(seed):
    predicted, true = poses(seed)
    rotation = turn(seed).T
    for metric in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, rigid_mpjpe_mm):
        np.testing.assert_allclose(
            metric(predicted @ rotation, true @ rotation), metric(predicted, true), rtol=1e-7
        )


@lenient
@given(seeds, factors)
def test_pa_mpjpe_ignores_any_similarity_of_the_prediction(seed, factor):
    predicted, true = poses(seed)
    moved = factor * predicted @ turn(seed).T + 500.0
    np.testing.assert_allclose(
        metrics.pa_mpjpe_mm(moved, true), metrics.pa_mpjpe_mm(predicted, true), rtol=1e-6
    )


@lenient
@given(seeds)
def test_rigid_mpjpe_ignores_any_rigid_motion_of_the_prediction(seed):
    predicted, true = poses(seed)
    moved = predicted @ turn(seed).T - 500.0
    np.testing.assert_allclose(
        rigid_mpjpe_mm(moved, true), rigid_mpjpe_mm(predicted, true), rtol=1e-6
    )


@lenient
@given(seeds, factors)
def test_errors_grow_with_the_unit(seed, factor):
    predicted, true = poses(seed)
    for metric in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, rigid_mpjpe_mm):
        np.testing.assert_allclose(
            metric(factor * predicted, factor * true), factor * metric(predicted, true), rtol=1e-7
        )


@lenient
@given(seeds)
def test_errors_go_with_their_joint_when_joints_change_places(seed):
    predicted, true = poses(seed)
    order = np.random.default_rng(seed).permutation(18)
    for errors in (metrics.similarity_aligned_errors_mm, rigid_errors_mm):
        np.testing.assert_allclose(
            errors(predicted[:, order], true[:, order]), errors(predicted, true)[:, order],
            rtol=1e-6, atol=1e-6,
        )  # fmt: skip


@lenient
@given(seeds)
def test_samples_do_not_touch_each_other(seed):
    predicted, true = poses(seed)
    order = np.random.default_rng(seed).permutation(len(true))
    for metric in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, rigid_mpjpe_mm):
        np.testing.assert_allclose(
            metric(predicted[order], true[order]), metric(predicted, true)[order], rtol=1e-12
        )


@lenient
@given(seeds)
def test_the_mirror_image_of_both_poses_has_the_same_errors(seed):
    predicted, true = poses(seed)
    flip = list(FLIP_JOINTS)
    for metric in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, rigid_mpjpe_mm):
        np.testing.assert_allclose(
            metric(predicted[:, flip] * [-1, 1, 1], true[:, flip] * [-1, 1, 1]),
            metric(predicted, true),
            rtol=1e-6,
        )


@lenient
@given(seeds, st.booleans())
def test_alignment_never_increases_the_sum_of_squares_of_the_centred_pose(seed, scale):
    predicted, true = poses(seed)
    before = predicted - predicted.mean(1, keepdims=True) - (true - true.mean(1, keepdims=True))
    after = aligned_errors_mm(predicted, true)[0 if scale else 1]
    limit = np.square(before).sum((1, 2))
    assert (np.square(after).sum(1) <= limit * (1 + 1e-9)).all()


@lenient
@given(seeds)
def test_a_similarity_fits_at_least_as_well_as_a_rigid_motion(seed):
    predicted, true = poses(seed)
    squares = [np.square(errors).sum(1) for errors in aligned_errors_mm(predicted, true)]
    assert (squares[0] <= squares[1] * (1 + 1e-9)).all()


@lenient
@given(seeds)
def test_alignment_never_reflects(seed):
    _, true = poses(seed)
    for errors in aligned_errors_mm(true * [-1, 1, 1], true):
        assert (errors.mean(1) > 10).all()


@lenient
@given(seeds)
def test_joints_without_truth_change_nothing(seed):
    predicted, true = poses(seed)
    valid = np.random.default_rng(seed).random(true.shape[:2]) < 0.7
    valid[:, [Joint.PELVIS, Joint.NOSE, Joint.NECK]] = True
    garbage = np.where(valid[..., None], predicted, np.nan)
    for metric in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, rigid_mpjpe_mm):
        np.testing.assert_allclose(
            metric(garbage, true, valid), metric(predicted, true, valid), rtol=1e-12
        )


@lenient
@given(seeds, st.floats(0, 300), st.floats(0, 300))
def test_pck_never_falls_when_the_threshold_grows(seed, one, other):
    errors = np.random.default_rng(seed).uniform(0, 300, (5, 17))
    low, high = sorted((one, other))
    assert (metrics.pck_pct(errors, low) <= metrics.pck_pct(errors, high)).all()
    assert (metrics.auc_pct(errors) <= metrics.pck_pct(errors)).all()


@lenient
@given(seeds)
def test_rotation_error_is_a_distance(seed):
    a, b, c = np.random.default_rng(seed).normal(0, 1.5, (3, 2, 24, 3))
    between = metrics.rotation_errors_rad
    np.testing.assert_allclose(between(a, b), between(b, a), atol=1e-7)
    np.testing.assert_allclose(between(a, a), 0, atol=1e-7)
    assert (between(a, c) <= between(a, b) + between(b, c) + 1e-7).all()
    assert (between(a, b) <= np.pi + 1e-9).all()
