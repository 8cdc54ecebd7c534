"""Points as sums of rigid moves agree with the mesh, and their derivatives with differences."""

import pytest
import roma
import torch

from hemlets.body.points import PointModel, Skeleton
from hemlets.core.skeleton import SMPL_PARENTS


@pytest.fixture(params=["lite_body", "full_body", "blended_body"])
def body(request):
    return request.getfixturevalue(request.param)


def posed(body, model, skeleton, theta, betas):
    frames = skeleton.frames(roma.rotvec_to_rotmat(theta.double()), betas.double())
    return model.points(frames, betas.double())


def test_joints_without_a_mesh_are_those_regressed_from_the_mesh(body, held_out):
    theta, betas = held_out(6)
    skeleton = Skeleton(body)
    model = PointModel.regressed(body, skeleton, body.joint_regressor_NV)
    frames = skeleton.frames(roma.rotvec_to_rotmat(theta.double()), betas.double())
    expected = body(theta, betas)
    torch.testing.assert_close(
        model.at(frames, betas.double()).float(), expected.joints18_B183_mm, atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        frames.at_BJ3_mm.float(), expected.joints24_B243_mm, atol=0.01, rtol=0
    )


def test_single_vertices_are_the_meshs_own(lite_body, held_out):
    theta, betas = held_out(3)
    chosen = [0, 17, 400, 1228]
    skeleton = Skeleton(lite_body)
    model = PointModel.vertices(lite_body, skeleton, chosen)
    points = posed(lite_body, model, skeleton, theta, betas)
    expected = lite_body(theta, betas).vertices_BV3_mm[:, chosen]
    torch.testing.assert_close(points.at_BN3_mm.float(), expected, atol=0.01, rtol=0)


def test_derivatives_by_shape_are_exact(blended_body, held_out):
    theta, betas = held_out(2)
    skeleton = Skeleton(blended_body)
    model = PointModel.regressed(blended_body, skeleton, blended_body.joint_regressor_NV)
    slope = posed(blended_body, model, skeleton, theta, betas).by_beta_BN3K
    for coefficient in (0, 7):
        ahead, behind = betas.clone().double(), betas.clone().double()
        ahead[:, coefficient] += 1e-3
        behind[:, coefficient] -= 1e-3
        change = (
            posed(blended_body, model, skeleton, theta, ahead).at_BN3_mm
            - posed(blended_body, model, skeleton, theta, behind).at_BN3_mm
        ) / 2e-3
        torch.testing.assert_close(slope[..., coefficient], change, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("joint", [0, 3, 12, 16, 18])
def test_derivatives_by_turns_are_exact(lite_body, held_out, joint):
    theta, betas = held_out(2)
    skeleton = Skeleton(lite_body)
    model = PointModel.regressed(lite_body, skeleton, lite_body.joint_regressor_NV)
    rot = roma.rotvec_to_rotmat(theta.double())
    slope = posed(lite_body, model, skeleton, theta, betas).by_turn_BN3J3[:, :, :, joint]
    world = skeleton.frames(rot, betas.double()).rot_BJ33
    parent = SMPL_PARENTS[joint]
    above = torch.eye(3).double().expand(2, 3, 3) if parent < 0 else world[:, parent]
    for axis in range(3):
        size = 1e-5
        places = []
        for sign in (1, -1):
            turn = torch.zeros(2, 3).double()
            turn[:, axis] = sign * size
            turned = rot.clone()
            turned[:, joint] = above.mT @ roma.rotvec_to_rotmat(turn) @ above @ rot[:, joint]
            frames = skeleton.frames(turned, betas.double())
            places.append(model.at(frames, betas.double()))
        change = (places[0] - places[1]) / (2 * size)
        torch.testing.assert_close(slope[..., axis], change, atol=1e-4, rtol=1e-5)
