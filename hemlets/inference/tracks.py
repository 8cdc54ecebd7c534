"""Who is who from frame to frame.

Each frame's people are assigned to the tracks of the frames before, so that overlap and joints
agree best over all of them together (Kuhn 1955). A track that nobody continued for some frames
ends; somebody who comes later is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from hemlets.inference.people import Detection
from hemlets.inference.types import Box

_LEAST: Final = 0.15
"""Similarity below which two detections are never the same person."""

_SCALE: Final = 0.25
"""Mean joint distance, as a share of the box's longer side, at which similarity has fallen to
1/e."""


def box_iou(one: Box, other: Box) -> float:
    """Area that two boxes share, as a share of what both cover.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    whole = _area(one) + _area(other) - shared
    return float(shared / whole)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _similarity(one: Detection, other: Detection) -> float:
    if one.box_xyxy is None or other.box_xyxy is None:
        return 1.0
    if one.joints2d_px is not None and other.joints2d_px is not None:
        gap = np.linalg.norm(one.joints2d_px - other.joints2d_px, axis=-1)
        known = gap[np.isfinite(gap)]
        if len(known) >= 3:
            left, top, right, bottom = one.box_xyxy
            side = max(right - left, bottom - top)
            return float(np.exp(-known.mean() / (_SCALE * side)))
    return box_iou(one.box_xyxy, other.box_xyxy)


@dataclass(kw_only=True)
class _Open:
    number: int
    last: Detection
    frame: int


class Tracker:
    """Numbers people through a video's frames.

    Args:
        max_gap: Frames that somebody may be missing and still be the same.
    """

    def __init__(self, *, max_gap: int = 10) -> None:
        self._max_gap = max_gap
        self._open: list[_Open] = []
        self._next = 0

    def assign(self, frame: int, detections: Sequence[Detection]) -> list[int]:
        """The number of each person of a frame; frames come in order."""
        self._open = [t for t in self._open if frame - t.frame <= self._max_gap + 1]
        numbers = [-1] * len(detections)
        if self._open and detections:
            likeness = np.array([[_similarity(t.last, d) for d in detections] for t in self._open])
            for row, column in zip(*linear_sum_assignment(-likeness), strict=True):
                if likeness[row, column] >= _LEAST:
                    track = self._open[row]
                    track.last, track.frame = detections[column], frame
                    numbers[column] = track.number
        for index, found in enumerate(detections):
            if numbers[index] < 0:
                numbers[index] = self._next
                self._open.append(_Open(number=self._next, last=found, frame=frame))
                self._next += 1
        return numbers
