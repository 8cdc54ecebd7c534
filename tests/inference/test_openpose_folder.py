"""Which of OpenPose's files belongs to which frame of a video."""

import json
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import InputError
from hemlets.inference.openpose_folder import pair_frames
from hemlets.inference.video import openpose_finder


def _folder(tmp_path: Path, names: list[str]) -> Path:
    for name in names:
        (tmp_path / name).write_text("{}")
    return tmp_path


def _series(pattern: str, first: int, count: int) -> list[str]:
    return [pattern.format(number) for number in range(first, first + count)]


@pytest.mark.parametrize(
    "pattern",
    [
        "walk_{:012d}_keypoints.json",
        "frame{:04d}_pose_2d.json",
        "{}.json",
        "2026-11-28 cam3 {:03d}.json",
        "take-2_{:06d}_keypoints.json",
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_the_number_that_varies_is_the_frame(tmp_path: Path, pattern: str, first: int) -> None:
    folder = _folder(tmp_path, _series(pattern, first, 12))
    paired = pair_frames(folder, 12)
    assert sorted(paired.files) == list(range(12))
    assert [paired.files[i].name for i in (0, 11)] == [
        pattern.format(first),
        pattern.format(first + 11),
    ]
    assert paired.without == ()


def test_frames_without_a_file_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [f"a_{n:012d}_keypoints.json" for n in (0, 1, 5)])
    paired = pair_frames(folder, 7)
    assert sorted(paired.files) == [0, 1, 5]
    assert paired.without == (2, 3, 4, 6)


def test_a_single_file_is_the_frame_of_its_longest_number(tmp_path: Path) -> None:
    folder = _folder(tmp_path, ["take2_000000000003_keypoints.json"])
    assert list(pair_frames(folder, 5).files) == [3]


@pytest.mark.parametrize(("first", "count"), [(5000, 12), (1, 13), (2, 12), (0, 13), (1, 14)])
def test_numbers_beyond_the_video_are_refused(tmp_path: Path, first: int, count: int) -> None:
    folder = _folder(tmp_path, _series("ok_{:012d}_keypoints.json", first, count))
    with pytest.raises(InputError, match=f"numbered {first} to {first + count - 1}") as caught:
        pair_frames(folder, 12)
    assert "12 frames" in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        _series("zz_{:012d}_keypoints.json", 0, 6),
        _series("ok2_{:012d}_keypoints.json", 0, 6),
        _series("ok_{:012d}.json", 0, 6),
        ["ok_7_keypoints.json"],
    ],
)
def test_files_of_two_videos_are_refused_with_one_of_each(tmp_path: Path, other: list[str]) -> None:
    names = _series("ok_{:012d}_keypoints.json", 0, 12) + other
    folder = _folder(tmp_path, names)
    with pytest.raises(InputError, match="two videos"):
        pair_frames(folder, 20)


def test_two_numbers_that_vary_are_refused(tmp_path: Path) -> None:
    names = [f"cam{c}_{n:012d}_keypoints.json" for c in (1, 2) for n in range(4)]
    with pytest.raises(InputError, match="two videos"):
        pair_frames(_folder(tmp_path, names), 8)


def test_files_without_a_number_are_no_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of OpenPose"):
        pair_frames(_folder(tmp_path, ["notes.json"]), 4)


@pytest.mark.parametrize("first", [0, 1])
def test_whether_files_count_from_1_is_known(tmp_path: Path, first: int) -> None:
    folder = _folder(tmp_path, _series("a_{:012d}_keypoints.json", first, 6))
    assert pair_frames(folder, 6).from_1 == (first == 1)


def test_hidden_files_beside_the_frames_are_no_other_video(tmp_path: Path) -> None:
    names = _series("ok_{:012d}_keypoints.json", 0, 6)
    folder = _folder(tmp_path, names + [f"._{name}" for name in names])
    assert [file.name for _, file in sorted(pair_frames(folder, 6).files.items())] == names


@pytest.mark.parametrize("form", ["list", "images"])
def test_one_file_with_all_frames_is_paired_by_its_images(tmp_path: Path, form: str) -> None:
    points = [value for k in range(17) for value in (20.0 + k, 10.0 + 2 * k, 0.9)]
    people = [{"image_id": f"{frame}.jpg", "keypoints": points} for frame in (0, 2, 2, 3)]
    bodies = {f"{f}.jpg": {"bodies": [{"joints": [*points, 1, 1, 1]}]} for f in (0, 2, 3)}
    file = tmp_path / "alphapose-results.json"
    file.write_text(json.dumps(people if form == "list" else bodies))
    paired = pair_frames(file, 4)
    assert paired.without == (1,)
    find = openpose_finder(paired.files, contents=paired.contents)
    frame_HW3 = np.zeros((64, 96, 3), np.uint8)
    found = [len(find(number, frame_HW3)) for number in range(4)]
    assert found == ([1, 0, 2, 1] if form == "list" else [1, 0, 1, 1])
