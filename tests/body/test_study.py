"""Table 8's rows part the error of pose from that of shape."""

import pytest
import torch

from hemlets.body.study import body_error, mean_shape_on_skeletons, study_rows
from hemlets.core.skeleton import SMPL_JOINTS


@pytest.fixture
def truth(held_out):
    return held_out(8)


def test_the_truth_has_no_error_wherever_it_stands(lite_body, truth):
    error = body_error(lite_body, truth, truth)
    assert error.surface_B_mm.max() == pytest.approx(0, abs=1e-3)
    assert error.joints_B_mm.max() == pytest.approx(0, abs=1e-3)


def test_a_true_pose_leaves_only_the_shapes_error(lite_body, truth):
    theta, betas = truth
    wrong = theta.clone()
    wrong[:, SMPL_JOINTS.index("left_knee"), 0] += 0.6
    rows = study_rows(lite_body, (wrong, betas), truth)
    assert rows["true pose"].surface_B_mm.mean() == pytest.approx(0, abs=1e-3)
    assert rows["true shape"].surface_B_mm.mean() == pytest.approx(
        rows["predicted"].surface_B_mm.mean()
    )
    assert rows["predicted"].surface_B_mm.mean() > 3


def test_a_true_shape_leaves_only_the_poses_error(lite_body, truth):
    theta, betas = truth
    rows = study_rows(lite_body, (theta, betas + 1), truth)
    assert rows["true shape"].surface_B_mm.mean() == pytest.approx(0, abs=1e-3)
    assert rows["true pose"].joints_B_mm.mean() == pytest.approx(
        rows["predicted"].joints_B_mm.mean()
    )
    assert rows["mean pose and shape"].surface_B_mm.mean() > rows["mean shape"].surface_B_mm.mean()


def test_the_mean_body_is_laid_on_a_skeleton_as_well_as_its_own_bones_allow(lite_body, truth):
    theta, betas = truth
    for shape, limit_mm in ((torch.zeros_like(betas), 10.0), (betas, 40.0)):
        joints = lite_body(theta, shape).joints18_B183_mm + 3000.0
        laid, none = mean_shape_on_skeletons(lite_body, joints)
        assert not none.any()
        assert body_error(lite_body, (laid, none), (theta, shape)).joints_B_mm.mean() < limit_mm
