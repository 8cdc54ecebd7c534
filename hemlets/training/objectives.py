"""The objectives that the stages minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hemlets.data.transforms import normalise
from hemlets.models import (
    DecodedVolume,
    HemletsPosh,
    PoseNetwork,
    PoseOutput,
    ShapeNetwork,
    ShapeOutput,
)
from hemlets.models.codecs import encode_heatmaps, encode_triplets, known_layers
from hemlets.models.losses import (
    betas_loss,
    heatmap_loss,
    hemlets_loss,
    joint_loss,
    marginal_loss,
    rotation_loss,
)
from hemlets.models.posh import body_from
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig
from hemlets.training.features import FeatureBatch, unflatten_features
from hemlets.training.shape_samples import ShapeBatch

if TYPE_CHECKING:
    from hemlets.body.posed_joints import PosedJoints


def downscale(image_B3HW: Tensor, factor: int) -> Tensor:
    """Average crops down by a whole factor, for a cheap first phase of training."""
    return image_B3HW if factor == 1 else torch.nn.functional.avg_pool2d(image_B3HW, factor)


class PoseObjective(nn.Module):
    """L_tot = α·(L_HEM + L_2D) + L_3D, equations (7) and (8), and the marginal term.

    ``forward`` returns unweighted terms summed over the batch, and their weighted sum ``total``;
    the engine divides by the global batch. An image without a person trains heatmaps of 0 only.
    """

    def __init__(self, network: PoseNetwork, losses: LossConfig, *, shrink: int = 1) -> None:
        super().__init__()
        self.network = network
        self.weights = losses
        self.shrink = shrink

    def forward(self, batch: Batch | FeatureBatch) -> dict[str, Tensor]:
        """Compute the loss terms of a batch."""
        output = self.output(batch)
        with torch.autocast(output.volume_BJDHW.device.type, enabled=False):
            alone, refined = _decoded(self.network, output)
            return self.terms(output, alone, batch, refined)

    def output(self, batch: Batch | FeatureBatch) -> PoseOutput:
        """Run the network on a batch of crops or of their features."""
        if isinstance(batch, FeatureBatch):
            return self.network.head(unflatten_features(batch, self.network))
        found: PoseOutput = self.network(downscale(normalise(batch.image_BHW3), self.shrink))
        return found

    def terms(
        self,
        output: PoseOutput,
        decoded: DecodedVolume,
        batch: Batch | FeatureBatch,
        refined: DecodedVolume | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss terms of the network's output.

        Args:
            output: Output of the network.
            decoded: Decoded from the volume alone: it is trained without the backbone's keypoints.
            batch: The targets.
            refined: What a network's refinement makes of it.
        """
        config = self.network.config
        cells = config.volume_cells
        units_3 = decoded.voxel_BJ3.new_ones(3)
        if self.weights.joint_units == "normalised":
            units_3 = units_3 / units_3.new_tensor(config.volume.shape_xyz)

        def joints(found: DecodedVolume) -> Tensor:
            true_BJ3 = batch.voxel_BJ3 * units_3
            return joint_loss(
                found.voxel_BJ3 * units_3, true_BJ3, batch.known2d_BJ, batch.known3d_BJ
            )

        terms = {"joints": joints(decoded)}
        total = terms["joints"]
        if refined is not None:
            terms["refined"] = joints(refined)
            total = total + terms["refined"]
        if self.weights.marginal:
            terms["marginal"] = marginal_loss(
                decoded.marginals_xyz,
                batch.voxel_BJ3,
                self.weights.marginal_sigma,
                batch.known2d_BJ,
                batch.known3d_BJ,
                config.volume.shape_xyz,
            )
            total = total + self.weights.marginal * terms["marginal"]
        if output.heatmap_BJHW is not None and output.triplet_BKLHW is not None:
            size = output.heatmap_BJHW.shape[-1]
            heatmap_BJHW = encode_heatmaps(
                batch.voxel_BJ3[..., :2] * (size / cells), size, config.sigma_cells * size / cells
            )
            # Where there is nobody, that no heatmap has a peak is known of every joint and part.
            heatmap_BJHW = heatmap_BJHW * (1 - batch.absent_B)[:, None, None, None]
            absent_B1 = batch.absent_B[:, None]
            if self.weights.supervision in ("hemlets", "both"):
                relation, steep, states = batch.relation_BK, batch.steep_BK, config.states
                terms["hemlets"] = hemlets_loss(
                    output.triplet_BKLHW,
                    encode_triplets(heatmap_BJHW, relation, steep, states),
                    known_layers(
                        relation, torch.maximum(batch.relation_known_BK, absent_B1), steep, states
                    ),
                )
                total = total + self.weights.alpha * terms["hemlets"]
            if self.weights.supervision in ("2d", "both"):
                terms["heatmaps"] = heatmap_loss(
                    output.heatmap_BJHW, heatmap_BJHW, torch.maximum(batch.known2d_BJ, absent_B1)
                )
                total = total + self.weights.alpha * terms["heatmaps"]
        return {**terms, "total": total}


def _decoded(
    network: PoseNetwork, output: PoseOutput
) -> tuple[DecodedVolume, DecodedVolume | None]:
    """From the volume alone, and from a refinement; None from a network without."""
    return (network.decode_alone(output), None) if network.refinement is None else (
        network.decode_both(output)
    )  # fmt: skip


class BodyObjective(nn.Module):
    """L_θ + L_β, equations (9) and (10), and the distances between the posed bodies' joints."""

    def __init__(self, losses: LossConfig) -> None:
        super().__init__()
        self.weights = losses
        self.posed_joints: PosedJoints | None = None
        if losses.posed_joints:
            from hemlets.body import BodyModel
            from hemlets.body.posed_joints import PosedJoints

            self.posed_joints = PosedJoints(BodyModel.load(losses.body))

    def forward(
        self, found: ShapeOutput, rotation_BR33: Tensor, betas_BS: Tensor, known_B: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss terms of predicted bodies with known truth."""
        weights = self.weights
        terms = {
            "theta": rotation_loss(found.rotation_BR33, rotation_BR33, known_B),
            "betas": betas_loss(found.betas_BS, betas_BS, known_B),
        }
        total = weights.theta * terms["theta"] + weights.betas * terms["betas"]
        if self.posed_joints is not None:
            ours_BJ3 = self.posed_joints(found.rotation_BR33, found.betas_BS)
            with torch.no_grad():
                true_BJ3 = self.posed_joints(rotation_BR33, betas_BS)
            # Not squared, as L_θ is not: people seen from the wrong side would rule the mean. Nor
            # by axis, since the turn of the crop in its plane is arbitrary.
            squared_BJ = ((ours_BJ3 - true_BJ3) ** 2).sum(-1)
            terms["posed_joints"] = ((squared_BJ + 1e-12).sqrt().sum(-1) * known_B).sum()
            total = total + weights.posed_joints * terms["posed_joints"]
        return {**terms, "total": total}


class PoshObjective(nn.Module):
    """L_mesh = L_θ + L_β + L_tot, equation (11), and the term on posed joints."""

    def __init__(self, network: HemletsPosh, losses: LossConfig, *, shrink: int = 1) -> None:
        super().__init__()
        self.network = network
        self._pose = PoseObjective(network.pose, losses, shrink=shrink)
        self._body = BodyObjective(losses).to(_device(network))

    def forward(self, batch: Batch | FeatureBatch) -> dict[str, Tensor]:
        """Compute the loss terms of a batch."""
        pose = self._pose.output(batch)
        with torch.autocast(pose.volume_BJDHW.device.type, enabled=False):
            alone, refined = _decoded(self.network.pose, pose)
            decoded = refined or self.network.pose.decode(pose)
            shape = body_from(
                decoded.voxel_BJ3, pose.feature_BC, self.network.shape, self.network.volume
            )
            terms = self._pose.terms(pose, alone, batch, refined)
            body = self._body(shape, batch.rotation_BR33, batch.betas_BS, batch.smpl_known_B)
        return {**terms, **body, "total": terms["total"] + body["total"]}


class ShapeObjective(nn.Module):
    """The terms of `BodyObjective`, from joints without image features."""

    def __init__(self, network: ShapeNetwork, losses: LossConfig) -> None:
        super().__init__()
        self.network = network
        self._body = BodyObjective(losses).to(_device(network))

    def forward(self, batch: ShapeBatch) -> dict[str, Tensor]:
        """Compute the loss terms of a batch."""
        joints = batch.joints_BJ3_m
        features = joints.new_zeros(len(joints), self.network.feature_channels)
        with torch.autocast(joints.device.type, enabled=False):
            shape = self.network(joints, features)
            known_B = joints.new_ones(len(joints))
            terms: dict[str, Tensor] = self._body(
                shape, batch.rotation_BR33, batch.betas_BS, known_B
            )
        return terms


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
