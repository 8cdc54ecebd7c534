"""Part-centric heatmap triplets, equation (2)."""

from __future__ import annotations

import torch
from torch import Tensor

from hemlets.skeleton import PART_CHILD, PART_PARENT

__all__ = ["encode_triplets"]


def encode_triplets(heatmap_BJHW: Tensor, relation_BK: Tensor) -> Tensor:
    """Triplets (B, K, 3, H, W) of the K parts; the states are T⁻¹, T⁰ and T⁺¹ in this order.

    The parent's Gaussian sits in T⁰. The child's sits in T⁺¹ when it is nearer the camera
    than its parent, in T⁻¹ when it is farther and in T⁰ when they are level, where the two
    overlap by maximum. The Gaussians are those of the 2D heatmaps, so they are encoded once.

    Args:
        heatmap_BJHW: Unit-peak heatmaps of the 18 joints.
        relation_BK: Depth relations in {-1, 0, +1}, :func:`hemlets.skeleton.depth_relations`.
    """
    parent_BKHW = heatmap_BJHW[:, list(PART_PARENT)]
    child_BKHW = heatmap_BJHW[:, list(PART_CHILD)]
    states_S = torch.tensor([-1, 0, 1], device=relation_BK.device)
    chosen_BKS = (relation_BK[..., None] == states_S).to(child_BKHW.dtype)
    triplet = chosen_BKS[..., None, None] * child_BKHW[:, :, None]
    triplet[:, :, 1] = torch.maximum(triplet[:, :, 1], parent_BKHW)
    return triplet
