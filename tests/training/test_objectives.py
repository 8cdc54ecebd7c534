import numpy as np
import torch

from hemlets.models import PoseNetwork, PoseNetworkConfig
from hemlets.models.codecs import expectation, marginals
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig
from hemlets.training.objectives import PoseObjective, downscale

CONFIG = PoseNetworkConfig(
    crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32, lateral=True
)


def batch(voxels_BJ3):
    count = len(voxels_BJ3)
    return Batch(
        image_BHW3=torch.zeros(count, 64, 64, 3, dtype=torch.uint8),
        voxel_BJ3=voxels_BJ3,
        known2d_BJ=torch.ones(count, 18),
        known3d_BJ=torch.ones(count, 18),
        relation_BK=torch.zeros(count, 14),
        steep_BK=torch.zeros(count, 14),
        relation_known_BK=torch.ones(count, 14),
        rotation_BR33=torch.eye(3).repeat(count, 24, 1, 1),
        betas_BS=torch.zeros(count, 10),
        smpl_known_B=torch.ones(count),
        absent_B=torch.zeros(count),
    )


def test_a_first_phase_on_small_crops_runs_through_the_same_weights():
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG)
    image = torch.randn(2, 3, 64, 64)
    assert network(image).volume_BJDHW.shape == (2, 18, 16, 16, 16)
    assert network(downscale(image, 2)).volume_BJDHW.shape == (2, 18, 16, 8, 8)


def test_a_coarse_volume_decodes_to_the_voxels_of_the_fine_one():
    logits = torch.full((1, 18, 16, 8, 8), -50.0)
    logits[..., 5, 3, 6] = 50.0
    found = expectation(marginals(logits), 16)
    # Coarse cell 6 spans fine cells 12 and 13, so its centre is their common edge.
    assert torch.allclose(found[0, 0], torch.tensor([13.0, 7.0, 5.5]))


def test_the_loss_of_a_perfect_coarse_volume_is_that_of_a_perfect_fine_one():
    torch.manual_seed(0)
    target = torch.full((1, 18, 3), 7.0)
    target[..., 2] = 5.5
    losses = LossConfig(supervision="none", marginal=0.0)
    for shrink in (1, 2):
        network = PoseNetwork(CONFIG).eval()
        objective = PoseObjective(network, losses, shrink=shrink)
        output = network(downscale(torch.randn(1, 3, 64, 64), shrink))
        size = 16 // shrink
        volume = torch.full((1, 18, 16, size, size), -50.0)
        # The point (7, 7) is the corner of four fine cells and the centre of a coarse one.
        cells = [3] if shrink == 2 else [6, 7]
        for row in cells:
            for column in cells:
                volume[..., 5, row, column] = 50.0
        output = output._replace(volume_BJDHW=volume)
        terms = objective.terms(output, network.decode(output), batch(target))
        assert np.isclose(float(terms["joints"]), 0.0, atol=1e-4)


def test_laterals_bring_detail_past_the_coarsest_level():
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    for lateral in (False, True):
        network = PoseNetwork(CONFIG.model_copy(update={"lateral": lateral})).eval()
        levels = network.backbone(image)
        moved = [levels[0] + 1, *levels[1:]]
        same = torch.equal(network.feature_branch(levels), network.feature_branch(moved))
        assert same != lateral


def test_normalised_joints_weigh_the_maps_by_the_number_of_cells():
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG).eval()
    output = network(torch.randn(2, 3, 64, 64))
    targets = batch(8 + torch.randn(2, 18, 3))
    found = {}
    for units in ("voxels", "normalised"):
        objective = PoseObjective(network, LossConfig(marginal=0.0, joint_units=units))
        found[units] = objective.terms(output, network.decode(output), targets)
    voxels, normalised = found["voxels"], found["normalised"]
    # Coordinates of -0.5 to 0.5 over 16 cells.
    assert torch.isclose(voxels["joints"], 16 * normalised["joints"])
    for name in ("hemlets", "heatmaps"):
        assert torch.equal(voxels[name], normalised[name])
    maps = 0.05 * (voxels["hemlets"] + voxels["heatmaps"])
    assert torch.isclose(normalised["total"], normalised["joints"] + maps)


def test_each_axis_is_normalised_by_its_own_cells():
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG.model_copy(update={"depth_cells": 32})).eval()
    output = network(torch.randn(1, 3, 64, 64))
    decoded = network.decode(output)
    moved = decoded.voxel_BJ3.detach().clone()
    moved[:, :, 0] += 1.0
    moved[:, :, 2] += 1.0
    objective = PoseObjective(network, LossConfig(marginal=0.0, joint_units="normalised"))
    joints = objective.terms(output, decoded, batch(moved))["joints"]
    assert torch.isclose(joints, torch.tensor(18 * (1 / 16 + 1 / 32)), rtol=1e-4)
