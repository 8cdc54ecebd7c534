"""Overlap of boxes: left, top, right, bottom."""

from __future__ import annotations

from collections.abc import Sequence

from hemlets.core.arrays import Array

AnyBox = Sequence[float] | Array


def box_overlap(one: AnyBox, other: AnyBox) -> float:
    """Area of the intersection of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return float(max(width, 0) * max(height, 0))


def box_iou(one: AnyBox, other: AnyBox) -> float:
    """Intersection over union of two boxes; 0 for boxes without area.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    shared = box_overlap(one, other)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    whole = float(sum(areas)) - shared
    return shared / whole if whole > 0 else 0.0
