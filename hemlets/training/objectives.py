"""What each stage minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemlets.codecs import encode_heatmaps, encode_triplets, expectation, marginals
from hemlets.inference.predictor import normalise
from hemlets.losses import (
    betas_loss,
    heatmap_loss,
    hemlets_loss,
    joint_loss,
    marginal_loss,
    rotation_loss,
)
from hemlets.models import HemletsPosh, PoseNetwork, PoseOutput
from hemlets.models.posh import nominal_metres
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig

__all__ = ["PoseObjective", "PoshObjective", "shrunk"]


def shrunk(image_B3HW: Tensor, factor: int) -> Tensor:
    """Crops averaged down by a whole factor.

    The network is convolutional, so that a first phase on small crops teaches the same weights
    at a fraction of the cost.
    """
    return image_B3HW if factor == 1 else torch.nn.functional.avg_pool2d(image_B3HW, factor)


class PoseObjective(nn.Module):
    """L_tot = α·(L_HEM + L_2D) + L_3D, equations (7) and (8), and the marginal term.

    ``forward`` gives the terms as sums over the batch, unweighted, with their weighted sum
    under ``total``; the engine divides by the global batch.
    """

    def __init__(self, network: PoseNetwork, losses: LossConfig, *, shrink: int = 1) -> None:
        super().__init__()
        self.network = network
        self.weights = losses
        self.shrink = shrink

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of a batch."""
        output = self.network(shrunk(normalise(batch.image_BHW3), self.shrink))
        with torch.autocast(batch.image_BHW3.device.type, enabled=False):
            terms, _ = self.terms(output, batch)
        return terms

    def terms(self, output: PoseOutput, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Loss terms and decoded voxels of the network's output."""
        config = self.network.config
        p_xyz = marginals(output.volume_BJDHW)
        cells = config.volume_cells
        voxel_BJ3 = expectation(p_xyz, cells)
        terms = {
            "joints": joint_loss(voxel_BJ3, batch.voxel_BJ3, batch.known2d_BJ, batch.known3d_BJ)
        }
        total = terms["joints"]
        if self.weights.marginal:
            terms["marginal"] = marginal_loss(
                p_xyz,
                batch.voxel_BJ3,
                self.weights.marginal_sigma,
                batch.known2d_BJ,
                batch.known3d_BJ,
                cells,
            )
            total = total + self.weights.marginal * terms["marginal"]
        if output.heatmap_BJHW is not None and output.triplet_BKSHW is not None:
            size = output.heatmap_BJHW.shape[-1]
            heatmap_BJHW = encode_heatmaps(
                batch.voxel_BJ3[..., :2] * (size / cells), size, config.sigma_cells * size / cells
            )
            if self.weights.hemlets:
                triplet = encode_triplets(heatmap_BJHW, batch.relation_BK)
                terms["hemlets"] = hemlets_loss(
                    output.triplet_BKSHW, triplet, batch.relation_known_BK
                )
                total = total + self.weights.alpha * terms["hemlets"]
            if self.weights.heatmaps:
                terms["heatmaps"] = heatmap_loss(
                    output.heatmap_BJHW, heatmap_BJHW, batch.known2d_BJ
                )
                total = total + self.weights.alpha * terms["heatmaps"]
        return {**terms, "total": total}, voxel_BJ3


class PoshObjective(nn.Module):
    """L_mesh = L_θ + L_β + L_tot, equation (11), end to end."""

    def __init__(self, network: HemletsPosh, losses: LossConfig, *, shrink: int = 1) -> None:
        super().__init__()
        self.network = network
        self.weights = losses
        self._pose = PoseObjective(network.pose, losses, shrink=shrink)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of a batch."""
        image = shrunk(normalise(batch.image_BHW3), self._pose.shrink)
        output = self.network.pose(image)
        with torch.autocast(batch.image_BHW3.device.type, enabled=False):
            terms, voxel_BJ3 = self._pose.terms(output, batch)
            joints = nominal_metres(voxel_BJ3, self.network.pose.config.volume)
            shape = self.network.shape(joints, output.feature_BC)
            terms["theta"] = rotation_loss(
                shape.rotation_BR33, batch.rotation_BR33, batch.smpl_known_B
            )
            terms["betas"] = betas_loss(shape.betas_BS, batch.betas_BS, batch.smpl_known_B)
            terms["total"] = (
                terms["total"]
                + self.weights.theta * terms["theta"]
                + self.weights.betas * terms["betas"]
            )
        return terms
