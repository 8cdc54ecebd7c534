"""Read people from a JSON file of OpenPose (used by the paper), AlphaPose, MediaPipe and others.

- OpenPose (Cao et al. 2019): ``{"people": [{"pose_keypoints_2d": [x, y, confidence, …]}]}`` with
  25 (BODY_25) or 18 (COCO) keypoints; missing ones are 0, 0, 0. ``pose_keypoints`` in
  OpenPose 1.0, ``bodies`` and ``joints`` in AlphaPose's ``--format cmu``.
- AlphaPose, and results in COCO's form: ``[{"image_id": …, "keypoints": [x, y, score, …]}]`` with
  17 (COCO), 133 (COCO-WholeBody), 26 or 136 (Halpe) keypoints, of one image. MMPose has
  ``keypoint_scores`` beside, Ultralytics ``{"x": …, "y": …, "visible": …}``.
- MediaPipe: 33 landmarks ``{"x": …, "y": …, "visibility": …}`` a person, as fractions of the
  image or in pixels; alone, in a list of people, or under ``landmarks`` or ``pose_landmarks``.

Coordinates from 0 to 1 are fractions of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

Array = npt.NDArray[np.float64]

# OpenPose's neck is the middle of the shoulders, which is our thorax.
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
_COCO_17: Final[Mapping[Joint, int]] = {
    Joint.NOSE: 0,
    Joint.LEFT_SHOULDER: 5, Joint.LEFT_ELBOW: 7, Joint.LEFT_WRIST: 9,
    Joint.RIGHT_SHOULDER: 6, Joint.RIGHT_ELBOW: 8, Joint.RIGHT_WRIST: 10,
    Joint.LEFT_HIP: 11, Joint.LEFT_KNEE: 13, Joint.LEFT_ANKLE: 15,
    Joint.RIGHT_HIP: 12, Joint.RIGHT_KNEE: 14, Joint.RIGHT_ANKLE: 16,
}  # fmt: skip
_MEDIAPIPE: Final[Mapping[Joint, int]] = {
    Joint.NOSE: 0,
    Joint.LEFT_SHOULDER: 11, Joint.LEFT_ELBOW: 13, Joint.LEFT_WRIST: 15,
    Joint.RIGHT_SHOULDER: 12, Joint.RIGHT_ELBOW: 14, Joint.RIGHT_WRIST: 16,
    Joint.LEFT_HIP: 23, Joint.LEFT_KNEE: 25, Joint.LEFT_ANKLE: 27,
    Joint.RIGHT_HIP: 24, Joint.RIGHT_KNEE: 26, Joint.RIGHT_ANKLE: 28,
}  # fmt: skip
_OPENPOSE_MAPS: Final = {25: _BODY_25, 18: _COCO_18}
# The keypoints of Halpe and COCO-WholeBody begin with COCO's.
_LIST_MAPS: Final = {17: _COCO_17, 26: _COCO_17, 133: _COCO_17, 136: _COCO_17}
_PEOPLE_KEYS: Final = ("people", "bodies")
_KEYPOINT_KEYS: Final = ("pose_keypoints_2d", "pose_keypoints", "joints")
_LANDMARK_KEYS: Final = ("pose_landmarks", "poseLandmarks", "landmarks")
_WORLD_KEYS: Final = ("pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks")
_LANDMARKS: Final = 33
_HIPS: Final = (23, 24)
"""MediaPipe's; their middle is the origin of its world landmarks, in metres."""

_AT_ORIGIN: Final = 0.02
_WORLD: Final = "world landmarks are metres around the hips, not places in the image"
_MIDDLES: Final = {
    Joint.PELVIS: (Joint.LEFT_HIP, Joint.RIGHT_HIP),
    Joint.THORAX: (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER),
}
_FORMS: Final = (
    '{"people": [{"pose_keypoints_2d": …}]} of OpenPose, [{"image_id": …, "keypoints": …}] of '
    "AlphaPose or Ultralytics, or MediaPipe's 33 landmarks"
)

_SURE: Final = 0.1
"""Keypoints below this confidence count as not found."""

_FEWEST: Final = 4
"""Least number of keypoints of a usable person."""

_LARGEST_NORMALISED: Final = 1.5
"""Largest coordinate of a normalised file: OpenPose normalises to 0–1 or −1–1."""

_LARGEST_FRACTION: Final = 3.0
"""Median size of coordinates up to which MediaPipe's are fractions: limits may lie outside."""

_LARGEST_CONFIDENCE: Final = 2.0
"""COCO's v is 2 for a visible keypoint."""

_MARGIN: Final = 0.1
_ABOVE_FACE: Final = 0.12
"""Height of the skull above the eyes, where there are no keypoints, relative to the box's longer
side."""


@dataclass(frozen=True, kw_only=True)
class OpenPoseImage:
    """People of one image in a keypoint file.

    Attributes:
        people: People by confidence, highest first, each with the names of its missing joints.
        left_out: Reason for each person who can't be used.
    """

    people: tuple[Detection, ...]
    left_out: tuple[str, ...] = ()


def read_openpose(path: Path, *, size: tuple[int, int] | None = None) -> OpenPoseImage:
    """Read a file; unusable people are left out with a reason.

    Args:
        path: The JSON of one image.
        size: Width and height of the image if known; people outside it are left out.

    Raises:
        InputError: The file is absent, of another format or for several images, or its coordinates
            are normalised and can't be converted to pixels.
    """
    return people_of(_read(path), path, size=size)


def read_images(path: Path) -> dict[Path, Any]:
    """Read one file of many images: the content of each by the name of the image.

    Raises:
        InputError: The file is absent or not JSON.
    """
    content = _read(path)
    if isinstance(content, dict) and all(map(_people_key, content.values())):
        return {Path(name): people for name, people in content.items()}
    images: dict[Path, Any] = {}
    for entry in content if isinstance(content, list) else ():
        if _has(entry, "image_id"):
            images.setdefault(Path(str(entry["image_id"])), []).append(entry)
    return images


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError as error:
        raise InputError(error.what, where=path, expected=_FORMS) from error


def people_of(content: Any, path: Path, *, size: tuple[int, int] | None = None) -> OpenPoseImage:
    """Convert the content of a file; arguments and errors as of `read_openpose`."""
    usable: list[Detection] = []
    left_out: list[str] = []
    found: list[tuple[int, _Keypoints]] = []
    entries, read = _entries(content, path)
    for i, entry in enumerate(entries):
        try:
            found.append((i, read(entry)))
        except _UnusableError as reason:
            left_out.append(f"people[{i}]: {reason}")
    scale = _scale([keypoints for _, keypoints in found], size, path)
    for i, keypoints in found:
        try:
            usable.append(_person(keypoints.points * scale, keypoints.mapping, size))
        except _UnusableError as reason:
            left_out.append(f"people[{i}]: {reason}")
    usable.sort(key=lambda person: -person.score)
    return OpenPoseImage(people=tuple(usable), left_out=tuple(left_out))


class _UnusableError(Exception):
    """Reason why a person can't be used."""


@dataclass(frozen=True)
class _Keypoints:
    """x, y and confidence of a person's keypoints, and their mapping to our joints."""

    points: Array
    mapping: Mapping[Joint, int]
    normalised: bool = False
    """Whether the coordinates are fractions of the image."""


def _entries(content: Any, path: Path) -> tuple[list[Any], Callable[[Any], _Keypoints]]:
    """People of a file, and the function that reads one of them."""
    remedy = None
    if isinstance(content, dict) and content and all(map(_people_key, content.values())):
        _require_one_image(list(content), path)
        content = next(iter(content.values()))
    if isinstance(content, dict):
        if (people := _people_key(content)) is not None:
            return content[people], _of_openpose
        key = next((key for key in _LANDMARK_KEYS if key in content), None)
        if key is None and any(key in content for key in _WORLD_KEYS):
            remedy = f"write pose_landmarks: {_WORLD}"
        content = None if key is None else content[key] or []
    if isinstance(content, list):
        if len(content) == 1 and _any_object(content[0], "keypoints"):
            content = content[0]
        if not content or _any_object(content, "keypoints"):
            _require_one_image([e["image_id"] for e in content if _has(e, "image_id")], path)
            return content, _of_list
        if _any_object(content, "x"):
            return [content], _of_mediapipe
        if any(_any_object(entry, "x") for entry in content):
            return content, _of_mediapipe
    raise InputError("the file has no list of people", where=path, expected=_FORMS, remedy=remedy)


def _people_key(content: Any) -> str | None:
    """OpenPose's key with a list of people; None if there is none."""
    values = content if isinstance(content, dict) else {}
    return next((key for key in _PEOPLE_KEYS if isinstance(values.get(key), list)), None)


def _has(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and key in entry


def _any_object(entries: Any, key: str) -> bool:
    return isinstance(entries, list) and any(_has(entry, key) for entry in entries)


def _require_one_image(names: Sequence[object], path: Path) -> None:
    images = list(dict.fromkeys(map(str, names)))
    if len(images) > 1:
        raise InputError(
            f"the file has people of {len(images)} images, such as {images[0][:80]} and "
            f"{images[1][:80]}",
            where=path,
            expected="those of one image",
            remedy="write the people of each image into a file of its own",
        )


def _of_openpose(entry: Any) -> _Keypoints:
    key = next((key for key in _KEYPOINT_KEYS if _has(entry, key)), _KEYPOINT_KEYS[0])
    values = entry.get(key) if isinstance(entry, dict) else None
    return _flat(values, key, _OPENPOSE_MAPS, "25 (BODY_25) or 18 (COCO)")


def _of_list(entry: Any) -> _Keypoints:
    values: Any = entry.get("keypoints") if isinstance(entry, dict) else None
    try:
        if isinstance(values, dict):
            seen = values.get("visible") or [1.0] * len(values["x"])
            values = list(zip(values["x"], values["y"], seen, strict=True))
        elif _has(entry, "keypoint_scores"):
            values = [(*xy, s) for xy, s in zip(values, entry["keypoint_scores"], strict=True)]
    except (TypeError, ValueError, KeyError):
        values = None
    return _flat(values, "keypoints", _LIST_MAPS, "17 (COCO), 133 (WholeBody), 26 or 136 (Halpe)")


def _flat(
    values: Any, name: str, maps: Mapping[int, Mapping[Joint, int]], known: str
) -> _Keypoints:
    try:
        points = np.asarray(values, np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        raise _UnusableError(f"{name} is no list of x, y, confidence") from None
    if len(points) == 0:
        raise _UnusableError(f"{name} is empty: no body, only face or hands")
    if len(points) not in maps:
        raise _UnusableError(f"{name} has {len(points)} keypoints, not {known}")
    if not np.isfinite(points).all():
        raise _UnusableError(f"{name} has numbers that are not finite")
    if (largest := points[:, 2].max()) > _LARGEST_CONFIDENCE:
        raise _UnusableError(
            f"{name} has the confidence {largest:g}, not 0 to 1: divide percentages by 100"
        )
    return _Keypoints(points, maps[len(points)])


def _of_mediapipe(entry: Any) -> _Keypoints:
    try:
        seen = [mark.get("visibility") for mark in entry]
        points = np.array(
            [(m["x"], m["y"], 1.0 if s is None else s) for m, s in zip(entry, seen, strict=True)],
            np.float64,
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        raise _UnusableError("no list of landmarks with x and y") from None
    if len(points) != _LANDMARKS or not np.isfinite(points).all():
        raise _UnusableError(f"{len(points)} landmarks, not {_LANDMARKS} that are finite")
    at_origin = np.abs(points[list(_HIPS), :2].mean(0)).max() < _AT_ORIGIN
    if at_origin and points[:, :2].min() < -_AT_ORIGIN:
        raise _UnusableError(f"{_WORLD}: write pose_landmarks")
    fractions = np.median(np.abs(points[:, :2])) <= _LARGEST_FRACTION
    return _Keypoints(points, _MEDIAPIPE, normalised=bool(fractions))


def _scale(found: Sequence[_Keypoints], size: tuple[int, int] | None, path: Path) -> Array:
    """Factors of x, y and confidence to pixels, common to all people of a file."""
    sure = [k.points[k.points[:, 2] >= _SURE, :2] for k in found]
    sure = [points for points in sure if len(points) >= _FEWEST]
    fractions = any(k.normalised for k in found)
    if not fractions and (
        not sure or max(np.abs(points).max() for points in sure) > _LARGEST_NORMALISED
    ):
        return np.ones(3)
    negative = not fractions and min(points.min() for points in sure) < 0
    if size is None or negative:
        raise InputError(
            "the coordinates are normalised to the image's size"
            + (", from -1 to 1" if negative else ""),
            where=path,
            expected="pixels, or fractions of an image whose size is known",
            remedy="run OpenPose with --keypoint_scale 0",
        )
    return np.array([*size, 1.0])


def _person(points: Array, mapping: Mapping[Joint, int], size: tuple[int, int] | None) -> Detection:
    sure = points[:, 2] >= _SURE
    if sure.sum() < _FEWEST:
        raise _UnusableError(f"fewer than {_FEWEST} keypoints were found")
    joints = np.full((N_JOINTS, 2), np.nan, np.float32)
    for joint, number in mapping.items():
        if sure[number]:
            joints[joint] = points[number, :2]
    for middle, ends in _MIDDLES.items():
        if middle not in mapping:
            joints[middle] = joints[list(ends)].mean(0)
    looked_for = {*mapping, *_MIDDLES}
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
