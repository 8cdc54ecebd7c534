"""Weights carried over to crops of another size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from hemlets.core.skeleton import N_JOINTS
from hemlets.models.pose import COARSEST, PoseNetworkConfig

_HEAD = "volume_head."
_DEPTH, _PLACES = "refinement.depth.weight", "refinement.place_CHW"


def resized(config: PoseNetworkConfig, crop_px: int) -> PoseNetworkConfig:
    """The same network for crops of another side, with cells of the same size.

    Raises:
        ConfigError: The side is no multiple of 32.
    """
    fields = config.model_dump() | {"crop_px": crop_px, "volume_cells": crop_px // config.stride}
    return PoseNetworkConfig.from_mapping(fields, where="crop_px")


def fitted(state: dict[str, Tensor], config: PoseNetworkConfig) -> dict[str, Tensor]:
    """Fit a state to crops and depth cells of another size.

    The network is convolutional in x and y. Only depth cells are channels, of the last layer and of
    the refinement, and the refinement's context has positions: both are interpolated linearly.

    Args:
        state: Of a pose network or of a whole model. Not changed.
        config: Of the wanted network.
    """
    cells, side = config.volume.shape_xyz[2], config.crop_px // COARSEST
    out = dict(state)
    for name, value in state.items():
        if _HEAD in name and value.shape[0] != N_JOINTS * cells:
            old_JCD = value.float().reshape(N_JOINTS, value.shape[0] // N_JOINTS, -1).mT
            new_JCD = interpolate(old_JCD, size=cells, mode="linear")
            out[name] = new_JCD.mT.reshape(N_JOINTS * cells, *value.shape[1:]).to(value.dtype)
        elif name.endswith(_DEPTH) and value.shape[1] != cells:
            wider = interpolate(value.float()[None], size=cells, mode="linear")[0]
            out[name] = wider.to(value.dtype)
        elif name.endswith(_PLACES) and value.shape[1] != side:
            wider = interpolate(value.float()[None], size=side, mode="bilinear")[0]
            out[name] = wider.to(value.dtype)
    return out
