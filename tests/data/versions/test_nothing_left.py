"""Where an ingest has no usable row, the reasons are in the message and in the file it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.data.readers.catalogue import find
from hemlets.data.readers.contract import ReadOptions
from hemlets.data.readers.maps2d import COCO
from hemlets.data.table import encode_jpeg
from hemlets.data.versions.ingest import ingest

Content = dict[str, Any]


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Path]:
    """A folder of two people in COCO's form, changed before it is written."""

    def write(change: Callable[[Content], None] = lambda content: None) -> Path:
        root = tmp_path / "set"
        people = [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 60, 80],
             "num_keypoints": 17,
             "keypoints": [value for k in range(17) for value in (15 + 3 * k, 12 + 4 * k, 2)]}
            for n in (1, 2)
        ]  # fmt: skip
        content: Content = {
            "images": [
                {"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 100} for n in (1, 2)
            ],
            "annotations": people,
            "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.names)}],
        }
        change(content)
        (root / "images").mkdir(parents=True)
        for n in (1, 2):
            image = encode_jpeg(np.full((100, 100, 3), 80, np.uint8))
            (root / "images" / f"{n}.jpg").write_bytes(image)
        (root / "person_keypoints_train.json").write_text(json.dumps(content))
        return root

    return write


def each(**values: Any) -> Callable[[Content], None]:
    """Change every person."""

    def change(content: Content) -> None:
        for person in content["annotations"]:
            person.update(values)

    return change


def each_image(**values: Any) -> Callable[[Content], None]:
    """Change the entry of every image."""

    def change(content: Content) -> None:
        for entry in content["images"]:
            entry.update(values)

    return change


DAMAGED = {
    "wrong category": (each(category_id=5), "2 × the category 5 is no person"),
    "no keypoints": (each(keypoints=[1, 2, 3]), "2 × keypoints is missing or of another form"),
    "box of no area": (each(bbox=[10, 10, 0, 80]), "2 × the box has no area"),
    "no image": (each_image(file_name="x.jpg"), "2 × the image images/x.jpg does not exist"),
    "two images": (
        lambda content: [image.update(file_name=f"x{n}.jpg")
                         for n, image in enumerate(content["images"])],
        "2 × the image … does not exist",
    ),
    "another size": (each_image(width=640), "2 × the image has 100×100 pixels"),
    "half the people each": (
        lambda content: (content["annotations"][0].update(bbox=None),
                         content["annotations"][1].update(id=None)),
        "1 × the annotation has no id; 1 × bbox is missing or of another form",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_the_reasons_are_told_and_kept_in_the_file_that_is_named(coco, tmp_path, damage):
    change, reason = DAMAGED[damage]
    with pytest.raises(DataError) as raised:
        ingest(find("coco"), coco(change), tmp_path / "out")
    assert reason in str(raised.value)
    assert "person_keypoints_train.json" in str(raised.value.remedy) or damage == "another size"
    named = Path(str(raised.value.where))
    assert named == tmp_path / "out" / "quarantine.jsonl"
    items = [json.loads(line) for line in named.read_text().splitlines()]
    assert len(items) == 2
    assert all(item["what"] and item["file"] for item in items)


SKIPPED = {
    "nobody is annotated": (each(num_keypoints=0), "2 × person without keypoints"),
    "crowds alone": (each(iscrowd=1), "2 × crowd, whose box holds no single person"),
    "one joint each": (
        each(keypoints=[20, 20, 2] + [0] * 48),
        "2 × person with fewer than two annotated joints",
    ),
}


@pytest.mark.parametrize("kind", SKIPPED)
def test_rows_that_teach_nothing_are_a_reason_too_and_leave_no_folder(coco, tmp_path, kind):
    change, reason = SKIPPED[kind]
    with pytest.raises(DataError, match=reason):
        ingest(find("coco"), coco(change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_that_was_not_asked_for_is_named(coco, tmp_path):
    options = ReadOptions(splits=frozenset({"test"}))
    with pytest.raises(DataError, match="split train, which was not asked for") as raised:
        ingest(find("coco"), coco(), tmp_path / "out", options=options)
    assert "the splits test" in str(raised.value.expected)


def test_once_the_cause_is_gone_the_same_folder_is_ingested(coco, tmp_path):
    root = coco(each(category_id=5))
    with pytest.raises(DataError):
        ingest(find("coco"), root, tmp_path / "out")
    file = root / "person_keypoints_train.json"
    file.write_text(file.read_text().replace('"category_id": 5', '"category_id": 1'))
    assert sum(ingest(find("coco"), root, tmp_path / "out").samples.values()) == 2


def test_one_bad_person_is_named_and_the_other_is_stored(coco, tmp_path):
    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = [10, 10, 0, 80]

    result = ingest(find("coco"), coco(change), tmp_path / "out")
    assert sum(result.samples.values()) == 1
    assert result.refused == {"the box has no area: a side is zero or negative": 1}


def test_skipped_people_are_counted_where_others_are_stored(coco, tmp_path):
    def change(content: Content) -> None:
        content["annotations"][0]["iscrowd"] = 1

    result = ingest(find("coco"), coco(change), tmp_path / "out")
    assert result.skipped == {"crowd, whose box holds no single person": 1}


def test_the_datasets_own_folder_takes_no_data_version(coco):
    root = coco()
    with pytest.raises(ConfigError, match="among the dataset's own files"):
        ingest(find("coco"), root, root)
    assert sorted(path.name for path in root.iterdir()) == ["images", "person_keypoints_train.json"]


def test_a_data_version_inside_the_datasets_folder_is_no_change_of_the_dataset(coco):
    root = coco()
    first = ingest(find("coco"), root, root / "version")
    assert ingest(find("coco"), root, root / "version").samples == first.samples
