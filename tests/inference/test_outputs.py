"""Results of two inputs, and of two runs, don't get into each other's way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.files import write_json
from hemlets.inference.outputs import free_stem, remove_earlier, stem_of_image


def _result(folder: Path, stem: str, kind: str, name: str) -> None:
    value = {kind: {"name": name, "width": 4}, "people": [{"name": "x"}] * 2_000, "tracks": [9] * 9}
    write_json(folder / f"{stem}.json", value)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_another_inputs_results_are_not_overwritten_and_the_same_inputs_are(
    tmp_path: Path, kind: str
) -> None:
    _result(tmp_path, "walk", kind, 'w"alk.jpg')
    assert free_stem(tmp_path, "walk.png") == "walk-2"
    _result(tmp_path, "walk-2", kind, "walk.png")
    assert free_stem(tmp_path, "walk.png") == "walk-2"
    assert free_stem(tmp_path, "walk.png", taken=["walk-2"]) == "walk-3"
    _result(tmp_path, "walk", kind, "walk.png")
    assert free_stem(tmp_path, "walk.png") == "walk"


def test_images_of_one_name_share_no_file_and_the_same_image_keeps_its_own(tmp_path: Path) -> None:
    images = [np.full((4, 5, 3), value, np.uint8) for value in (7, 8)]
    for stem, image in (("image", images[0]), ("image-2", images[1]), ("image", images[0])):
        assert stem_of_image(tmp_path, "image", image) == stem
        _result(tmp_path, stem, "image", "image")
    (tmp_path / "image.json").unlink()
    assert stem_of_image(tmp_path, "image", images[1]) == "image"


@pytest.mark.parametrize("content", [b"{}", b'{"mine": 1}', b'{"image": {"name": "\xff"}}'])
def test_a_file_that_is_no_result_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "walk.json").write_bytes(content)
    assert free_stem(tmp_path, "walk.png") == "walk-2"


def test_an_empty_file_and_an_absent_folder_leave_the_stem_free(tmp_path: Path) -> None:
    (tmp_path / "walk.json").touch()
    assert free_stem(tmp_path, "walk.png") == "walk"
    assert free_stem(tmp_path / "absent", "walk.png") == "walk"


def test_a_name_that_is_too_long_has_no_earlier_results(tmp_path: Path) -> None:
    name = "n" * 251
    assert free_stem(tmp_path, f"{name}.png") == name
    remove_earlier(tmp_path, name)


def test_an_earlier_runs_people_go_and_other_files_stay(tmp_path: Path) -> None:
    gone = ["walk.person3.frame0.npz", "walk.part1.json", "walk.part1.person0.frame9.bvh",
            "walk.person11.glb"]  # fmt: skip
    stay = ["walk.obj", "walk2.person3.frame0.npz", "walk.person.npz", "walk.mp4", "notes.txt"]
    for name in gone + stay:
        (tmp_path / name).touch()
    remove_earlier(tmp_path, "walk")
    assert all((tmp_path / name).exists() for name in gone), "nothing of ours was there before"
    _result(tmp_path, "walk", "video", "walk.mp4")
    remove_earlier(tmp_path, "walk")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stay, "walk.json"])
