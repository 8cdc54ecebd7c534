from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.alignment import aligned_errors_mm

TETRAHEDRON = np.array([[[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100]]], float)
QUARTER_TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)


def still_pose() -> np.ndarray:
    pose = np.zeros((1, N_JOINTS, 3))
    pose[0, :, 0] = 100.0 * np.arange(N_JOINTS)
    return pose


def test_mpjpe_of_one_joint_off_by_3_4_0_is_5_over_18():
    true = still_pose()
    predicted = true.copy()
    predicted[0, Joint.LEFT_WRIST] += [3, 4, 0]
    assert metrics.mpjpe_mm(predicted, true) == pytest.approx([5 / 18])


def test_mpjpe_moves_both_roots_to_the_origin():
    true = still_pose()
    predicted = true + 1000.0
    predicted[0, Joint.PELVIS] -= [18, 0, 0]
    # Every joint but the pelvis is now 18 mm off, the pelvis itself 0.
    assert metrics.mpjpe_mm(predicted, true) == pytest.approx([17.0])


def test_mpjpe_leaves_joints_without_truth_out():
    true, valid = still_pose(), np.ones((1, N_JOINTS), bool)
    predicted = true.copy()
    predicted[0, Joint.NOSE] = np.nan
    valid[0, Joint.NOSE] = False
    predicted[0, Joint.NECK] += [17, 0, 0]
    assert metrics.mpjpe_mm(predicted, true, valid) == pytest.approx([1.0])


def test_a_sample_without_a_pelvis_has_no_mpjpe():
    valid = np.ones((1, N_JOINTS), bool)
    valid[0, Joint.PELVIS] = False
    assert np.isnan(metrics.mpjpe_mm(still_pose(), still_pose(), valid)).all()


def test_similarity_alignment_undoes_a_quarter_turn_a_doubling_and_a_shift():
    moved = 2 * TETRAHEDRON @ QUARTER_TURN.T + [10, 20, 30]
    errors = metrics.similarity_aligned_errors_mm(moved, TETRAHEDRON)
    np.testing.assert_allclose(errors, 0, atol=1e-9)


def test_rigid_alignment_keeps_a_doubled_pose_doubled():
    square = np.array([[[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]], float)
    np.testing.assert_allclose(aligned_errors_mm(2 * square, square)[1], np.sqrt(2))
    assert metrics.aligned_mpjpe_mm(2 * square, square)[1] == pytest.approx([np.sqrt(2)])


def test_a_mirror_image_is_not_taken_for_a_perfect_pose():
    mirrored = TETRAHEDRON * [-1, 1, 1]
    assert metrics.pa_mpjpe_mm(mirrored, TETRAHEDRON)[0] > 10


def test_a_pose_collapsed_to_a_point_lands_on_the_centroid():
    errors = metrics.similarity_aligned_errors_mm(np.full_like(TETRAHEDRON, 7.0), TETRAHEDRON)
    np.testing.assert_allclose(errors, np.linalg.norm(TETRAHEDRON - 25.0, axis=-1))


def test_a_pose_on_a_line_fits_a_pose_on_another_line():
    line = np.zeros((1, 4, 3))
    line[0, :, 0] = [0, 1, 2, 5]
    upright = 30 * line[..., [1, 0, 2]]
    errors = metrics.similarity_aligned_errors_mm(line, upright)
    np.testing.assert_allclose(errors, 0, atol=1e-9)


def test_fewer_than_three_joints_have_no_aligned_error():
    valid = np.array([[True, True, False, False]])
    assert np.isnan(metrics.pa_mpjpe_mm(TETRAHEDRON, TETRAHEDRON, valid)).all()


def test_pck_counts_errors_strictly_below_the_threshold():
    errors = np.array([[0.0, 149.9, 150.0, 151.0, np.nan]])
    assert metrics.pck_pct(errors) == pytest.approx([50.0])


def test_auc_of_a_perfect_pose_is_30_of_31_thresholds():
    assert metrics.auc_pct(np.zeros((1, 17))) == pytest.approx([100 * 30 / 31])


def test_auc_of_an_error_of_72_mm_counts_the_16_thresholds_above_it():
    assert metrics.auc_pct(np.array([[72.0]])) == pytest.approx([100 * 16 / 31])


def test_vertex_error_is_measured_with_both_pelves_at_the_origin():
    true = np.array([[[0, 0, 0], [0, 0, 10]]], float)
    predicted = true + np.array([500, 0, 0])
    predicted[0, 1] += [0, 6, 8]
    error = metrics.vertex_errors_mm(
        predicted, true, predicted_pelvis_N3=[[500, 0, 0]], true_pelvis_N3=[[0, 0, 0]]
    )
    assert error == pytest.approx([5.0])


def test_rotation_error_is_the_angle_between():
    straight, bent = np.zeros((1, 1, 3)), np.array([[[0, 0, np.pi / 2]]])
    assert metrics.rotation_errors_rad(bent, straight)[0] == pytest.approx([np.pi / 2])


def test_an_axis_angle_a_full_turn_longer_is_the_same_rotation():
    short = np.array([[[0, 0, 0.3]]])
    long = np.array([[[0, 0, 0.3 + 2 * np.pi]]])
    np.testing.assert_allclose(metrics.rotation_errors_rad(long, short), 0, atol=1e-7)


def test_only_joints_that_turn_somewhere_are_moving():
    theta = np.zeros((3, 2, 3))
    theta[2, 1] = [0.1, 0, 0]
    assert metrics.moving_joints(theta).tolist() == [False, True]


def test_a_pose_that_is_not_finite_is_refused_with_its_row():
    predicted = np.repeat(still_pose(), 3, axis=0)
    predicted[1, 4, 2] = np.nan
    with pytest.raises(DataError, match=r"1 predicted poses have a joint that is not finite\n.*1"):
        metrics.mpjpe_mm(predicted, np.repeat(still_pose(), 3, axis=0))


def test_poses_of_another_shape_are_refused():
    with pytest.raises(DataError, match="same shape"):
        metrics.mpjpe_mm(np.zeros((2, 18, 3)), np.zeros((2, 17, 3)))
