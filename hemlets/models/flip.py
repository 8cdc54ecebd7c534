"""The flip test: a crop and its mirror image predicted together and averaged."""

from __future__ import annotations

import roma
import torch
from torch import Tensor, nn

from hemlets.body import mirror_theta
from hemlets.models.pose import DecodedVolume
from hemlets.models.posh import PoshOutput
from hemlets.models.shape import ShapeOutput
from hemlets.skeleton import FLIP_JOINTS

__all__ = ["both_ways"]


def both_ways(model: nn.Module, image_B3HW: Tensor, cells: int) -> PoshOutput:
    """What the model makes of crops, averaged with what it makes of their mirror images.

    A usual test-time augmentation (Newell et al. 2016 for heatmaps, Sun et al. 2018 for joints
    by soft-argmax), at twice the cost. 2D heatmaps, joints and β are averaged, rotations by the
    chordal mean (Hartley et al. 2013), so that a mirrored crop has the mirrored answer.

    Args:
        model: A `HemletsPosh` or its form for inference.
        image_B3HW: Normalised crops.
        cells: Side of the model's volumes.

    Returns:
        The averages; volumes, marginals, HEMlets and features are those of the crop as it is.
    """
    B = len(image_B3HW)
    out: PoshOutput = model(torch.cat([image_B3HW, image_B3HW.flip(-1)]))
    joints = list(FLIP_JOINTS)

    voxel = out.decoded.voxel_BJ3
    back = voxel[B:, joints]
    back = torch.cat([cells - back[..., :1], back[..., 1:]], -1)
    marginals = tuple(axis[:B] for axis in out.decoded.marginals_xyz)
    decoded = DecodedVolume((marginals[0], marginals[1], marginals[2]), (voxel[:B] + back) / 2)

    heatmap = out.pose.heatmap_BJHW
    pose = out.pose._replace(
        volume_BJDHW=out.pose.volume_BJDHW[:B],
        heatmap_BJHW=None if heatmap is None else (heatmap[:B] + heatmap[B:, joints].flip(-1)) / 2,
        triplet_BKLHW=None if out.pose.triplet_BKLHW is None else out.pose.triplet_BKLHW[:B],
        feature_BC=out.pose.feature_BC[:B],
    )
    rotation, betas = out.shape.rotation_BR33, out.shape.betas_BS
    mean = rotation[:B] + mirror_theta(rotation[B:])
    shape = ShapeOutput(roma.special_procrustes(mean), (betas[:B] + betas[B:]) / 2)
    return PoshOutput(pose, decoded, shape)
