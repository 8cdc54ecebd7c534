"""What each stage minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemlets.codecs import encode_heatmaps, encode_triplets, known_layers
from hemlets.losses import (
    betas_loss,
    heatmap_loss,
    hemlets_loss,
    joint_loss,
    marginal_loss,
    rotation_loss,
)
from hemlets.models import DecodedVolume, HemletsPosh, PoseNetwork, PoseOutput, ShapeNetwork
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig
from hemlets.training.shape_samples import ShapeBatch
from hemlets.transforms import normalise

__all__ = ["PoseObjective", "PoshObjective", "ShapeObjective", "shrunk"]


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
            return self.terms(output, self.network.decode(output), batch)

    def terms(self, output: PoseOutput, decoded: DecodedVolume, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of the network's output."""
        config = self.network.config
        cells = config.volume_cells
        terms = {
            "joints": joint_loss(
                decoded.voxel_BJ3, batch.voxel_BJ3, batch.known2d_BJ, batch.known3d_BJ
            )
        }
        total = terms["joints"]
        if self.weights.marginal:
            terms["marginal"] = marginal_loss(
                decoded.marginals_xyz,
                batch.voxel_BJ3,
                self.weights.marginal_sigma,
                batch.known2d_BJ,
                batch.known3d_BJ,
                cells,
            )
            total = total + self.weights.marginal * terms["marginal"]
        if output.heatmap_BJHW is not None and output.triplet_BKLHW is not None:
            size = output.heatmap_BJHW.shape[-1]
            heatmap_BJHW = encode_heatmaps(
                batch.voxel_BJ3[..., :2] * (size / cells), size, config.sigma_cells * size / cells
            )
            if self.weights.supervision in ("hemlets", "both"):
                relation, steep, states = batch.relation_BK, batch.steep_BK, config.states
                terms["hemlets"] = hemlets_loss(
                    output.triplet_BKLHW,
                    encode_triplets(heatmap_BJHW, relation, steep, states),
                    known_layers(relation, batch.relation_known_BK, steep, states),
                )
                total = total + self.weights.alpha * terms["hemlets"]
            if self.weights.supervision in ("2d", "both"):
                terms["heatmaps"] = heatmap_loss(
                    output.heatmap_BJHW, heatmap_BJHW, batch.known2d_BJ
                )
                total = total + self.weights.alpha * terms["heatmaps"]
        return {**terms, "total": total}


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
        output = self.network(image)
        with torch.autocast(batch.image_BHW3.device.type, enabled=False):
            terms = self._pose.terms(output.pose, output.decoded, batch)
            shape = output.shape
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


class ShapeObjective(nn.Module):
    """L_θ + L_β, equations (9) and (10), from joints without image features."""

    def __init__(self, network: ShapeNetwork, losses: LossConfig) -> None:
        super().__init__()
        self.network = network
        self.weights = losses

    def forward(self, batch: ShapeBatch) -> dict[str, Tensor]:
        """Loss terms of a batch."""
        joints = batch.joints_BJ3_m
        features = joints.new_zeros(len(joints), self.network.feature_channels)
        with torch.autocast(joints.device.type, enabled=False):
            shape = self.network(joints, features)
            known_B = joints.new_ones(len(joints))
            terms = {
                "theta": rotation_loss(shape.rotation_BR33, batch.rotation_BR33, known_B),
                "betas": betas_loss(shape.betas_BS, batch.betas_BS, known_B),
            }
            total = self.weights.theta * terms["theta"] + self.weights.betas * terms["betas"]
        return {**terms, "total": total}
