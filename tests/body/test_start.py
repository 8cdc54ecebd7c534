"""How far a fit has gone from where it started."""

import math

import pytest
import roma
import torch

from hemlets.body.prior import learned_prior
from hemlets.body.rotations import left_jacobian
from hemlets.body.start import Start, StartTrust

TRUST = StartTrust(pose_share=0.5, root_rad=0.1, betas=0.5)
AXIS = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64)


def random(*shape, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def start():
    return Start(
        root_B33=roma.rotvec_to_rotmat(random(3, 3)),
        theta_BJ3=random(3, 23, 3, scale=0.3),
        betas_BK=random(3, 10),
    )


def test_a_root_turned_by_its_standard_deviation_is_one_away(start):
    turned = roma.rotvec_to_rotmat(0.1 * AXIS) @ start.root_B33
    residual, _ = start.root_residual(turned, TRUST)
    torch.testing.assert_close(residual, AXIS.expand(3, 3))


@pytest.mark.parametrize("away_rad", [0.0, 0.02, 1.0, 2.5])
def test_the_roots_derivative_is_that_of_a_further_turn(start, away_rad):
    there = roma.rotvec_to_rotmat(away_rad * AXIS) @ start.root_B33
    _, slope = start.root_residual(there, TRUST)

    def after(turn_3):
        return start.root_residual(roma.rotvec_to_rotmat(turn_3) @ there, TRUST)[0]

    step = 1e-6
    for axis, turn in enumerate(step * torch.eye(3, dtype=torch.float64)):
        by_difference = (after(turn) - after(-turn)) / (2 * step)
        torch.testing.assert_close(slope[..., axis], by_difference, atol=1e-4, rtol=1e-4)


def test_a_pose_is_as_far_away_as_motion_makes_its_difference_rare(start):
    prior = learned_prior()
    whitening = torch.from_numpy(prior.whitening_PP)
    pose = start.theta_BJ3 + random(3, 23, 3, scale=0.1)
    residual, slope = start.pose_residual(pose, whitening, TRUST)
    as_rare = prior.energy(prior.mean_J3 + (pose - start.theta_BJ3).numpy())
    torch.testing.assert_close(residual.square().sum(-1), torch.from_numpy(as_rare) / 0.5**2)
    torch.testing.assert_close(slope, whitening / 0.5)


def test_the_left_jacobian_of_a_quarter_turn_is_the_known_one():
    quarter = torch.tensor([[0.0, 0.0, math.pi / 2]], dtype=torch.float64)
    share = 2 / math.pi
    wanted = torch.tensor([[share, -share, 0], [share, share, 0], [0, 0, 1]]).double()
    torch.testing.assert_close(left_jacobian(quarter)[0], wanted)
