"""Check a pinhole camera for an image: wrong units show in its size."""

from __future__ import annotations

import math
from typing import Final

_TINY_IMAGE_PX: Final = 20
_LEAST_FOCAL: Final = 0.1
"""Focal length over the image's longer side: a field of view of 157°."""

_MOST_FOCAL: Final = 100.0
"""The same, a field of view of half a degree."""

_FARTHEST_CENTRE: Final = 3.0
"""Distance of the principal point from the image over its longer side: the image may be cut out
of a larger one."""


def intrinsics_fault(
    intrinsics_4_px: tuple[float, float, float, float], size: tuple[int, int]
) -> str:
    """Describe what is wrong with fx, fy, cx, cy for an image size; empty if nothing.

    >>> intrinsics_fault((0.9, 1.2, 0.5, 0.5), (640, 480))
    'the focal lengths 0.9, 1.2 look normalised by the image size: they are wanted in pixels'
    >>> intrinsics_fault((1100, 1100, 320, 240), (640, 480))
    ''
    """
    fx, fy, cx, cy = intrinsics_4_px
    longer = max(size)
    if not all(map(math.isfinite, intrinsics_4_px)):
        return "the camera holds values that are not finite"
    focal = f"the focal lengths {fx:g}, {fy:g}"
    if min(fx, fy) <= 0:
        return f"{focal} are not above 0"
    if longer <= _TINY_IMAGE_PX:
        return ""
    if min(fx, fy) < _LEAST_FOCAL * longer:
        return f"{focal} look normalised by the image size: they are wanted in pixels"
    if max(fx, fy) > _MOST_FOCAL * longer:
        return f"{focal} are over {_MOST_FOCAL:g} times the image's longer side: not in pixels"
    if 0 <= cx <= 1 and 0 <= cy <= 1:
        return (
            f"the principal point {cx:g}, {cy:g} looks normalised by the image size: it is wanted "
            "in pixels"
        )
    off = max(-cx, -cy, cx - size[0], cy - size[1])
    if off > _FARTHEST_CENTRE * longer:
        return f"the principal point {cx:g}, {cy:g} lies far from an image of {size[0]}×{size[1]}"
    return ""
