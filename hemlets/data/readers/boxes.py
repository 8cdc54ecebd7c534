"""Compute boxes of people from joints, from centre and scale, or from masks."""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Array

MARGIN: Final = 0.15
"""Margin on each side, as a share of the joints' extent, for feet and hair."""

_PERSON_PX: Final = 200.0
_MIN_SIDE_PX: Final = 2.0


def from_joints(joints_NJ2_px: Array, valid_NJ: Array, *, margin: float = MARGIN) -> Array:
    """Compute boxes (N, 4) around the valid joints; zeros for a row with fewer than two.

    The margin is a share of the longer side, so that a flat pose does not give a thin box.
    """
    inside = valid_NJ[..., None]
    low = np.where(inside, joints_NJ2_px, np.inf).min(1)
    high = np.where(inside, joints_NJ2_px, -np.inf).max(1)
    known = (valid_NJ.sum(1) >= 2)[:, None]
    low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    side = np.maximum((high - low).max(1, keepdims=True), _MIN_SIDE_PX)
    return np.where(known, np.concatenate([low - margin * side, high + margin * side], 1), 0.0)


def from_centre_scale(centre_N2_px: Array, scale_N: Array) -> Array:
    """Compute square boxes (N, 4) by MPII's convention: their side is 200 px times the scale."""
    half = np.asarray(scale_N, np.float64)[:, None] * _PERSON_PX / 2
    return np.concatenate([centre_N2_px - half, centre_N2_px + half], 1)


def from_mask(mask_HW: Array) -> tuple[float, float, float, float] | None:
    """Compute the box of a mask's pixels; None without any."""
    ys, xs = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    if not len(ys):
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)
