"""Part-centric heatmap triplets, equation (2), and the paper's variants with 2 and 5 states.

A part's layers run from the farthest to the nearest place of its child. What the annotation
says of a part is its depth relation and, where its joints are known in 3D, whether it is steep.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.core.arrays import Bool, Floating
from hemlets.core.skeleton import PART_CHILD, PART_PARENT

States = Literal[2, 3, 5]
"""Number of depth states of a part: 2s-, 3s- or 5s-HEM."""

STEEP_RAD: Final = math.radians(60)
"""Tilt against the image plane between 5s-HEM's inner and outer layers."""


def layers(states: States) -> int:
    """Return the number of heatmaps per part: 2s-HEM has a layer for level joints too."""
    return 5 if states == 5 else 3


def steepness(joints_J3_mm: Floating, valid_J: Bool) -> npt.NDArray[np.int8]:
    """Return whether parts are tilted by more than 60°, (..., 14).

    Args:
        joints_J3_mm: Joints of shape (..., 18, 3) in a camera frame with z forward.
        valid_J: Known joints, (..., 18).

    Returns:
        1 where a part is steep, 0 where it is not, -1 where one of its joints is unknown.
    """
    parent, child = joints_J3_mm[..., PART_PARENT, :], joints_J3_mm[..., PART_CHILD, :]
    depth_mm = np.abs(parent[..., 2] - child[..., 2])
    steep = depth_mm > math.sin(STEEP_RAD) * np.linalg.norm(parent - child, axis=-1)
    known = valid_J[..., PART_PARENT] & valid_J[..., PART_CHILD]
    return np.where(known, steep, -1).astype(np.int8)


def encode_triplets(
    heatmap_BJHW: Tensor, relation_BK: Tensor, steep_BK: Tensor | None = None, states: States = 3
) -> Tensor:
    """Layers (B, K, L, H, W) of the K parts, from the farthest to the nearest.

    - 3 states, the paper's T⁻¹, T⁰, T⁺¹: the parent's Gaussian sits in T⁰, the child's in T⁺¹
      when it is nearer the camera than its parent, in T⁻¹ when it is farther and in T⁰ when they
      are level.
    - 2 states: the nearer joint in T⁺¹, the farther in T⁻¹, both in T⁰ when they are level.
    - 5 states, T⁻² to T⁺²: the parent in the middle, the child by its tilt against the image
      plane: −90…−60, −60…−30, −30…30, 30…60, 60…90°.

    Where both joints share a layer they overlap by maximum. The Gaussians are those of the 2D
    heatmaps, so they are encoded once.

    Args:
        heatmap_BJHW: Unit-peak heatmaps of the 18 joints.
        relation_BK: Depth relations in {-1, 0, +1}, :func:`hemlets.core.skeleton.depth_relations`.
        steep_BK: :func:`steepness`; needed for 5 states. Where it is -1 and the relation is not 0
            the child's layer is unknown and :func:`known_layers` masks both candidates.
        states: The variant.
    """
    parent_BKHW = heatmap_BJHW[:, list(PART_PARENT)]
    child_BKHW = heatmap_BJHW[:, list(PART_CHILD)]
    child_at, parent_at = _places(relation_BK, steep_BK, states)
    place_L = torch.arange(layers(states), device=relation_BK.device) - layers(states) // 2
    child_BKL = (child_at[..., None] == place_L).to(child_BKHW.dtype)
    triplet = child_BKL[..., None, None] * child_BKHW[:, :, None]
    if parent_at is None:
        middle = layers(states) // 2
        triplet[:, :, middle] = torch.maximum(triplet[:, :, middle], parent_BKHW)
        return triplet
    parent_BKL = (parent_at[..., None] == place_L).to(parent_BKHW.dtype)
    return torch.maximum(triplet, parent_BKL[..., None, None] * parent_BKHW[:, :, None])


def known_layers(
    relation_BK: Tensor, known_BK: Tensor, steep_BK: Tensor | None = None, states: States = 3
) -> Tensor:
    """Compute Λ by layer, (B, K, L): 1 where the annotation determines a layer.

    A part with unknown relation is masked entirely. With 5 states, a relation alone does not
    determine which of the two layers on its side holds the child: these two are masked.
    """
    known_BKL = known_BK[..., None].expand(*known_BK.shape, layers(states))
    if states != 5:
        return known_BKL
    place_L = torch.arange(5, device=relation_BK.device) - 2
    open_BK = _required(steep_BK) < 0
    same_side_BKL = (relation_BK[..., None] != 0) & (
        torch.sign(place_L) == torch.sign(relation_BK[..., None])
    )
    return known_BKL * ~(open_BK[..., None] & same_side_BKL)


def _places(
    relation_BK: Tensor, steep_BK: Tensor | None, states: States
) -> tuple[Tensor, Tensor | None]:
    """Return the layer of each child and parent, from the middle one; None: all in the middle."""
    if states == 2:
        return relation_BK, -relation_BK
    if states == 3:
        return relation_BK, None
    return relation_BK * (1 + _required(steep_BK).clamp(min=0)), None


def _required(steep_BK: Tensor | None) -> Tensor:
    if steep_BK is None:
        raise TypeError("five states need steep_BK")
    return steep_BK
