"""COCO keypoints: 17 keypoints of people in stills, of which 13 are among the 18 joints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.files import read_json
from hemlets.data.readers.assemble import no_settings
from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.maps2d import COCO
from hemlets.data.readers.quarantine import Quarantine, or_refuse
from hemlets.data.readers.stills import CHUNK, Stills, images_below, in_folder, numbers, still_rows

Array = npt.NDArray[Any]

DATASET: Final = Dataset(
    name="coco",
    title="COCO keypoints",
    paper="Lin et al., ECCV 2014",
    licence="COCO: Terms of Use (annotations CC BY 4.0, images of Flickr's users)",
    document="COCO data format, section 2: keypoint detection",
    supervision=(Supervision.JOINTS_2D,),
    layout=(
        LayoutEntry(
            pattern="annotations/person_keypoints*.json|person_keypoints*.json",
            what="annotations, e.g. person_keypoints_train2017.json",
        ),
        LayoutEntry(
            pattern="train2017/*.jpg|val2017/*.jpg|train2014/*.jpg|val2014/*.jpg"
            "|images/*.jpg|images/*/*.jpg|*.jpg",
            what="the images, in folders named like the annotations, in images or beside them",
        ),
    ),
    joints="nose, shoulders, elbows, wrists, hips, knees and ankles; eyes and ears are not among "
    "the 18. Pelvis, thorax, neck, spine and head top are not annotated, and middles of other "
    "joints are not put in their place",
    conventions="keypoints name pixels from 0, so 0.5 is added to reach a pixel's centre counted "
    "from the corner; boxes are left, top, width, height from the corner. v=0: not annotated, "
    "v=1: hidden, v=2: seen",
    faults=(
        "crowd boxes (iscrowd) hold no single person: left out",
        "half of the people have no keypoint: left out",
        "boxes reach past the image by rounding: cut at its edge",
    ),
    reader="hemlets.data.readers.coco:read",
)

_PERSON: Final = 1


def read(
    root: Path, options: ReadOptions, quarantine: Quarantine | None = None
) -> Iterator[SourceRows]:
    """Rows of COCO, a file after the other.

    Files named after val are the test split, as is usual where COCO scores; others train.

    Raises:
        ConfigError: COCO has no settings.
        DataError: A file that can't be read, or without a collector the first bad row.
    """
    no_settings(options)
    collector = or_refuse(quarantine)
    taken: set[str] = set()
    pattern = "person_keypoints*.json"
    for path in sorted([*root.glob(f"annotations/{pattern}"), *root.glob(pattern)]):
        split = "test" if "val" in path.stem else "train"
        if split in options.splits:
            with collector.guard(path.relative_to(root).as_posix()):
                yield from _file_rows(path, root, split, collector, taken)


def _file_rows(
    path: Path, root: Path, split: str, quarantine: Quarantine, taken: set[str]
) -> Iterator[SourceRows]:
    file = path.relative_to(root).as_posix()
    content = read_json(path)
    parts = content if isinstance(content, dict) else {}
    images, people = parts.get("images"), parts.get("annotations")
    if not isinstance(images, list) or not isinstance(people, list):
        raise DataError(
            "the file has no lists of images and annotations",
            where=path,
            expected="COCO's form: images, annotations and categories",
            remedy="check that this is a person_keypoints file",
        )
    _check_names(parts.get("categories"), path)
    folder = _image_folder(root, path.stem.removeprefix("person_keypoints").strip("_"))
    present = images_below(root, folder)
    by_id = {
        image["id"]: image
        for image in images
        if isinstance(image, dict) and _is_id(image.get("id"))
    }
    for start in range(0, len(people), CHUNK):
        chunk = _sound_entries(people, start, file, by_id, quarantine)
        if chunk:
            stills = _stills(chunk, by_id, file=file, folder=folder, split=split, bad=quarantine)
            rows = still_rows(stills, quarantine, present=present, taken=taken)
            if rows is not None:
                yield rows


def _has_id(image: object) -> bool:
    return isinstance(image, dict) and _is_id(image.get("id"))


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _check_names(categories: object, path: Path) -> None:
    """Make sure that the keypoints come in the order that they are read in."""
    for category in categories if isinstance(categories, list) else ():
        if isinstance(category, dict) and category.get("id") == _PERSON:
            names = category.get("keypoints")
            if names is not None and names != list(COCO.names):
                raise DataError(
                    f"the person's keypoints are {names}",
                    where=f"{path}: categories",
                    expected=", ".join(COCO.names),
                    remedy="bring the keypoints into COCO's order",
                )


def _image_folder(root: Path, stem: str) -> str:
    """Where the images of an annotation file lie; beside it where no folder is found."""
    folders = [f"{stem}/", f"images/{stem}/"] if stem else []
    return next((name for name in [*folders, "images/"] if (root / name).is_dir()), "")


def _sound_entries(
    people: Sequence[Any], start: int, file: str, by_id: dict[Any, Any], quarantine: Quarantine
) -> list[tuple[int, dict[str, Any]]]:
    chunk = []
    for row, person in enumerate(people[start : start + CHUNK], start):
        if not isinstance(person, dict):
            quarantine.report("an annotation is no object", file=file, row=row)
        elif person.get("iscrowd") or person.get("num_keypoints") == 0:
            continue
        elif person.get("category_id", _PERSON) != _PERSON:
            quarantine.report(
                f"the category {person['category_id']} is no person", file=file, row=row,
                field="category_id", remedy="keep to category 1, person",
            )  # fmt: skip
        elif not _is_id(person.get("id")):
            quarantine.report(
                "the annotation has no id", file=file, row=row, field="id", remedy="give it one"
            )
        elif not _is_id(person.get("image_id")) or person["image_id"] not in by_id:
            quarantine.report(
                f"the image {person.get('image_id')} is not among the images", file=file, row=row,
                field="image_id", remedy="add the image's entry, or remove the annotation",
            )  # fmt: skip
        else:
            chunk.append((row, person))
    return chunk


def _stills(
    chunk: list[tuple[int, dict[str, Any]]],
    by_id: dict[Any, Any],
    *,
    file: str,
    folder: str,
    split: str,
    bad: Quarantine,
) -> Stills:
    number = np.array([row for row, _ in chunk])
    people = [person for _, person in chunk]
    images = [by_id[person["image_id"]] for person in people]
    keypoints, bad_points = numbers([p.get("keypoints") for p in people], 3 * COCO.size)
    boxes, bad_boxes = numbers([p.get("bbox") for p in people], 4)
    sizes, bad_sizes = numbers([[i.get("width"), i.get("height")] for i in images], 2)
    bad_sizes |= ~(sizes > 0).all(1)
    points = keypoints.reshape(-1, COCO.size, 3)
    odd_flags = ~bad_points & ~np.isin(points[..., 2], (0, 1, 2)).all(1)
    for bad_N, name, expected in (
        (bad_points, "keypoints", "51 numbers: x, y, v of 17 keypoints"),
        (odd_flags, "keypoints, v", "0, 1 or 2"),
        (bad_boxes, "bbox", "4 numbers: left, top, width, height"),
        (bad_sizes, "width, height", "2 numbers above 0 in the image's entry"),
    ):
        bad.rows(
            bad_N, f"{name} is missing or of another form", file=file, number_N=number,
            field=name, remedy=f"give {expected}",
        )  # fmt: skip
    good = np.flatnonzero(~(bad_points | odd_flags | bad_boxes | bad_sizes))
    names = [images[row].get("file_name") for row in good]
    flags = points[good][..., 2]
    ids = [f"{DATASET.name}/{people[row]['id']}" for row in good]
    return Stills(
        source=DATASET.name,
        file=file,
        number_N=number[good],
        sample_ids=ids,
        split=[split] * len(good),
        clips=[f"{DATASET.name}/{images[row]['id']}" for row in good],
        images=[in_folder(folder, name) for name in names],
        joints_NS2=points[good][..., :2] + 0.5,
        known_NS=flags > 0,
        seen_NS=flags == 2,
        joint_map=COCO,
        joints_field="keypoints",
        box_xyxy_N4=np.concatenate(
            [boxes[good][:, :2], boxes[good][:, :2] + boxes[good][:, 2:]], axis=1
        ),
        size_N2=sizes[good],
    )
