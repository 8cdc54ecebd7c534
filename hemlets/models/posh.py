"""HEMlets PoSh: the pose network with the shape network on top."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import Joint
from hemlets.models.codecs import VolumeSpec
from hemlets.models.pose import (
    DecodedVolume,
    PoseNetwork,
    PoseNetworkConfig,
    PoseOutput,
    decode,
)
from hemlets.models.refinement import JointRefinement
from hemlets.models.shape import ShapeNetwork, ShapeNetworkConfig, ShapeOutput


class PoshOutput(NamedTuple):
    """Both stages' outputs and the decoded joints.

    Attributes:
        pose: The pose network's maps.
        decoded: The joints that its volume says.
        shape: SMPL parameters.
        passes_BHJ4: With the flip test: joints in voxels and their confidence by the crop and by
            its mirror image, mirrored back.
    """

    pose: PoseOutput
    decoded: DecodedVolume
    shape: ShapeOutput
    passes_BHJ4: Tensor | None = None


def nominal_metres(voxel_BJ3: Tensor, volume: VolumeSpec) -> Tensor:
    """Pelvis-relative joints in metres, the crop taken to be as wide as the depth range."""
    side_m = 2 * volume.depth_range_mm / 1000
    relative: Tensor = voxel_BJ3 - voxel_BJ3[:, Joint.PELVIS, None]
    return relative * relative.new_tensor([side_m / cells for cells in volume.shape_xyz])


class HemletsPosh(nn.Module):
    """Crop to joints and body."""

    def __init__(self, pose: PoseNetworkConfig, shape: ShapeNetworkConfig) -> None:
        super().__init__()
        self.pose = PoseNetwork(pose)
        self.shape = ShapeNetwork(shape, self.pose.backbone.channels)

    @property
    def volume(self) -> VolumeSpec:
        """What decoded joints are in."""
        return self.pose.config.volume

    def forward(self, image_B3HW: Tensor) -> PoshOutput:
        """Run both stages; decoding and shape run in float32."""
        pose = self.pose(image_B3HW)
        return with_body(pose, self.shape, self.volume, self.pose.refinement)


def with_body(
    pose: PoseOutput,
    shape: ShapeNetwork,
    volume: VolumeSpec,
    refinement: JointRefinement | None,
) -> PoshOutput:
    """Decode what the pose network gave and regress the body from it, in float32."""
    decoded = decode(pose, volume, refinement)
    body = body_from(decoded.voxel_BJ3, pose.feature_BC, shape, volume)
    return PoshOutput(pose, decoded, body)


def body_from(
    voxel_BJ3: Tensor, feature_BC: Tensor, shape: ShapeNetwork, volume: VolumeSpec
) -> ShapeOutput:
    """Regress the body from decoded joints, in float32."""
    with torch.autocast(voxel_BJ3.device.type, enabled=False):
        found: ShapeOutput = shape(nominal_metres(voxel_BJ3, volume), feature_BC)
    return found
