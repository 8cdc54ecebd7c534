"""Damage in 2D datasets: each kind is named by file, row, field and remedy; other rows survive."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.errors import DataError
from hemlets.data.readers.coco import DATASET as COCO
from hemlets.data.readers.contract import Dataset, ReadOptions
from hemlets.data.readers.fbi import read_labels
from hemlets.data.readers.lsp import LSP_DATASET, LSPET_DATASET
from hemlets.data.readers.mpii import DATASET as MPII
from hemlets.data.readers.ordinal import DATASET as ORDINAL
from hemlets.data.readers.quarantine import Quarantine


def rows_of(dataset: Dataset, root: Path, quarantine: Quarantine) -> list[str]:
    module, function = dataset.reader.split(":")
    chunks: Iterator[Any] = getattr(import_module(module), function)(
        root, ReadOptions(), quarantine=quarantine
    )
    return [str(name) for chunk in chunks for name in chunk.columns["sample_id"]]


def setting(*path: Any, value: Any) -> Callable[[Any], None]:
    """A change of one value deep inside a JSON file."""

    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def no_object(rows: Any) -> None:
    rows[1] = "person"


def twice(content: Any) -> None:
    content["annotations"][1] = dict(content["annotations"][0])


MPII_ROWS = {
    "a joint is NaN": (setting(1, "joints", 3, value=[float("nan"), 5.0]), "joints", "finite"),
    "a joint is infinite": (setting(1, "joints", 3, value=[1e999, 5.0]), "joints", "finite"),
    "joints are text": (setting(1, "joints", 3, value=["12", "5"]), "joints", "form"),
    "a joint is missing": (setting(1, "joints", value=[[1, 2]] * 15), "joints", "form"),
    "joints are null": (setting(1, "joints", value=None), "joints", "form"),
    "coordinates are no pixels": (setting(1, "joints", 3, value=[3e7, 5.0]), "joints", "farther"),
    "joints are fractions": (setting(1, "joints", value=[[0.5, 0.7]] * 16), "joints", "normalised"),
    "flags are missing": (setting(1, "joints_vis", value=[1, 1]), "joints_vis", "form"),
    "the scale is negative": (setting(1, "scale", value=-0.9), "scale", "form"),
    "the centre has one number": (setting(1, "center", value=[4]), "center", "form"),
    "the image doesn't exist": (setting(1, "image", value="no.jpg"), "image", "does not exist"),
    "the image leads out": (setting(1, "image", value="../../etc/passwd"), "image", "leads out"),
    "the image is absolute": (setting(1, "image", value="/etc/passwd"), "image", "absolute"),
    "the image has backslashes": (setting(1, "image", value="..\\a.jpg"), "image", "characters"),
    "the image has no name": (setting(1, "image", value=None), "image", "no name"),
    "a person is no object": (no_object, "", "no object"),
}


@pytest.mark.parametrize("damage", MPII_ROWS)
def test_a_damaged_person_of_mpii_is_named_and_the_others_survive(mpii_json, damage):
    change, field, what = MPII_ROWS[damage]
    quarantine = Quarantine()
    names = rows_of(MPII, mpii_json(change), quarantine)
    assert names == ["mpii/000000001/0", "mpii/000000003/0"]
    (item,) = quarantine.items
    assert (item.file, item.row, item.field) == ("mpii.json", 1, field)
    assert what in item.what
    assert item.remedy or field == ""


KEYPOINTS = ("annotations", 1, "keypoints")
COCO_ROWS = {
    "v is 3": (setting(*KEYPOINTS, 2, value=3), "keypoints, v", "form"),
    "a keypoint is outside": (setting(*KEYPOINTS, 0, value=400), "keypoints", "outside the image"),
    "50 numbers": (setting(*KEYPOINTS, value=[1] * 50), "keypoints", "form"),
    "the box is negative": (
        setting("annotations", 1, "bbox", value=[60, 15, -80, 195]), "bbox", "no area",
    ),
    "the box is outside": (
        setting("annotations", 1, "bbox", value=[600, 15, 80, 195]), "bbox", "outside the image",
    ),
    "the box is NaN": (
        setting("annotations", 1, "bbox", value=[float("nan"), 1, 2, 3]), "bbox", "not finite",
    ),
    "the image isn't listed": (setting("annotations", 1, "image_id", value=77), "image_id", "77"),
    "the category is a dog": (
        setting("annotations", 1, "category_id", value=18), "category_id", "18",
    ),
    "the same person twice": (twice, "sample_id", "given before"),
    "the image has no width": (setting("images", 1, "width", value=0), "width, height", "form"),
    "the id is missing": (setting("annotations", 1, "id", value=None), "id", "no id"),
    "the image leads out": (
        setting("images", 1, "file_name", value="../x.jpg"), "image", "leads out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", COCO_ROWS)
def test_a_damaged_person_of_coco_is_named_and_the_others_survive(coco_json, damage):
    change, field, what = COCO_ROWS[damage]
    quarantine = Quarantine()
    names = rows_of(COCO, coco_json(change), quarantine)
    assert names == ["coco/11", "coco/13"]
    (item,) = quarantine.items
    assert item.file == "annotations/person_keypoints_train2017.json"
    assert (item.row, item.field) == (1, field)
    assert what in item.what
    assert item.remedy


def odd_flag(joints: Any) -> Any:
    joints[2, 0, 1] = 2
    return joints


def nan_joint(joints: Any) -> Any:
    joints[0, 0, 1] = np.nan
    return joints


@pytest.mark.parametrize(
    ("change", "what"), [(odd_flag, "neither 0 nor 1"), (nan_joint, "not a finite number")]
)
def test_a_damaged_person_of_lsp_is_named_and_the_others_survive(lsp_mat, change, what):
    quarantine = Quarantine()
    assert rows_of(LSP_DATASET, lsp_mat(change), quarantine) == ["lsp/im0001", "lsp/im0003"]
    (item,) = quarantine.items
    assert (item.file, item.row) == ("joints.mat", 1)
    assert what in item.what


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda person: person["annopoints"][3].update(id=16.0), "annorect.annopoints.point.id"),
        (lambda person: person["annopoints"][3].update(id=2.0), "annorect.annopoints.point.id"),
        (lambda person: person.update(scale=0.0), "annorect.scale"),
    ],
)
def test_a_damaged_person_of_the_official_file_is_named(mpii_mat, change, field):
    quarantine = Quarantine()
    names = rows_of(MPII, mpii_mat(change), quarantine)
    assert names == ["mpii/000000001/1", "mpii/000000002/0"]
    (item,) = quarantine.items
    assert (item.row, item.field) == (0, f"annolist.{field}")
    assert item.what.startswith("person 0: ")


def test_an_order_of_another_value_is_named_and_other_people_survive(ordinal_mat):
    def change(half, order):
        if half == "lsp":
            order[1, 0, 1] = 5
        return order

    quarantine = Quarantine()
    assert len(rows_of(ORDINAL, ordinal_mat(change), quarantine)) == 5
    (item,) = quarantine.items
    assert (item.file, item.row, item.field) == ("lsp_dataset_original/ordinal.mat", 1, "ord")


def test_a_half_that_is_damaged_leaves_the_other(ordinal_mat):
    quarantine = Quarantine()
    folder = ordinal_mat(lambda half, order: order[:2] if half == "lsp" else order)
    names = rows_of(ORDINAL, folder, quarantine)
    assert names == [f"ordinal/mpii/{number:05d}" for number in (1, 2, 3)]
    assert "3 people in joints.mat and 2 in ordinal.mat" in quarantine.items[0].what


LABEL = {
    "sample_id": "a", "part": "left_forearm", "label": "F", "annotator": "anna",
    "time": "2024-05-02T09:30:00Z",
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("label", "X", "there is no label X"),
        ("part", "left_wing", "there is no part left_wing"),
        ("time", "yesterday", "yesterday is no time"),
        ("time", "2024-05-02T09:30:00", "no time with a zone"),
        ("annotator", "", "annotator is missing"),
        ("sample_id", 7, "sample_id is missing or no text"),
    ],
)
def test_a_damaged_label_is_named_and_the_others_survive(tmp_path, field, value, what):
    labels = [LABEL, LABEL | {field: value}, LABEL]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"format": "hemlets-fbi", "version": 1, "labels": labels}))
    quarantine = Quarantine()
    assert len(read_labels(path, quarantine)) == 2
    (item,) = quarantine.items
    assert (item.file, item.row, item.field) == ("labels.json", 1, field)
    assert what in item.what
    assert item.remedy


def test_a_label_file_without_its_header_shows_the_one_expected(tmp_path):
    (tmp_path / "labels.csv").write_text("a,left_forearm,F,anna,2024-05-02T09:30:00Z\n")
    with pytest.raises(DataError, match="the header is") as caught:
        read_labels(tmp_path / "labels.csv")
    assert "sample_id,part,label,annotator,time" in str(caught.value)


def test_labels_that_are_no_text_are_refused(tmp_path):
    header = ",".join(LABEL)
    for name, data in (("nul", b"a,\0,F\n"), ("long", b"a" * 200_000), ("latin", b"\xe9,F\n")):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(header.encode() + b"\n" + data)
        quarantine = Quarantine()
        with quarantine.guard(path.name):
            assert not read_labels(path, quarantine)
        assert quarantine.items, name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("dataset", [LSP_DATASET, LSPET_DATASET], ids=lambda one: one.name)
def test_a_cut_matlab_file_is_named(lsp_mat, dataset):
    folder = lsp_mat(extended=dataset is LSPET_DATASET)
    cut(folder / "joints.mat")
    with pytest.raises(DataError, match=r"joints\.mat") as caught:
        list(dataset.read(folder))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda joints: joints.transpose(1, 0, 2), "this is the form of LSPET"),
        (lambda joints: joints.transpose(2, 1, 0), "joints has shape 3 × 14 × 3|3 × 14"),
        (lambda joints: joints[:, :13], "joints has shape 3 × 13 × 4"),
        (lambda joints: joints[..., :0], "joints has shape"),
        (lambda joints: np.array(["left", "right"], object), "type object"),
        (lambda joints: joints.astype(complex) * 1j, "type complex128"),
    ],
    ids=["swapped axes", "people first", "a joint short", "empty", "text", "complex"],
)
def test_an_array_of_another_form_is_named(lsp_mat, change, what):
    people = 4
    with pytest.raises(DataError, match=what) as caught:
        list(LSP_DATASET.read(lsp_mat(change, people=people)))
    assert "joints.mat: joints" in str(caught.value)


def test_a_cut_json_file_leaves_the_files_beside_it(mpii_json):
    folder = mpii_json(name="train")
    (folder / "valid.json").write_text((folder / "train.json").read_text()[:300])
    quarantine = Quarantine()
    assert len(rows_of(MPII, folder, quarantine)) == 3
    (item,) = quarantine.items
    assert item.file == "valid.json"
    assert "not JSON" in item.what


def test_keypoints_in_another_order_are_refused(coco_json):
    def change(content):
        content["categories"][0]["keypoints"] = content["categories"][0]["keypoints"][::-1]

    with pytest.raises(DataError, match="the person's keypoints are") as caught:
        list(COCO.read(coco_json(change)))
    assert "left_eye" in str(caught.value.expected)


def test_without_a_collector_the_first_damage_is_an_error(mpii_json):
    with pytest.raises(DataError, match="does not exist") as caught:
        list(MPII.read(mpii_json(setting(1, "image", value="no.jpg"))))
    assert caught.value.where == "mpii.json, row 1, image"


@pytest.mark.parametrize("dataset", [MPII, LSP_DATASET, COCO, ORDINAL], ids=lambda one: one.name)
def test_an_empty_folder_is_told_what_is_expected(tmp_path, dataset):
    with pytest.raises(DataError, match="missing") as caught:
        list(dataset.read(tmp_path))
    assert "the folder holds: nothing" in str(caught.value)


def test_a_dataset_that_lies_deeper_is_named_with_its_folder(mpii_json):
    root = mpii_json()
    inner = root / "unpacked" / "mpii"
    inner.mkdir(parents=True)
    for name in ("images", "mpii.json"):
        (root / name).rename(inner / name)
    with pytest.raises(DataError, match="missing") as caught:
        list(MPII.read(root))
    assert str(caught.value.remedy).endswith(f"has this layout: {inner}")
