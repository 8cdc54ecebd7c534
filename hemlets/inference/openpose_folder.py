"""Match a folder of OpenPose files, or AlphaPose's one file, with the frames of a video.

Names of files, or of the images in one file, may differ in one number only, the frame number: from
0, as OpenPose counts, or from 1 if there are as many files as frames. Anything else is refused,
since a shift by one frame or a person of another video would not be noticed in the result.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hemlets.core.errors import InputError
from hemlets.inference.openpose import read_images

_NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class PairedFrames:
    """Keypoint files by frame.

    Attributes:
        files: File of each frame, by frame number from 0.
        without: Number of frames without a file, which are treated as empty.
        from_1: Whether the files count frames from 1.
        contents: Content by file, where one file has all frames.
    """

    files: dict[int, Path]
    without: tuple[int, ...]
    from_1: bool = False
    contents: Mapping[Path, Any] = field(default_factory=dict)


def pair_frames(folder: Path, n_frames: int) -> PairedFrames:
    """Match the files of a folder, or the images of one file, with the frames of a video.

    Raises:
        InputError: No JSON files, files of two series, or numbers that don't match the video's
            frames.
    """
    contents = read_images(folder) if folder.is_file() else {}
    # macOS leaves a hidden file beside each on other disks.
    files = [file for file in sorted(folder.glob("*.json")) if not file.name.startswith(".")]
    numbers = _frame_numbers(list(contents) or files, folder)
    first, last = min(numbers), max(numbers)
    starts_at_1 = first == 1 and last == n_frames == len(numbers)
    shift = 1 if starts_at_1 else 0
    if last - shift >= n_frames:
        raise InputError(
            f"the files are numbered {first} to {last}, and the video has {n_frames} frames",
            where=folder,
            expected=f"numbers from 0 to {n_frames - 1}, as OpenPose writes them for this video",
            remedy="give the folder of this video, or number its files anew from 0",
        )
    paired = {number - shift: file for number, file in numbers.items()}
    without = tuple(frame for frame in range(n_frames) if frame not in paired)
    return PairedFrames(files=paired, without=without, from_1=starts_at_1, contents=contents)


def _frame_numbers(files: Sequence[Path], folder: Path) -> dict[int, Path]:
    """Files by the one number in which their names differ.

    Raises:
        InputError: No files, or names that differ in more than one number.
    """
    series: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if _NUMBER.search(file.stem):
            series[_NUMBER.sub("#", file.stem)].append(file)
    if not series:
        raise InputError(
            "there is no file of OpenPose's",
            where=folder,
            expected="NAME_000000000000_keypoints.json for each frame, or one file with the "
            "image_id of each, as AlphaPose writes it",
        )
    if len(series) > 1:
        one, other = sorted(series.values(), key=len, reverse=True)[:2]
        raise _two_series(one[0], other[0], folder)
    (members,) = series.values()
    fields = list(zip(*(map(int, _NUMBER.findall(file.stem)) for file in members), strict=True))
    varying = [values for values in fields if len(set(values)) > 1]
    if len(varying) > 1:
        # A field with a different number in every file would be a series by itself.
        raise _two_series(members[0], members[-1], folder)
    frames = varying[0] if varying else fields[_field_of_frames(members[0])]
    paired: dict[int, Path] = {}
    for number, file in zip(frames, members, strict=True):
        if number in paired:
            raise _two_series(paired[number], file, folder)
        paired[number] = file
    return paired


def _field_of_frames(file: Path) -> int:
    """Index of the frame number in a single file's name: the longest number, the last of equals."""
    lengths = [len(number) for number in _NUMBER.findall(file.stem)]
    return max(range(len(lengths)), key=lambda i: (lengths[i], i))


def _two_series(one: Path, other: Path, folder: Path) -> InputError:
    return InputError(
        f"files of two videos lie together: {one.name} and {other.name}",
        where=folder,
        expected="files whose names differ in one number, the frame's",
        remedy="put each video's files into a folder of their own",
    )
