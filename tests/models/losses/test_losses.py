"""Equations (3) to (11) against plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hemlets.core.skeleton import N_JOINTS
from hemlets.models import HemletsPosh, PoseNetwork, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs import States, encode_heatmaps, encode_triplets
from hemlets.models.losses import (
    betas_loss,
    heatmap_loss,
    hemlets_loss,
    joint_loss,
    marginal_loss,
    rotation_loss,
)
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig
from hemlets.training.objectives import PoseObjective, PoshObjective

TINY = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_hemlets_term_is_the_masked_squared_difference(draw: torch.Generator) -> None:
    predicted, target = (torch.randn(2, 14, 3, 4, 5, generator=draw) for _ in range(2))
    known = (torch.rand(2, 14, 3, generator=draw) < 0.5).float()
    expected = sum(
        float(predicted[i] - target[i]) ** 2 for i in np.ndindex(2, 14, 3, 4, 5) if known[i[:3]]
    )
    assert float(hemlets_loss(predicted, target, known)) == pytest.approx(expected, rel=1e-5)


def test_an_unknown_part_has_no_gradient_in_any_state(draw: torch.Generator) -> None:
    predicted = torch.randn(1, 14, 3, 4, 4, generator=draw, requires_grad=True)
    known = torch.ones(1, 14, 3)
    known[0, 5] = 0
    torch.autograd.backward(hemlets_loss(predicted, torch.zeros(1, 14, 3, 4, 4), known))
    assert predicted.grad is not None
    assert not predicted.grad[0, 5].any()
    assert predicted.grad[0, 4].any()


def test_the_heatmap_term_is_summed_over_known_joints_and_pixels(draw: torch.Generator) -> None:
    predicted, target = (torch.randn(2, 18, 4, 5, generator=draw) for _ in range(2))
    known = (torch.rand(2, 18, generator=draw) < 0.5).float()
    expected = sum(
        float(predicted[i] - target[i]) ** 2 for i in np.ndindex(2, 18, 4, 5) if known[i[:2]]
    )
    assert float(heatmap_loss(predicted, target, known)) == pytest.approx(expected, rel=1e-5)


def test_the_joint_term_counts_depth_only_where_it_is_known(draw: torch.Generator) -> None:
    predicted, target = (torch.rand(2, 18, 3, generator=draw) * 32 for _ in range(2))
    in_plane = (torch.rand(2, 18, generator=draw) < 0.7).float()
    depth = (torch.rand(2, 18, generator=draw) < 0.5).float()
    expected = 0.0
    for b, j in np.ndindex(2, 18):
        dx, dy, dz = (abs(float(predicted[b, j, a] - target[b, j, a])) for a in range(3))
        expected += float(in_plane[b, j]) * (dx + dy) + float(depth[b, j]) * dz
    found = joint_loss(predicted, target, in_plane, depth)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_marginal_term_is_a_cross_entropy_with_gaussians(draw: torch.Generator) -> None:
    marginals = tuple(torch.softmax(torch.randn(2, 18, n, generator=draw), -1) for n in (5, 6, 7))
    target = torch.rand(2, 18, 3, generator=draw) * 9 - 2
    in_plane = (torch.rand(2, 18, generator=draw) < 0.7).float()
    depth = (torch.rand(2, 18, generator=draw) < 0.5).float()
    expected = 0.0
    for axis, (p, known) in enumerate(zip(marginals, (in_plane, in_plane, depth), strict=True)):
        cells = p.shape[-1]
        for b, j in np.ndindex(2, 18):
            at = min(max(float(target[b, j, axis]), 0.5), cells - 0.5)
            gauss = [math.exp(-((i + 0.5 - at) ** 2) / 2 / 0.8**2) for i in range(cells)]
            entropy = -sum(
                g / sum(gauss) * math.log(float(q)) for g, q in zip(gauss, p[b, j], strict=True)
            )
            expected += float(known[b, j]) * entropy
    found = marginal_loss(marginals, target, 0.8, in_plane, depth)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_rotation_term_sums_frobenius_norms(draw: torch.Generator) -> None:
    predicted, target = (torch.randn(2, 24, 3, 3, generator=draw) for _ in range(2))
    known = torch.tensor([1.0, 0.0])
    expected = sum(
        math.sqrt(float(((predicted[0, r] - target[0, r]) ** 2).sum())) for r in range(24)
    )
    assert float(rotation_loss(predicted, target, known)) == pytest.approx(expected, rel=1e-5)


def test_the_rotation_terms_gradient_is_finite_at_no_error() -> None:
    rotation = torch.eye(3).expand(1, 24, 3, 3).clone().requires_grad_()
    torch.autograd.backward(rotation_loss(rotation, rotation.detach(), torch.ones(1)))
    assert rotation.grad is not None
    assert rotation.grad.isfinite().all()


def test_the_betas_term_is_an_absolute_difference(draw: torch.Generator) -> None:
    predicted, target = (torch.randn(2, 10, generator=draw) for _ in range(2))
    expected = float((predicted[1] - target[1]).abs().sum())
    found = float(betas_loss(predicted, target, torch.tensor([0.0, 1.0])))
    assert found == pytest.approx(expected, rel=1e-6)


def _batch(draw: torch.Generator) -> Batch:
    return Batch(
        image_BHW3=torch.randint(0, 256, (2, 64, 64, 3), generator=draw, dtype=torch.uint8),
        voxel_BJ3=torch.rand(2, N_JOINTS, 3, generator=draw) * 16,
        known2d_BJ=torch.ones(2, N_JOINTS),
        known3d_BJ=torch.ones(2, N_JOINTS),
        relation_BK=torch.randint(-1, 2, (2, 14), generator=draw).float(),
        steep_BK=torch.randint(0, 2, (2, 14), generator=draw).float(),
        relation_known_BK=torch.ones(2, 14),
        rotation_BR33=torch.eye(3).expand(2, 24, 3, 3).contiguous(),
        betas_BS=torch.randn(2, 10, generator=draw),
        smpl_known_B=torch.ones(2),
        absent_B=torch.zeros(2),
    )


def test_the_pose_total_weighs_the_intermediate_terms_by_alpha(draw: torch.Generator) -> None:
    torch.manual_seed(0)
    weights = LossConfig(alpha=0.05, marginal=0.5)
    terms = PoseObjective(PoseNetwork(TINY), weights)(_batch(draw))
    expected = (
        0.05 * (terms["hemlets"] + terms["heatmaps"]) + terms["joints"] + 0.5 * terms["marginal"]
    )
    torch.testing.assert_close(terms["total"], expected)


def test_the_papers_own_loss_has_no_marginal_term(draw: torch.Generator) -> None:
    torch.manual_seed(0)
    terms = PoseObjective(PoseNetwork(TINY), LossConfig(marginal=0.0))(_batch(draw))
    assert terms.keys() == {"joints", "hemlets", "heatmaps", "total"}


@pytest.mark.parametrize(
    ("supervision", "names"),
    [
        ("none", {"joints", "marginal", "total"}),
        ("2d", {"joints", "marginal", "heatmaps", "total"}),
        ("hemlets", {"joints", "marginal", "hemlets", "total"}),
        ("both", {"joints", "marginal", "heatmaps", "hemlets", "total"}),
    ],
)
def test_each_row_of_the_ablation_has_its_terms(
    draw: torch.Generator, supervision: Any, names: Any
) -> None:
    torch.manual_seed(0)
    terms = PoseObjective(PoseNetwork(TINY), LossConfig(supervision=supervision))(_batch(draw))
    assert terms.keys() == names


def test_the_whole_models_total_adds_rotations_and_shape(draw: torch.Generator) -> None:
    torch.manual_seed(0)
    weights = LossConfig(alpha=0.05, marginal=0.0, theta=2.0, betas=3.0)
    model = HemletsPosh(TINY, ShapeNetworkConfig(hidden=32, blocks=1))
    terms = PoshObjective(model, weights)(_batch(draw))
    expected = (
        0.05 * (terms["hemlets"] + terms["heatmaps"])
        + terms["joints"]
        + 2 * terms["theta"]
        + 3 * terms["betas"]
    )
    torch.testing.assert_close(terms["total"], expected)


@pytest.mark.parametrize("states", [2, 3, 5])
def test_the_objectives_targets_are_the_encoders(draw: torch.Generator, states: States) -> None:
    # A network that hits every target leaves nothing of the intermediate terms.
    batch = _batch(draw)
    heatmap = encode_heatmaps(batch.voxel_BJ3[..., :2], 16, TINY.sigma_cells)
    triplet = encode_triplets(heatmap, batch.relation_BK, batch.steep_BK, states)
    network = PoseNetwork(TINY.model_copy(update={"states": states}))
    output = network(torch.zeros(2, 3, 64, 64))
    assert output.triplet_BKLHW is not None
    assert output.triplet_BKLHW.shape == triplet.shape
    output = output._replace(heatmap_BJHW=heatmap, triplet_BKLHW=triplet)
    terms = PoseObjective(network, LossConfig()).terms(output, network.decode(output), batch)
    assert float(terms["hemlets"]) == 0.0
    assert float(terms["heatmaps"]) == 0.0


def test_a_sample_without_depth_teaches_its_relations_and_nothing_of_depth(
    draw: torch.Generator,
) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY)
    batch = _batch(draw)._replace(known3d_BJ=torch.zeros(2, N_JOINTS))
    output = network(torch.randn(2, 3, 64, 64, generator=draw))
    output.volume_BJDHW.retain_grad()
    assert output.triplet_BKLHW is not None
    output.triplet_BKLHW.retain_grad()
    objective = PoseObjective(network, LossConfig())
    moved = batch._replace(voxel_BJ3=batch.voxel_BJ3 + torch.tensor([0.0, 0.0, 3.0]))
    totals = [objective.terms(output, network.decode(output), b)["total"] for b in (batch, moved)]
    assert torch.equal(*totals)
    torch.autograd.backward(totals[0])
    gradient = output.volume_BJDHW.grad
    assert gradient is not None
    # Neither the mean depth nor the depth marginal moves: along depth the gradient is that of
    # the softmax over x and y, which is proportional to the probability itself.
    p_z = torch.softmax(output.volume_BJDHW.detach().flatten(2), -1).view_as(gradient)
    ratio = gradient / p_z
    torch.testing.assert_close(ratio, ratio.mean(2, keepdim=True).expand_as(ratio), rtol=1e-3,
                               atol=1e-3)  # fmt: skip
    assert output.triplet_BKLHW.grad is not None
    assert output.triplet_BKLHW.grad.any()


def test_a_sample_without_any_known_joint_teaches_nothing(draw: torch.Generator) -> None:
    batch = _batch(draw)._replace(
        known2d_BJ=torch.zeros(2, N_JOINTS),
        known3d_BJ=torch.zeros(2, N_JOINTS),
        relation_known_BK=torch.zeros(2, 14),
    )
    assert PoseObjective(PoseNetwork(TINY), LossConfig())(batch)["total"].item() == 0.0
