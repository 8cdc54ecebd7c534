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

__all__ = ["OpenPoseImage", "read_openpose"]

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

_MARGIN: Final = 0.1
_ABOVE_FACE: Final = 0.12
"""Share of the box's longer side: the skull above the eyes, where no keypoint is."""


@dataclass(frozen=True, kw_only=True)
class OpenPoseImage:
    """What OpenPose found in one image.

    Attributes:
        people: The surest first; joints that were not found are named in each.
        skipped: People of whom too little was found for a box.
    """

    people: tuple[Detection, ...]
    skipped: int


def read_openpose(path: Path) -> OpenPoseImage:
    """Read one file.

    Raises:
        InputError: The file is absent or not OpenPose's; names what is wrong in it.
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
    found = [_person(entry, f"{path}: people[{i}]") for i, entry in enumerate(people)]
    usable = sorted((p for p in found if p is not None), key=lambda p: -p.score)
    return OpenPoseImage(people=tuple(usable), skipped=len(found) - len(usable))


def _person(entry: Any, where: str) -> Detection | None:
    values = entry.get("pose_keypoints_2d") if isinstance(entry, dict) else None
    try:
        points = np.asarray(values, np.float64).reshape(-1, 3)
    except (TypeError, ValueError) as error:
        raise InputError("pose_keypoints_2d is no list of x, y, confidence", where=where) from error
    if len(points) not in _MAPS or not np.isfinite(points).all():
        raise InputError(
            f"pose_keypoints_2d has {len(points)} keypoints, or some that are not finite",
            where=where,
            expected="25 (BODY_25) or 18 (COCO) keypoints of x, y, confidence",
        )
    sure = points[:, 2] >= _SURE
    if sure.sum() < _FEWEST:
        return None
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
        return None
    return Detection(
        box_xyxy=box,
        score=float(np.clip(points[sure, 2].mean(), 0.0, 1.0)),
        joints2d_px=joints,
        missing=tuple(JOINTS[joint] for joint in missing),
    )


def _box(points_px: npt.NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    low, high = points_px.min(0), points_px.max(0)
    longer = float((high - low).max())
    if longer < 2.0:
        return None
    left, top = low - _MARGIN * longer
    right, bottom = high + _MARGIN * longer
    return float(left), float(top - _ABOVE_FACE * longer), float(right), float(bottom)
