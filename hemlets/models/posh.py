"""HEMlets PoSh: the pose network with the shape network on top."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hemlets.codecs import VolumeSpec
from hemlets.models.pose import DecodedVolume, PoseNetwork, PoseNetworkConfig, PoseOutput
from hemlets.models.shape import ShapeNetwork, ShapeNetworkConfig, ShapeOutput
from hemlets.skeleton import Joint

__all__ = ["HemletsPosh", "PoshOutput", "nominal_metres"]


class PoshOutput(NamedTuple):
    """Both stages' outputs and the decoded joints.

    Attributes:
        pose: The pose network's maps.
        decoded: The joints that its volume says.
        shape: SMPL parameters.
    """

    pose: PoseOutput
    decoded: DecodedVolume
    shape: ShapeOutput


def nominal_metres(voxel_BJ3: Tensor, volume: VolumeSpec) -> Tensor:
    """Pelvis-relative joints in metres, the crop taken to be as wide as the depth range."""
    metres_a_cell = 2 * volume.depth_range_mm / 1000 / volume.cells
    relative: Tensor = voxel_BJ3 - voxel_BJ3[:, Joint.PELVIS, None]
    return relative * metres_a_cell


class HemletsPosh(nn.Module):
    """Crop to joints and body."""

    def __init__(self, pose: PoseNetworkConfig, shape: ShapeNetworkConfig) -> None:
        super().__init__()
        self.pose = PoseNetwork(pose)
        self.shape = ShapeNetwork(shape, self.pose.backbone.channels)

    def forward(self, image_B3HW: Tensor) -> PoshOutput:
        """Run both stages; decoding and shape run in float32."""
        pose = self.pose(image_B3HW)
        decoded = self.pose.decode(pose)
        with torch.autocast(image_B3HW.device.type, enabled=False):
            joints = nominal_metres(decoded.voxel_BJ3, self.pose.config.volume)
            shape = self.shape(joints, pose.feature_BC)
        return PoshOutput(pose, decoded, shape)
