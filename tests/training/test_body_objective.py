"""What predicted bodies are taught by: angles, shape, and where their joints come to lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch

from hemlets.body import BodyModel
from hemlets.core.errors import AssetError
from hemlets.core.skeleton import SMPL_JOINTS, Joint
from hemlets.models import ShapeNetwork, ShapeNetworkConfig, ShapeOutput
from hemlets.training.config import LossConfig
from hemlets.training.objectives import BodyObjective, ShapeObjective
from hemlets.training.shape_samples import ShapeBatch

PAPER = LossConfig()
POSED = LossConfig(posed_joints=5.0)


def people(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations and betas."""
    generator = torch.Generator().manual_seed(count)
    vectors = 0.4 * torch.randn(count, 24, 3, generator=generator)
    return roma.rotvec_to_rotmat(vectors), torch.randn(count, 10, generator=generator)


def turned(rotation: torch.Tensor, name: str) -> torch.Tensor:
    """The same poses, one joint turned by 30 degrees about x."""
    found = rotation.clone()
    turn = roma.rotvec_to_rotmat(torch.tensor([np.pi / 6, 0.0, 0.0]))
    found[:, SMPL_JOINTS.index(name)] @= turn
    return found


def terms(losses: LossConfig, rotation: torch.Tensor, **changes: Any) -> dict[str, float]:
    """Loss terms of a prediction with the true shape."""
    true_rotation, betas = people(len(rotation))
    known = changes.get("known", torch.ones(len(rotation)))
    found = BodyObjective(losses)(ShapeOutput(rotation, betas), true_rotation, betas, known)
    return {name: float(value) for name, value in found.items()}


def test_the_papers_loss_is_the_default_and_has_no_term_on_posed_joints() -> None:
    rotation, _ = people(3)
    found = terms(PAPER, turned(rotation, "left_hip"))
    assert found.keys() == {"theta", "betas", "total"}
    assert found["total"] == pytest.approx(found["theta"] + found["betas"])


def test_the_term_is_the_sum_of_distances_between_the_joints_of_the_meshes() -> None:
    rotation, betas = people(3)
    found = terms(POSED, turned(rotation, "left_hip"))
    body = BodyModel.load()
    joints = [body(r, betas).joints18_B183_mm for r in (rotation, turned(rotation, "left_hip"))]
    ours, theirs = (j - j[:, [Joint.PELVIS]] for j in joints)
    expected = float((ours - theirs).norm(dim=-1).sum()) / 1000
    assert found["posed_joints"] == pytest.approx(expected, abs=1e-4)
    assert found["total"] == pytest.approx(found["theta"] + 5 * expected, abs=1e-3)


def test_the_same_angle_counts_more_where_it_moves_more_of_the_body() -> None:
    rotation, _ = people(3)
    hip, wrist = (terms(POSED, turned(rotation, name)) for name in ("left_hip", "left_wrist"))
    assert hip["theta"] == pytest.approx(wrist["theta"], rel=1e-3)
    assert hip["posed_joints"] > 10 * wrist["posed_joints"]


def test_people_without_a_known_body_have_no_say() -> None:
    rotation, _ = people(3)
    wrong = rotation.clone()
    wrong[1] = turned(rotation, "left_hip")[1]
    known = torch.tensor([1.0, 0.0, 1.0])
    assert terms(POSED, wrong, known=known)["total"] == pytest.approx(0.0, abs=1e-3)


def test_the_true_body_has_a_finite_gradient() -> None:
    rotation, betas = people(2)
    found = rotation.clone().requires_grad_()
    total = BodyObjective(POSED)(ShapeOutput(found, betas), rotation, betas, torch.ones(2))["total"]
    (gradient,) = torch.autograd.grad(total, found)
    assert gradient.isfinite().all()


def test_data_of_another_body_are_posed_with_their_own(tmp_path: Path) -> None:
    arrays = BodyModel.load().arrays
    large = tmp_path / "large.npz"
    arrays["v_template"] = 1.2 * arrays["v_template"]
    np.savez(large, allow_pickle=False, **arrays)
    rotation, _ = people(2)
    wrong = turned(rotation, "left_hip")
    other = terms(LossConfig(posed_joints=5.0, body=large), wrong)
    assert other["posed_joints"] > 1.1 * terms(POSED, wrong)["posed_joints"]
    with pytest.raises(AssetError):
        BodyObjective(LossConfig(posed_joints=5.0, body=tmp_path / "absent.npz"))


def test_the_shape_stage_learns_where_joints_lie() -> None:
    torch.manual_seed(0)
    rotation, betas = people(16)
    network = ShapeNetwork(ShapeNetworkConfig(hidden=64, blocks=1), 4)
    objective = ShapeObjective(network, LossConfig(theta=0, betas=0, posed_joints=1.0))
    joints = torch.randn(16, 18, 3)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = objective(ShapeBatch(joints, rotation, betas))["total"]
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
