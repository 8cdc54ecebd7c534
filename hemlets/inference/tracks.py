"""Track people from frame to frame.

Each frame's people are assigned to existing tracks by an optimal assignment (Kuhn 1955) of motion
and appearance. Appearance is the colours of body, thighs and arms at the predicted joints. (The
encoder's pooled features distinguish poses, not people: on the clips of ``bench_video.py`` the
median cosine of one person's features is 0.1, and 5 % of pairs of two people have 0.3 or more.) A
person who leaves the predicted place is re-identified by appearance for a limited time. Colours of
people who may occlude each other are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from hemlets.core.boxes import box_iou
from hemlets.core.skeleton import Joint
from hemlets.inference.people import Detection, Image
from hemlets.inference.types import Box

Float = npt.NDArray[np.float32]

_LEAST: Final = 0.15
"""Similarity of motion below which two detections are never matched."""

_SCALE: Final = 0.25
"""Mean joint distance, relative to the box's longer side, at which similarity falls to 1/e."""

_LOOKS: Final = 0.5
"""Weight of appearance in the similarity to a track seen in the previous frame."""

_RECOGNISED: Final = 0.55
"""Least similarity of appearance for re-identification."""

_MIXED: Final = 0.15
"""IoU of two boxes above which their colours may be mixed."""

_NEW_LOOK: Final = 0.1
"""Weight of a new frame in a track's appearance."""

_STEADY: Final = 0.5
"""Weight of a new frame in a track's velocity."""


_PLACES: Final = (
    ((Joint.THORAX, Joint.PELVIS), (0.25, 0.5, 0.75)),
    ((Joint.RIGHT_HIP, Joint.RIGHT_KNEE), (0.5,)),
    ((Joint.LEFT_HIP, Joint.LEFT_KNEE), (0.5,)),
    ((Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW), (0.5,)),
    ((Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW), (0.5,)),
)
"""Positions of the colour samples between two joints."""

_PATCH: Final = 0.12
"""Half side of a colour patch, relative to the torso's length."""

_COLOUR_SCALE: Final = 60.0
"""Mean distance of colours, 0–255, at which similarity falls to 1/e."""


def appearance(image_HW3: Image, joints2d_px: npt.NDArray[np.floating]) -> Float | None:
    """Mean colours (7, 3) of a person's parts; None if too few are in the image.

    Args:
        image_HW3: RGB.
        joints2d_px: (18, 2).
    """
    height, width = image_HW3.shape[:2]
    torso = float(np.linalg.norm(joints2d_px[Joint.THORAX] - joints2d_px[Joint.PELVIS]))
    half = max(1, round(_PATCH * torso))
    colours = []
    for (one, other), shares in _PLACES:
        for share in shares:
            x, y = (1 - share) * joints2d_px[one] + share * joints2d_px[other]
            left, right = max(0, int(x) - half), min(width, int(x) + half + 1)
            top, bottom = max(0, int(y) - half), min(height, int(y) + half + 1)
            part = image_HW3[top:bottom, left:right] if left < right and top < bottom else None
            colours.append(np.full(3, np.nan) if part is None else part.mean((0, 1)))
    found = np.stack(colours).astype(np.float32)
    return None if np.isnan(found[:, 0]).sum() > len(found) // 2 else found


def alike(one_C3: Float | None, other_C3: Float | None) -> float | None:
    """Similarity of two appearances, 0–1; None if unknown."""
    if one_C3 is None or other_C3 is None:
        return None
    gap_C = np.linalg.norm(one_C3 - other_C3, axis=-1)
    known = gap_C[np.isfinite(gap_C)]
    return float(np.exp(-np.median(known) / _COLOUR_SCALE)) if len(known) >= 3 else None


@dataclass(kw_only=True)
class _Known:
    """Track.

    Attributes:
        number: Unique number.
        last: Last detection.
        frame: Frame of the last detection.
        look_C3: Mean appearance; None if unknown.
        velocity_2: Velocity of the box's centre, pixels per frame.
    """

    number: int
    last: Detection
    frame: int
    look_C3: Float | None = None
    velocity_2: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def motion(self, found: Detection, frame: int) -> float:
        """Similarity of a track's predicted position and a detection."""
        if self.last.box_xyxy is None or found.box_xyxy is None:
            return 1.0
        ahead = self.velocity_2 * (frame - self.frame)
        if self.last.joints2d_px is not None and found.joints2d_px is not None:
            gap = np.linalg.norm(self.last.joints2d_px + ahead - found.joints2d_px, axis=-1)
            known = gap[np.isfinite(gap)]
            if len(known) >= 3:
                left, top, right, bottom = self.last.box_xyxy
                side = max(right - left, bottom - top)
                return float(np.exp(-known.mean() / (_SCALE * side)))
        left, top, right, bottom = (np.array(self.last.box_xyxy) + np.tile(ahead, 2)).tolist()
        return box_iou((left, top, right, bottom), found.box_xyxy)

    def see(self, found: Detection, frame: int, look_C3: Float | None) -> None:
        """Update the track with a detection."""
        if self.last.box_xyxy is not None and found.box_xyxy is not None:
            moved = (_middle(found.box_xyxy) - _middle(self.last.box_xyxy)) / (frame - self.frame)
            self.velocity_2 = self.velocity_2 + _STEADY * (moved - self.velocity_2)
        self.last, self.frame = found, frame
        if look_C3 is not None:
            before = look_C3 if self.look_C3 is None else self.look_C3
            before = np.where(np.isnan(before), look_C3, before)
            change = np.nan_to_num(look_C3 - before)
            self.look_C3 = np.asarray(before + _NEW_LOOK * change, np.float32)


def _middle(box: Box) -> npt.NDArray[np.float64]:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2


class Tracker:
    """Assigns track numbers to people in consecutive frames.

    Args:
        max_gap: Largest gap in frames for a match by motion.
        memory: Largest gap in frames for a match by appearance.
        most: Largest number of remembered tracks.
    """

    def __init__(self, *, max_gap: int = 10, memory: int = 250, most: int = 200) -> None:
        self._max_gap, self._memory, self._most = max_gap, memory, most
        self._tracks: list[_Known] = []
        self._next = 0

    def assign(
        self,
        frame: int,
        detections: Sequence[Detection],
        looks: Sequence[Float | None] | None = None,
    ) -> list[int]:
        """Return the track number of each person; frames must come in order.

        Args:
            frame: Frame number.
            detections: People in the frame.
            looks: Appearance of each person, see `appearance`; None if unknown.
        """
        looks = _unmixed(detections, [None] * len(detections) if looks is None else looks)
        self._tracks = [t for t in self._tracks if frame - t.frame <= self._memory + 1]
        recent = [t for t in self._tracks if frame - t.frame <= self._max_gap + 1]
        numbers = [-1] * len(detections)

        def match(tracks: list[_Known], *, by_motion: bool) -> None:
            left = [i for i, number in enumerate(numbers) if number < 0]
            likeness = np.zeros((len(tracks), len(left)))
            for row, track in enumerate(tracks):
                for column, i in enumerate(left):
                    same = alike(track.look_C3, looks[i])
                    if not by_motion:
                        likeness[row, column] = (
                            same if same is not None and same >= _RECOGNISED else 0
                        )
                        continue
                    motion = track.motion(detections[i], frame)
                    if motion >= _LEAST:
                        share = 0.0 if same is None else _LOOKS
                        likeness[row, column] = (1 - share) * motion + share * (same or 0.0)
            if not likeness.size:
                return
            for row, column in zip(*linear_sum_assignment(-likeness), strict=True):
                if likeness[row, column] > 0:
                    i = left[column]
                    numbers[i] = tracks[row].number
                    tracks[row].see(detections[i], frame, looks[i])

        match(recent, by_motion=True)
        match([t for t in self._tracks if t.frame < frame], by_motion=False)
        for i, found in enumerate(detections):
            if numbers[i] < 0:
                numbers[i] = self._next
                track = _Known(number=self._next, last=found, frame=frame, look_C3=looks[i])
                self._tracks.append(track)
                self._next += 1
        self._tracks.sort(key=lambda track: -track.frame)
        del self._tracks[self._most :]
        return numbers


def _unmixed(detections: Sequence[Detection], looks: Sequence[Float | None]) -> list[Float | None]:
    """Appearances without those of people who may be occluded."""
    boxes = [detection.box_xyxy for detection in detections]
    return [
        None
        if any(i != j and a and b and box_iou(a, b) > _MIXED for j, b in enumerate(boxes))
        else look
        for i, (a, look) in enumerate(zip(boxes, looks, strict=True))
    ]
