"""Weights carried over to crops of another size."""

from __future__ import annotations

import torch
from torch import Tensor

from hemlets.core.skeleton import N_JOINTS
from hemlets.models.pose import PoseNetworkConfig

_HEAD = "volume_head."


def resized(config: PoseNetworkConfig, crop_px: int) -> PoseNetworkConfig:
    """The same network for crops of another side, with cells of the same size.

    Raises:
        ConfigError: The side is no multiple of 32.
    """
    fields = config.model_dump() | {"crop_px": crop_px, "volume_cells": crop_px // config.stride}
    return PoseNetworkConfig.from_mapping(fields, where="crop_px")


def with_depth_cells(state: dict[str, Tensor], cells: int) -> dict[str, Tensor]:
    """A state whose volumes have so many depth cells.

    The network is convolutional in x and y; only the depth cells are channels of its own, of
    the last layer. They are interpolated linearly between the centres of the old ones.

    Args:
        state: Of a pose network or of a whole model. Not changed.
        cells: Depth cells that are wanted.
    """
    out = dict(state)
    for name, value in state.items():
        if _HEAD not in name or value.shape[0] == N_JOINTS * cells:
            continue
        old_JCD = value.float().reshape(N_JOINTS, value.shape[0] // N_JOINTS, -1).mT
        new_JCD = torch.nn.functional.interpolate(old_JCD, size=cells, mode="linear")
        out[name] = new_JCD.mT.reshape(N_JOINTS * cells, *value.shape[1:]).to(value.dtype)
    return out
