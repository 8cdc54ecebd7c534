"""The joints that losses are taken on are those of the posed mesh."""

from collections.abc import Callable

import pytest
import roma
import torch

from hemlets.body import BodyModel, mirror_theta
from hemlets.body.posed_joints import PosedJoints
from hemlets.core.skeleton import FLIP_JOINTS, Joint

MICROMETRE = 1e-6

Draw = Callable[[int], tuple[torch.Tensor, torch.Tensor]]


@pytest.mark.parametrize("body", ["lite_body", "full_body", "blended_body"])
def test_joints_are_those_regressed_from_the_posed_mesh(
    body: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(body)
    generator = torch.Generator().manual_seed(0)
    rotation = roma.rotvec_to_rotmat(torch.randn(40, 24, 3, generator=generator))
    betas = torch.randn(40, 10, generator=generator)
    expected = model(rotation, betas).joints18_B183_mm / 1000
    expected = expected - expected[:, [Joint.PELVIS]]
    found = PosedJoints(model)(rotation, betas)
    torch.testing.assert_close(found, expected, atol=2 * MICROMETRE, rtol=0)


def test_a_turned_root_turns_all_joints(lite_body: BodyModel, held_out: Draw) -> None:
    theta, betas = held_out(3)
    rotation = roma.rotvec_to_rotmat(theta)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -1.0, 2.0]))
    turned = torch.cat([turn @ rotation[:, :1], rotation[:, 1:]], 1)
    model = PosedJoints(lite_body)
    expected = model(rotation, betas) @ turn.T
    torch.testing.assert_close(model(turned, betas), expected, atol=MICROMETRE, rtol=0)


def test_a_mirrored_pose_has_mirrored_joints(lite_body: BodyModel, held_out: Draw) -> None:
    theta, betas = held_out(3)
    rotation = roma.rotvec_to_rotmat(theta)
    model = PosedJoints(lite_body)
    expected = model(rotation, betas)[:, list(FLIP_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    found = model(mirror_theta(rotation), betas)
    torch.testing.assert_close(found, expected, atol=50 * MICROMETRE, rtol=0)


def test_gradients_by_rotations_and_shape_are_those_through_the_mesh(
    blended_body: BodyModel, held_out: Draw
) -> None:
    theta, betas = held_out(2)
    direction = torch.randn(2, 18, 3, generator=torch.Generator().manual_seed(1))
    gradients = []
    for through_mesh in (True, False):
        rotation = roma.rotvec_to_rotmat(theta).requires_grad_()
        shape = betas.clone().requires_grad_()
        if through_mesh:
            joints = blended_body(rotation, shape).joints18_B183_mm / 1000
            joints = joints - joints[:, [Joint.PELVIS]]
        else:
            joints = PosedJoints(blended_body)(rotation, shape)
        gradients.append(torch.autograd.grad((joints * direction).sum(), (rotation, shape)))
    for mesh, short in zip(*gradients, strict=True):
        torch.testing.assert_close(short, mesh, atol=1e-5, rtol=1e-4)


def test_no_weight_of_a_network_comes_of_it(lite_body: BodyModel) -> None:
    assert not PosedJoints(lite_body).state_dict()
    assert not list(PosedJoints(lite_body).parameters())
