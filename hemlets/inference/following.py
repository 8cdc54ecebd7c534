"""Follow a video's people with a detector that runs on every few frames.

Between detections, boxes and joints are extrapolated at constant velocity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.inference.people import Detection, Image, PersonDetector
from hemlets.inference.tracks import Tracker
from hemlets.inference.types import Box


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moving:
    """Detection with its velocity.

    Attributes:
        found: Result of the last detection.
        box_speed_4: Velocity of the box in pixels per frame; zeros for a new person.
        joints_speed_J2: Velocity of the joints in pixels per frame; zeros where a joint was not
            found in both of the last detections.
    """

    found: Detection
    box_speed_4: npt.NDArray[np.float64]
    joints_speed_J2: npt.NDArray[np.float64]

    def after(self, frames: int) -> Detection:
        """Extrapolate the detection by a number of frames."""
        box = self.found.box_xyxy
        assert box is not None
        left, top, right, bottom = (np.array(box) + frames * self.box_speed_4).tolist()
        joints = self.found.joints2d_px
        if joints is not None:
            joints = (joints + frames * self.joints_speed_J2).astype(np.float32)
        moved: Box = (left, top, max(right, left + 1), max(bottom, top + 1))
        return dataclasses.replace(self.found, box_xyxy=moved, joints2d_px=joints)


class FollowingFinder:
    """Finds the people of consecutive frames.

    Args:
        detector: Detector that runs on every ``every``-th frame.
        every: Interval between detections, frames.
    """

    def __init__(self, detector: PersonDetector, *, every: int = 3) -> None:
        self._detector = detector
        self._every = every
        # A person missed by one detection may be found by the next.
        self._tracker = Tracker(max_gap=1)
        self._looks = 0
        self._last: dict[int, tuple[int, Detection]] = {}
        self._people: list[_Moving] = []

    def __call__(self, number: int, image_HW3: Image) -> Sequence[Detection]:
        """Return the people in a frame."""
        since = number % self._every
        if since == 0:
            self._look(image_HW3)
            return [person.found for person in self._people]
        height, width = image_HW3.shape[:2]
        moved = (person.after(since) for person in self._people)
        return [found for found in moved if _is_visible(found.box_xyxy, width, height)]

    def _look(self, image_HW3: Image) -> None:
        detections = list(self._detector.detect(image_HW3))
        numbers = self._tracker.assign(self._looks, detections)
        self._people = [
            self._moving(number, found) for number, found in zip(numbers, detections, strict=True)
        ]
        self._last = {
            number: (look, found)
            for number, (look, found) in self._last.items()
            if self._looks - look <= 1
        } | {n: (self._looks, d) for n, d in zip(numbers, detections, strict=True)}
        self._looks += 1

    def _moving(self, number: int, found: Detection) -> _Moving:
        box_speed, joints_speed = np.zeros(4), np.zeros((1, 2))
        if number in self._last:
            look, before = self._last[number]
            frames = (self._looks - look) * self._every
            box_speed = _speed(found.box_xyxy, before.box_xyxy, frames)
            if found.joints2d_px is not None and before.joints2d_px is not None:
                joints_speed = _speed(found.joints2d_px, before.joints2d_px, frames)
        return _Moving(found=found, box_speed_4=box_speed, joints_speed_J2=joints_speed)


def _speed(now: Any, before: Any, frames: int) -> npt.NDArray[np.float64]:
    change = (np.asarray(now, np.float64) - np.asarray(before, np.float64)) / frames
    return np.nan_to_num(change)


def _is_visible(box: Box | None, width: int, height: int) -> bool:
    if box is None:
        return True
    wide, high = min(box[2], width) - max(box[0], 0), min(box[3], height) - max(box[1], 0)
    return wide >= 1 and high >= 1
