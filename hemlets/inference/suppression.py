"""Non-maximum suppression: one detection per person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.boxes import box_iou, box_overlap

Array = npt.NDArray[np.float64]

_SIGMAS: Final = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""COCO's annotator spread of each keypoint, relative to the square root of a person's area."""

_FEWEST: Final = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundPerson:
    """Person detected by the network.

    Attributes:
        keypoints_K3: COCO's 17 keypoints: x, y in image pixels, and score, 0–1.
        box_xyxy: Left, top, right, bottom in image pixels.
        score: 0–1.
    """

    keypoints_K3: Array
    box_xyxy: Array
    score: float

    @property
    def longer_px(self) -> float:
        """The longer side of the box."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).max())

    @property
    def area_px2(self) -> float:
        """The area of the box."""
        return float(np.prod(self.box_xyxy[2:] - self.box_xyxy[:2]))


def suppress(people: Sequence[FoundPerson], *, keypoint_score: float) -> list[FoundPerson]:
    """Return the most confident of duplicate detections, by confidence; ties by position.

    Two detections are duplicates if their boxes nearly coincide, their sure keypoints agree, or the
    box of a far less sure detection lies in the other's and covers much of it. Partial overlap of
    boxes alone does not count, so that people who hold each other both stay.

    Args:
        people: Detections of any number of passes over an image.
        keypoint_score: Least score of a sure keypoint.
    """
    order = sorted(range(len(people)), key=lambda i: (-people[i].score, i))
    chosen: list[FoundPerson] = []
    for index in order:
        if not any(_same(people[index], other, keypoint_score) for other in chosen):
            chosen.append(people[index])
    return chosen


_SAME_BOX: Final = 0.7
_SAME_KEYPOINTS: Final = 0.4
_INSIDE: Final = 0.85
_MUCH: Final = 0.3
_LESS_SURE: Final = 0.5


def _same(one: FoundPerson, surer: FoundPerson, keypoint_score: float) -> bool:
    if box_iou(one.box_xyxy, surer.box_xyxy) > _SAME_BOX:
        return True
    part = box_overlap(one.box_xyxy, surer.box_xyxy) > _INSIDE * one.area_px2
    if part and one.area_px2 > _MUCH * surer.area_px2 and one.score < _LESS_SURE * surer.score:
        return True
    return keypoint_similarity(one, surer, keypoint_score) > _SAME_KEYPOINTS


def keypoint_similarity(one: FoundPerson, other: FoundPerson, keypoint_score: float) -> float:
    """COCO's object keypoint similarity over keypoints that are sure in both; 0 if few are.

    The scale is that of the larger box, so that a detection of a torso matches the whole person.
    """
    sure = (one.keypoints_K3[:, 2] > keypoint_score) & (other.keypoints_K3[:, 2] > keypoint_score)
    if sure.sum() < _FEWEST:
        return 0.0
    gap2 = ((one.keypoints_K3[sure, :2] - other.keypoints_K3[sure, :2]) ** 2).sum(-1)
    variance = (2 * np.array(_SIGMAS)[sure]) ** 2
    area = max(one.area_px2, other.area_px2, 1.0)
    return float(np.exp(-gap2 / (2 * area * variance)).mean())
