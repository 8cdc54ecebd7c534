"""The flip test: a crop and its mirror image predicted together and averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from hemlets.body import mirror_theta
from hemlets.body.rotations import nearest_rotations
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.models.fused import FusedModel
from hemlets.models.pose import DecodedVolume, joint_confidence
from hemlets.models.posh import HemletsPosh, PoshOutput, body_from
from hemlets.models.shape import ShapeOutput


def flip_tta(model: HemletsPosh | FusedModel, image_B3HW: Tensor) -> PoshOutput:
    """Predict crops and their mirror images, and average.

    Test-time augmentation (Newell et al. 2016 for heatmaps, Sun et al. 2018 for joints by
    soft-argmax), at twice the cost. 2D heatmaps, scores and joints are averaged. The body is
    regressed from the averaged joints and from their mirror image, so that it agrees with the
    reported joints: β is averaged, rotations by the chordal mean (Hartley et al. 2013). A mirrored
    crop gives the mirrored result.

    Args:
        model: In evaluation mode.
        image_B3HW: Normalised crops.

    Returns:
        The averages, and what either pass gave (``passes_BHJ4``); volumes, marginals, HEMlets and
        features are those of the crop itself.
    """
    out = flip_sum(model, image_B3HW)
    return out._replace(
        shape=ShapeOutput(nearest_rotations(out.shape.rotation_BR33), out.shape.betas_BS)
    )


def flip_sum(model: HemletsPosh | FusedModel, image_B3HW: Tensor) -> PoshOutput:
    """`flip_tta` with the sums of both rotations in place of their chordal means.

    For ONNX, which has no singular value decomposition.
    """
    B = image_B3HW.shape[0]
    out: PoshOutput = model(torch.cat([image_B3HW, image_B3HW.flip(-1)]))
    joints = list(FLIP_JOINTS)
    volume = model.volume

    voxel = out.decoded.voxel_BJ3
    back = _mirrored(voxel[B:, joints], volume.cells)
    mean_BJ3 = (voxel[:B] + back) / 2
    confidence = joint_confidence(out.pose)
    passes_BHJ4 = torch.stack(
        [
            torch.cat([voxel[:B], confidence[:B, :, None]], -1),
            torch.cat([back, confidence[B:, joints, None]], -1),
        ],
        1,
    )
    marginals = tuple(axis[:B] for axis in out.decoded.marginals_xyz)
    decoded = DecodedVolume((marginals[0], marginals[1], marginals[2]), mean_BJ3)

    heatmap, evidence = out.pose.heatmap_BJHW, out.pose.evidence_BJHW
    score, seen, context = out.pose.score_BJ, out.pose.map_BCHW, out.pose.context_BCHW
    keypoints, lowest = out.pose.keypoints_BK3, out.pose.lowest_BJ
    pose = out.pose._replace(
        volume_BJDHW=out.pose.volume_BJDHW[:B],
        heatmap_BJHW=None if heatmap is None else (heatmap[:B] + heatmap[B:, joints].flip(-1)) / 2,
        triplet_BKLHW=None if out.pose.triplet_BKLHW is None else out.pose.triplet_BKLHW[:B],
        feature_BC=out.pose.feature_BC[:B],
        evidence_BJHW=None if evidence is None else evidence[:B],
        score_BJ=None if score is None else (score[:B] + score[B:, joints]) / 2,
        map_BCHW=None if seen is None else seen[:B],
        context_BCHW=None if context is None else context[:B],
        keypoints_BK3=None if keypoints is None else keypoints[:B],
        lowest_BJ=None if lowest is None else lowest[:B],
    )
    seen_BJ3 = torch.cat([mean_BJ3, _mirrored(mean_BJ3[:, joints], volume.cells)])
    rotation, betas = body_from(seen_BJ3, out.pose.feature_BC, model.shape, volume)
    both = rotation[:B] + mirror_theta(rotation[B:])
    shape = ShapeOutput(both, (betas[:B] + betas[B:]) / 2)
    return PoshOutput(pose, decoded, shape, passes_BHJ4)


def _mirrored(voxel_BJ3: Tensor, cells: int) -> Tensor:
    return torch.cat([cells - voxel_BJ3[..., :1], voxel_BJ3[..., 1:]], -1)
