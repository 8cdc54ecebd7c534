"""People from OpenPose's JSON, the paper's way of finding them.

OpenPose (Cao et al. 2019) writes one file an image: ``{"people": [{"pose_keypoints_2d": [x, y,
confidence, …]}]}`` with 25 (BODY_25) or 18 (COCO) keypoints, 0, 0, 0 for one that was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError, InputError
from hemlets.core.files import read_json
from hemlets.core.skeleton import JOINTS, N_JOINTS, Joint
from hemlets.inference.people import Detection
from hemlets.inference.types import Box

# Its neck is the middle of the shoulders, which is our thorax.
_BODY_25: Final[Mapping[Joint, int]] = {
    Joint.NOSE: 0, Joint.THORAX: 1,
    Joint.RIGHT_SHOULDER: 2, Joint.RIGHT_ELBOW: 3, Joint.RIGHT_WRIST: 4,
    Joint.LEFT_SHOULDER: 5, Joint.LEFT_ELBOW: 6, Joint.LEFT_WRIST: 7,
    Joint.PELVIS: 8, Joint.RIGHT_HIP: 9, Joint.RIGHT_KNEE: 10, Joint.RIGHT_ANKLE: 11,
    Joint.LEFT_HIP: 12, Joint.LEFT_KNEE: 13, Joint.LEFT_ANKLE: 14,
}  # fmt: skip
_COCO_18: Final[Mapping[Joint, int]] = {
    Joint.NOSE: 0, Joint.THORAX: 1,
    Joint.RIGHT_SHOULDER: 2, Joint.RIGHT_ELBOW: 3, Joint.RIGHT_WRIST: 4,
    Joint.LEFT_SHOULDER: 5, Joint.LEFT_ELBOW: 6, Joint.LEFT_WRIST: 7,
    Joint.RIGHT_HIP: 8, Joint.RIGHT_KNEE: 9, Joint.RIGHT_ANKLE: 10,
    Joint.LEFT_HIP: 11, Joint.LEFT_KNEE: 12, Joint.LEFT_ANKLE: 13,
}  # fmt: skip
_MAPS: Final = {25: _BODY_25, 18: _COCO_18}

_SURE: Final = 0.1
"""Keypoints below this confidence are taken as not found."""

_FEWEST: Final = 4
"""Keypoints that a person needs, to have a box."""

_LARGEST_NORMALISED: Final = 1.5
"""Coordinates up to here can't be a person's pixels: OpenPose normalises to 0–1 or −1–1."""

_NORMALISED: Final = "normalised to the image's size"

_MARGIN: Final = 0.1
_ABOVE_FACE: Final = 0.12
"""Share of the box's longer side: the skull above the eyes, where no keypoint is."""


@dataclass(frozen=True, kw_only=True)
class OpenPoseImage:
    """What OpenPose found in one image.

    Attributes:
        people: The surest first; joints that were not found are named in each.
        left_out: Reasons, one for each person who can't be used.
    """

    people: tuple[Detection, ...]
    left_out: tuple[str, ...] = ()


def read_openpose(path: Path, *, size: tuple[int, int] | None = None) -> OpenPoseImage:
    """Read one file; a person who can't be used is left out, with the reason.

    Args:
        path: OpenPose's JSON of one image.
        size: Width and height of the image, where known: who is outside of it is left out.

    Raises:
        InputError: The file is absent or not OpenPose's, or its coordinates are not pixels.
    """
    try:
        content = read_json(path)
    except DataError as error:
        raise InputError(error.what, where=path, expected="OpenPose's JSON") from error
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise InputError(
            "the file has no list of people", where=path, expected='{"people": [...]} of OpenPose'
        )
    usable: list[Detection] = []
    left_out: list[str] = []
    for i, entry in enumerate(people):
        try:
            usable.append(_person(entry, size))
        except _UnusableError as reason:
            left_out.append(f"people[{i}]: {reason}")
    if people and not usable and all(_NORMALISED in reason for reason in left_out):
        raise InputError(
            f"the coordinates are {_NORMALISED}",
            where=path,
            expected="pixels",
            remedy="run OpenPose with --keypoint_scale 0",
        )
    usable.sort(key=lambda person: -person.score)
    return OpenPoseImage(people=tuple(usable), left_out=tuple(left_out))


class _UnusableError(Exception):
    """Why a person can't be used."""


def _person(entry: Any, size: tuple[int, int] | None) -> Detection:
    values = entry.get("pose_keypoints_2d") if isinstance(entry, dict) else None
    try:
        points = np.asarray(values, np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        raise _UnusableError("pose_keypoints_2d is no list of x, y, confidence") from None
    if len(points) == 0:
        raise _UnusableError("pose_keypoints_2d is empty: no body, only face or hands")
    if len(points) not in _MAPS:
        raise _UnusableError(
            f"pose_keypoints_2d has {len(points)} keypoints, not 25 (BODY_25) or 18 (COCO)"
        )
    if not np.isfinite(points).all():
        raise _UnusableError("pose_keypoints_2d has numbers that are not finite")
    sure = points[:, 2] >= _SURE
    if sure.sum() < _FEWEST:
        raise _UnusableError(f"fewer than {_FEWEST} keypoints were found")
    if np.abs(points[sure, :2]).max() <= _LARGEST_NORMALISED:
        raise _UnusableError(_NORMALISED)
    joints = np.full((N_JOINTS, 2), np.nan, np.float32)
    mapping = _MAPS[len(points)]
    for joint, number in mapping.items():
        if sure[number]:
            joints[joint] = points[number, :2]
    hips = joints[[Joint.LEFT_HIP, Joint.RIGHT_HIP]]
    if len(points) == 18:
        joints[Joint.PELVIS] = hips.mean(0)
    looked_for = [*mapping, Joint.PELVIS]
    missing = sorted({j for j in looked_for if not np.isfinite(joints[j]).all()})
    box = _box(points[sure, :2])
    if box is None:
        raise _UnusableError("all keypoints are at one place")
    if size is not None and not _overlaps(box, size):
        raise _UnusableError(f"outside the image of {size[0]}×{size[1]} pixels")
    return Detection(
        box_xyxy=box,
        score=float(np.clip(points[sure, 2].mean(), 0.0, 1.0)),
        joints2d_px=joints,
        missing=tuple(JOINTS[joint] for joint in missing),
    )


def _overlaps(box: Box, size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return min(right, size[0]) - max(left, 0) >= 1 and min(bottom, size[1]) - max(top, 0) >= 1


def _box(points_px: npt.NDArray[np.float64]) -> Box | None:
    low, high = points_px.min(0), points_px.max(0)
    longer = float((high - low).max())
    if longer < 2.0:
        return None
    left, top = low - _MARGIN * longer
    right, bottom = high + _MARGIN * longer
    return float(left), float(top - _ABOVE_FACE * longer), float(right), float(bottom)
