"""COCO's form as annotation tools export it: their categories, names, folders and images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.data.readers.coco import DATASET
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.maps2d import COCO
from hemlets.data.readers.quarantine import Quarantine

SIZE = 120, 100
NAMES = list(COCO.names)
POINTS = {name: (20 + 4 * index, 15 + 3 * index) for index, name in enumerate(NAMES)}
OWN = {"pelvis": (60, 50), "head_top": (61, 9), "tail": (5, 5)}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def export(
    names: list[str] | None = None,
    *,
    files: tuple[str, ...] = ("a.jpg",),
    category: int = 1,
    first: int = 1,
    title: str = "person",
) -> dict[str, Any]:
    """One person an image, whose keypoints are called so."""
    points = POINTS | OWN
    keypoints = [
        value for name in names or NAMES for value in (*points[plain(name)], 2)
    ]  # fmt: skip
    return {
        "images": [
            {"id": first + i, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for i, name in enumerate(files)
        ],
        "annotations": [
            {"id": first + i, "image_id": first + i, "category_id": category, "iscrowd": 0,
             "keypoints": keypoints, "bbox": [10, 5, 100, 90]}
            for i in range(len(files))
        ],
        "categories": [{"id": category, "name": title, "keypoints": names or NAMES}],
    }  # fmt: skip


def plain(name: str) -> str:
    """The name in this test's table."""
    words = name.lower().replace("-", " ").replace("_", " ").split()
    side = {"l": "left", "r": "right", "left": "left", "right": "right"}
    sides = [side[word] for word in words if word in side]
    return "_".join([*sides, *(word for word in words if word not in side)])


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


Read = Callable[..., tuple[dict[str, Any], list[str], Quarantine]]


@pytest.fixture
def rows(tmp_path: Path) -> Read:
    """Samples by name, the images in order, and what was left out."""

    def call(**options: Any) -> tuple[dict[str, Any], list[str], Quarantine]:
        quarantine = Quarantine()
        samples: dict[str, Any] = {}
        images: list[str] = []
        # The dataset's own check of the folder comes first.
        for chunk in DATASET.read(tmp_path, ReadOptions(**options), quarantine):
            images += [ref.path for ref in chunk.images]
            for row, name in enumerate(chunk.columns["sample_id"]):
                samples[name] = {key: value[row] for key, value in chunk.columns.items()}
        return samples, images, quarantine

    return call


@pytest.mark.parametrize("category", [0, 1, 7])
def test_people_are_the_category_of_that_name_whatever_its_number(rows, tmp_path, category):
    image(tmp_path / "a.jpg")
    write(tmp_path / "person_keypoints_default.json", export(category=category))
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/1"]
    assert not quarantine.items


def test_a_category_with_a_persons_keypoints_is_one_under_any_name(rows, tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "result.json", export(category=3, title="skater"))
    assert list(rows()[0]) == ["coco/1"]


def test_animals_beside_people_are_left_out_and_named(rows, tmp_path):
    image(tmp_path / "a.jpg")
    content = export(files=("a.jpg", "a.jpg"))
    content["annotations"][1]["category_id"] = 18
    content["categories"].append({"id": 18, "name": "dog", "keypoints": ["tail", "snout"]})
    write(tmp_path / "annotations/person_keypoints_x.json", content)
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/1"]
    assert [item.what for item in quarantine.items] == ["the category 18 is no person"]


def test_a_file_without_people_names_the_categories_that_it_has(rows, tmp_path):
    image(tmp_path / "a.jpg")
    content = export(title="dog")
    content["categories"][0]["keypoints"] = []
    write(tmp_path / "annotations/dogs.json", content)
    _, _, quarantine = rows()
    assert "no category is a person: 1: dog" in quarantine.items[0].what


def test_roboflows_folders_are_splits_with_their_images_beside_the_file(rows, tmp_path):
    for folder, first in (("train", 0), ("valid", 0), ("test", 0)):
        name = f"{folder}_jpg.rf.0a1b.jpg"
        image(tmp_path / folder / name)
        content = export(files=(name,), first=first, category=1)
        content["categories"].insert(0, {"id": 0, "name": "people", "supercategory": "none"})
        write(tmp_path / folder / "_annotations.coco.json", content)
    samples, images, quarantine = rows()
    assert not quarantine.items
    assert {name: sample["split"] for name, sample in samples.items()} == {
        "coco/0": "test", "coco/train/0": "train", "coco/valid/0": "validation",
    }  # fmt: skip
    assert sorted(images) == [
        f"{name}/{name}_jpg.rf.0a1b.jpg" for name in ("test", "train", "valid")
    ]
    assert len({sample["clip"] for sample in samples.values()}) == 3


def test_cvats_keypoints_are_paired_by_name_in_any_order_with_joints_of_ours(rows, tmp_path):
    image(tmp_path / "images/default/take 1/a.png")
    names = ["head_top", "pelvis", "tail", *reversed(NAMES[5:])]
    content = export(names, files=("take 1/a.png",))
    write(tmp_path / "annotations/person_keypoints_default.json", content)
    samples, images, quarantine = rows()
    assert images == ["images/default/take 1/a.png"]
    assert not quarantine.items
    sample = samples["coco/1"]
    valid = {Joint(joint) for joint in np.flatnonzero(sample["valid2d"])}
    assert Joint.PELVIS in valid
    assert Joint.NOSE not in valid
    for joint, name in ((Joint.LEFT_WRIST, "left_wrist"), (Joint.HEAD_TOP, "head_top")):
        expected = np.array((POINTS | OWN)[name]) + 0.5
        np.testing.assert_allclose(sample["joints2d_px"][joint], expected)


@pytest.mark.parametrize(
    "style", ["{side} {joint}", "{joint}-{Side}", "{s}_{joint}", "{Side}_{Joint}"]
)
def test_names_are_compared_as_whole_words_in_the_styles_of_tools(rows, tmp_path, style):
    def styled(name: str) -> str:
        side, _, joint = name.partition("_")
        if not joint:
            return name.title()
        return style.format(
            side=side, joint=joint, Side=side.title(), Joint=joint.title(), s=side[0]
        )

    image(tmp_path / "a.jpg")
    write(tmp_path / "result.json", export([styled(name) for name in NAMES[::2]]))
    samples, _, _ = rows()
    sample = samples["coco/1"]
    np.testing.assert_allclose(
        sample["joints2d_px"][Joint.RIGHT_ELBOW], np.array(POINTS["right_elbow"]) + 0.5
    )
    assert not sample["valid2d"][Joint.LEFT_ELBOW]


def test_a_joint_that_is_named_twice_is_refused(rows, tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "result.json", export([*NAMES, "Nose"]))
    _, _, quarantine = rows()
    assert "the person's keypoints are" in quarantine.items[0].what


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("train2017/a.jpg", "train2017/a.jpg"),
        ("images/train2017/a.PNG", "a.PNG"),
        ("images/upload/1/a.jpg", "upload/1/a.jpg"),
        ("images/a.jpg", "images\\a.jpg"),
        ("deep/er/a.webp", "er/a.webp"),
        ("a.bmp", "./a.bmp"),
    ],
)
def test_an_image_is_found_by_the_name_that_its_tool_gave_it(rows, tmp_path, stored, named):
    image(tmp_path / stored)
    write(tmp_path / "annotations/person_keypoints_train2017.json", export(files=(named,)))
    _, images, quarantine = rows()
    assert not quarantine.items
    assert images == [stored]


def test_two_images_of_one_name_are_refused_with_both_named(rows, tmp_path):
    for place in ("day/a.jpg", "night/a.jpg", "b.jpg"):
        image(tmp_path / place)
    write(tmp_path / "result.json", export(files=("a.jpg", "b.jpg")))
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/2"]
    (item,) = quarantine.items
    assert "day/a.jpg, night/a.jpg" in item.what
    assert item.row == 0


def test_the_end_of_a_longer_name_is_no_match(rows, tmp_path):
    image(tmp_path / "images/data.jpg")
    write(tmp_path / "result.json", export(files=("a.jpg",)))
    _, _, quarantine = rows()
    assert "images/a.jpg does not exist" in quarantine.items[0].what


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("person_keypoints_val2017", "test"),
        ("person_keypoints_carnival", "train"),
        ("person_keypoints_my-validation", "test"),
        ("person_keypoints_test", "test"),
        ("person_keypoints_contest_train", "train"),
        ("person_keypoints_default", "train"),
    ],
)
def test_the_split_is_a_whole_word_of_the_files_name(rows, tmp_path, stem, split):
    image(tmp_path / "a.jpg")
    write(tmp_path / f"annotations/{stem}.json", export())
    samples, _, _ = rows()
    assert [sample["split"] for sample in samples.values()] == [split]


def test_a_file_that_names_two_splits_is_refused_with_both(rows, tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "annotations/person_keypoints_train_val.json", export())
    samples, _, quarantine = rows()
    assert not samples
    assert "train and validation" in quarantine.items[0].what


def test_two_files_with_the_same_ids_are_of_different_people(rows, tmp_path):
    for split in ("train", "val"):
        image(tmp_path / split / f"{split}.jpg")
        write(
            tmp_path / f"annotations/person_keypoints_{split}.json",
            export(files=(f"{split}.jpg",)),
        )
    samples, _, quarantine = rows()
    assert not quarantine.items
    assert {name: (s["split"], s["clip"]) for name, s in samples.items()} == {
        "coco/1": ("train", "coco/1"), "coco/val/1": ("test", "coco/val/1"),
    }  # fmt: skip


def test_cocos_files_without_keypoints_are_not_read_as_annotations(rows, tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "annotations/mine.json", export())
    for name in ("instances_train2017", "captions_train2017", "image_info_test2017"):
        write(tmp_path / f"annotations/{name}.json", {"images": [], "annotations": []})
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/1"]
    assert not quarantine.items


def test_a_permutation_of_cocos_own_names_stays_refused(tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "result.json", export(sorted(NAMES)))
    with pytest.raises(DataError, match="the person's keypoints are"):
        list(DATASET.read(tmp_path, ReadOptions()))


@pytest.mark.parametrize("field", ["keypoints", "bbox"])
def test_fractions_of_the_image_are_refused_by_what_they_look_like(rows, tmp_path, field):
    image(tmp_path / "a.jpg")
    content = export()
    person = content["annotations"][0]
    if field == "bbox":
        person["bbox"] = [0.1, 0.05, 0.8, 0.9]
    else:
        person["keypoints"] = [
            value if i % 3 == 2 else value / SIZE[i % 3]
            for i, value in enumerate(person["keypoints"])
        ]
    write(tmp_path / "person_keypoints_train.json", content)
    samples, _, quarantine = rows()
    assert not samples
    (fault,) = quarantine.items
    assert "normalised" in fault.what
    assert fault.field == field


def test_a_byte_order_mark_of_windows_is_no_fault(rows, tmp_path):
    image(tmp_path / "a.jpg")
    file = tmp_path / "person_keypoints_train.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(export()).encode())
    assert list(rows()[0]) == ["coco/1"]


def test_an_image_that_is_listed_twice_is_counted_and_its_person_read_once(rows, tmp_path):
    content = export()
    content["images"] *= 2
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "result.json", content)
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/1"]
    assert quarantine.skipped == {"an image that is listed twice": 1}


def test_one_image_under_two_ids_is_of_one_clip_so_that_it_gets_into_one_split(rows, tmp_path):
    content = export(files=("a.jpg", "a.jpg"))
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "result.json", content)
    samples, _, _ = rows()
    assert len(samples) == 2
    assert len({row["clip"] for row in samples.values()}) == 1


def test_an_image_id_of_two_files_is_left_out_with_both_named(rows, tmp_path):
    content = export(files=("a.jpg", "b.jpg"))
    content["images"].append(content["images"][0] | {"file_name": "c.jpg"})
    for name in "abc":
        image(tmp_path / f"images/{name}.jpg")
    write(tmp_path / "result.json", content)
    samples, images, quarantine = rows()
    assert (list(samples), images) == (["coco/2"], ["images/b.jpg"])
    assert "two files: a.jpg and c.jpg" in quarantine.items[0].what


def test_animals_have_shoulders_and_hips_and_are_no_people(rows, tmp_path):
    image(tmp_path / "a.jpg")
    write(tmp_path / "result.json", export([*NAMES[5:], "tail"], title="antelope"))
    samples, _, quarantine = rows()
    assert not samples
    assert "no category is a person: 1: antelope" in quarantine.items[0].what


def test_a_keypoint_without_a_place_that_is_marked_as_seen_is_refused(rows, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / name)
    content = export(files=("a.jpg", "b.jpg"))
    person = content["annotations"][0]
    person["keypoints"] = [0, 0, 2, *person["keypoints"][3:]]
    write(tmp_path / "result.json", content)
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/2"]
    (item,) = quarantine.items
    assert (item.row, item.field) == (0, "keypoints, v")
    assert "0, 0" in item.what


def test_a_person_annotated_twice_is_left_out_once_with_both_ids(rows, tmp_path):
    image(tmp_path / "a.jpg")
    content = export(files=("a.jpg", "a.jpg"))
    content["annotations"][1]["image_id"] = 1
    write(tmp_path / "result.json", content)
    samples, _, quarantine = rows()
    assert list(samples) == ["coco/1"]
    (item,) = quarantine.items
    assert item.row == 1
    assert "with the ids 1 and 2" in item.what


def test_roboflows_augmented_copies_of_an_image_are_one_clip(rows, tmp_path):
    names = ("a_jpg.rf.0a1b.jpg", "a_jpg.rf.2c3d.jpg", "b_jpg.rf.4e5f.jpg")
    for name in names:
        image(tmp_path / "train" / name)
    write(tmp_path / "train/_annotations.coco.json", export(files=names))
    samples, _, _ = rows()
    one, other, third = (samples[f"coco/{n}"]["clip"] for n in (1, 2, 3))
    assert one == other != third


@pytest.mark.parametrize("named", ["my%20photo%281%29.jpg", "My Photo(1).JPG"])
def test_names_from_web_pages_and_from_disks_without_case_find_their_image(rows, tmp_path, named):
    image(tmp_path / "images/my photo(1).jpg")
    write(tmp_path / "result.json", export(files=(named,)))
    _, images, quarantine = rows()
    assert not quarantine.items
    assert images == ["images/my photo(1).jpg"]
