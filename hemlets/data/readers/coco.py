"""COCO keypoints: people in stills, from COCO itself and from tools that export its form.

Rules by which files, people, keypoints and images are paired:

- Annotation files are ``person_keypoints*.json``; where there is none, ``_annotations.coco.json``
  (Roboflow); where there is none, every other JSON file except COCO's own without keypoints.
- The split is a whole word of the file's name, or of Roboflow's folder: train, val, test.
- A category is a person if it is named so or names keypoints of a person.
- Keypoints are paired by whole name (`hemlets.data.readers.coco_names`).
- An image is looked up below the folder named like the file, ``images``, the file's own folder
  and the dataset's; then its name may be the end of exactly one path (`ImageFinder`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.errors import DataError
from hemlets.core.files import read_json
from hemlets.data.readers.coco_names import person_categories
from hemlets.data.readers.contract import (
    ANY_IMAGE,
    Dataset,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.image_names import ImageFinder
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.split_names import named_splits
from hemlets.data.readers.stills import CHUNK, Stills, image_fault, numbers, still_rows

DATASET: Final = Dataset(
    name="coco",
    title="COCO keypoints",
    paper="Lin et al., ECCV 2014",
    licence="COCO: Terms of Use (annotations CC BY 4.0, images of Flickr's users)",
    document="COCO data format, section 2: keypoint detection",
    supervision=(Supervision.JOINTS_2D,),
    layout=(
        LayoutEntry(
            pattern="annotations/person_keypoints*.json|person_keypoints*.json"
            "|*/_annotations.coco.json|_annotations.coco.json|annotations/*.json|*.json",
            what="annotations in COCO's form, e.g. annotations/person_keypoints_train2017.json, "
            "Roboflow's train/_annotations.coco.json or Label Studio's result.json",
        ),
        LayoutEntry(
            pattern=ANY_IMAGE,
            what="the images, in folders named like the annotations, in images or beside them",
        ),
    ),
    joints="nose, shoulders, elbows, wrists, hips, knees and ankles; eyes and ears are not among "
    "the 18. Pelvis, thorax, neck, spine and head top are not annotated, and middles of other "
    "joints are not put in their place. Other keypoints are taken by their names",
    conventions="keypoints name pixels from 0, so 0.5 is added to reach a pixel's centre counted "
    "from the corner; boxes are left, top, width, height from the corner. v=0: not annotated, "
    "v=1: hidden, v=2: seen. Files named val are the test split, unless another is named test",
    faults=(
        "crowd boxes (iscrowd) hold no single person: left out",
        "half of the people have no keypoint: left out",
        "boxes reach past the image by rounding: cut at its edge",
    ),
    reader="hemlets.data.readers.coco:read",
)

_WITHOUT_KEYPOINTS: Final = ("instances_", "captions_", "stuff_", "panoptic_", "image_info_")
_ROBOFLOW: Final = "_annotations.coco"
_AUGMENTED: Final = re.compile(r"\.rf\.\w+(?=\.\w+$)")
_PIXELS: Final = 1.5
"""A larger coordinate is in pixels."""

_BEYOND: Final = 1.05
"""Largest overrun of a box over the image's side; rounding exceeds the edge by less."""


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of COCO, file by file."""
    known = _Known(root)
    files = _annotation_files(root)
    splits = {path: _split_of(path, root, quarantine) for path in files}
    has_test = "test" in splits.values()
    for path, named in splits.items():
        if named is None:
            continue
        # COCO scores on val, whose annotations are public.
        split = "test" if named == "validation" and not has_test else named
        if split not in options.splits:
            quarantine.skip_split("file", split)
            continue
        with quarantine.guard(path.relative_to(root).as_posix()):
            yield from _file_rows(path, root, split, quarantine, known)


def _annotation_files(root: Path) -> list[Path]:
    """List the annotation files of a folder by the rules above."""
    for patterns in (
        ("annotations/person_keypoints*.json", "person_keypoints*.json"),
        (f"*/{_ROBOFLOW}.json", f"{_ROBOFLOW}.json"),
        ("annotations/*.json", "*.json"),
    ):
        found = sorted(path for pattern in patterns for path in root.glob(pattern))
        if found:
            return [path for path in found if not path.name.startswith(_WITHOUT_KEYPOINTS)]
    return []


def _label(path: Path) -> str:
    """Return the label of an annotation file's part of the data, e.g. ``train2017``."""
    if path.stem == _ROBOFLOW:
        return path.parent.name
    return path.stem.removeprefix("person_keypoints").strip("_")


def _split_of(path: Path, root: Path, quarantine: Quarantine) -> str | None:
    """Return the split in a file's name, train without one; None if it names two."""
    found = named_splits(_label(path))
    if len(found) > 1:
        quarantine.report(
            f"the file's name says {' and '.join(found)}",
            file=path.relative_to(root).as_posix(),
            remedy="name the file after one split: train, val or test",
        )
        return None
    return found[0] if found else "train"


@dataclass
class _Known:
    """Names in earlier files: equal ids of two files may be different people."""

    root: Path
    samples: set[str] = field(default_factory=set)
    clips: dict[str, str] = field(default_factory=dict)
    """The image of each clip."""
    by_image: dict[str, str] = field(default_factory=dict)
    """The clip of each image: one image under two ids must not get into two splits."""

    def sample(self, person: object, label: str, earlier: frozenset[str]) -> str:
        """Name a sample by its id, prefixed by the file's label if an earlier file has the id."""
        name = f"{DATASET.name}/{person}"
        return f"{DATASET.name}/{label}/{person}" if name in earlier else name

    def clip(self, image_id: object, path: str, label: str) -> str:
        """Name an image's clip by the same rule; one image has one clip.

        Roboflow's augmented copies of an image (``NAME.rf.HASH.jpg``) are one image.
        """
        path = _AUGMENTED.sub("", path)
        name = f"{DATASET.name}/{image_id}"
        if self.clips.setdefault(name, path) != path:
            name = f"{DATASET.name}/{label}/{image_id}"
        return self.by_image.setdefault(path, name)


def _file_rows(
    path: Path, root: Path, split: str, quarantine: Quarantine, known: _Known
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
    maps = person_categories(parts.get("categories"), path)
    label = _label(path)
    own = path.parent.relative_to(root).as_posix()
    folders = (label, f"images/{label}", "images", own) if label else ("images", own)
    by_id = _images_by_id(images, file, quarantine)
    part = _Part(
        file=file, label=label, split=split, by_id=by_id, finder=ImageFinder(root, folders),
        known=known, earlier=frozenset(known.samples), quarantine=quarantine,
    )  # fmt: skip
    usual = next(iter(maps))
    for start in range(0, len(people), CHUNK):
        chunk = _sound_entries(people, start, part, maps)
        for category, joint_map in maps.items():
            alike = [
                (row, person) for row, person in chunk
                if person.get("category_id", usual) == category
            ]  # fmt: skip
            if alike:
                stills = part.stills(alike, joint_map)
                present = frozenset(part.present)
                yield from still_rows(stills, quarantine, present=present, taken=known.samples)


def _images_by_id(
    images: Sequence[Any], file: str, quarantine: Quarantine
) -> dict[Any, Mapping[str, Any]]:
    """Entries by id; an id of two files is left out, since its people may be in either."""
    by_id: dict[Any, Mapping[str, Any]] = {}
    ambiguous = set()
    for row, image in enumerate(images):
        if not isinstance(image, dict) or not _is_id(image.get("id")):
            continue
        known = by_id.setdefault(image["id"], image)
        one, other = known.get("file_name"), image.get("file_name")
        if known is image:
            continue
        if one == other:
            quarantine.skip("an image that is listed twice")
            continue
        ambiguous.add(image["id"])
        quarantine.report(
            f"the image {image['id']} is two files: {one} and {other}", file=file, row=row,
            field="images", remedy="give each image an id of its own",
        )  # fmt: skip
    return {key: image for key, image in by_id.items() if key not in ambiguous}


def _are_corners(boxes_N4: Array, points_NK3: Array, sizes_N2: Array) -> Bool:
    """Mark boxes that hold the person only if read as two corners instead of corner and size."""
    with np.errstate(invalid="ignore"):
        low, high = boxes_N4[:, :2], boxes_N4[:, 2:]
        beyond = (low + high > _BEYOND * sizes_N2).any(1)
        inside = (high > low).all(1) & (high <= sizes_N2 + 1).all(1)
        known_NK = points_NK3[..., 2] > 0
        held_NK = (points_NK3[..., :2] >= low[:, None]) & (points_NK3[..., :2] <= high[:, None])
        return np.asarray(beyond & inside & (held_NK.all(-1) | ~known_NK).all(1))


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _sound_entries(
    people: Sequence[Any], start: int, part: _Part, maps: Mapping[Any, JointMap]
) -> list[tuple[int, dict[str, Any]]]:
    chunk = []
    file, quarantine = part.file, part.quarantine
    for row, person in enumerate(people[start : start + CHUNK], start):
        if not isinstance(person, dict):
            quarantine.report("an annotation is no object", file=file, row=row)
        elif person.get("iscrowd"):
            quarantine.skip("crowd, whose box holds no single person")
        elif person.get("num_keypoints") == 0:
            quarantine.skip("person without keypoints")
        elif "category_id" in person and not _is_among(person["category_id"], maps):
            named = ", ".join(map(str, maps))
            quarantine.report(
                f"the category {person['category_id']} is no person", file=file, row=row,
                field="category_id", remedy=f"keep to the category of people: {named}",
            )  # fmt: skip
        elif not _is_id(person.get("id")):
            quarantine.report(
                "the annotation has no id", file=file, row=row, field="id", remedy="give it one"
            )
        elif not _is_id(person.get("image_id")) or person["image_id"] not in part.by_id:
            quarantine.report(
                f"the image {person.get('image_id')} is not among the images", file=file, row=row,
                field="image_id", remedy="add the image's entry, or remove the annotation",
            )  # fmt: skip
        elif (twin := part.twin_of(person)) is not None:
            quarantine.report(
                f"the person is annotated twice, with the ids {twin} and {person['id']}",
                file=file, row=row, field="id", remedy="remove one of the two annotations",
            )  # fmt: skip
        else:
            chunk.append((row, person))
    return chunk


def _is_among(category: object, maps: Mapping[Any, JointMap]) -> bool:
    return _is_id(category) and category in maps


@dataclass(kw_only=True)
class _Part:
    """One annotation file in reading.

    Attributes:
        file, label, split: Its name, its label of the data, and its split.
        by_id: Entries of its images.
        finder: Looks up images.
        known, earlier: Names used so far, and before this file.
        quarantine: Gets people that can't be used.
        paths: Path of each image that was looked up, by id.
        present: Those that exist.
        people: Id of each person, by a hash of image, keypoints and box.
    """

    file: str
    label: str
    split: str
    by_id: Mapping[Any, Mapping[str, Any]]
    finder: ImageFinder
    known: _Known
    earlier: frozenset[str]
    quarantine: Quarantine
    paths: dict[Any, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    people: dict[int, Any] = field(default_factory=dict)

    def twin_of(self, person: Mapping[str, Any]) -> Any:
        """Another id of the same keypoints and box in the same image; None if there is none."""
        values = (person["image_id"], person.get("keypoints"), person.get("bbox"))
        first = self.people.setdefault(hash(repr(values)), person["id"])
        return None if first == person["id"] else first

    def path_of(self, image_id: Any) -> str:
        """Return an image's path; a faulty name is returned unchanged, to be refused later.

        Raises:
            DataError: Several images have the name.
        """
        if image_id not in self.paths:
            name = self.by_id[image_id].get("file_name")
            text = name if isinstance(name, str) else ""
            # Tools on Windows write its separator.
            text = text if "/" in text else text.replace("\\", "/")
            path = text if image_fault(text) else self.finder.find(text.removeprefix("./"))
            self.paths[image_id] = path
            if not image_fault(text) and self.finder.exists(path):
                self.present.add(path)
        return self.paths[image_id]

    def stills(self, chunk: list[tuple[int, dict[str, Any]]], joint_map: JointMap) -> Stills:
        """Convert people of one category; malformed ones go to the quarantine."""
        number = np.array([row for row, _ in chunk])
        people = [person for _, person in chunk]
        entries = [self.by_id[person["image_id"]] for person in people]
        count = joint_map.size
        keypoints, bad_points = numbers([p.get("keypoints") for p in people], 3 * count)
        boxes, bad_boxes = numbers([p.get("bbox") for p in people], 4)
        sizes, bad_sizes = numbers([[i.get("width"), i.get("height")] for i in entries], 2)
        bad_sizes |= ~(sizes > 0).all(1)
        points = keypoints.reshape(-1, count, 3)
        odd_flags = ~bad_points & ~np.isin(points[..., 2], (0, 1, 2)).all(1)
        for bad_N, name, expected in (
            (bad_points, "keypoints", f"{3 * count} numbers: x, y, v of {count} keypoints"),
            (odd_flags, "keypoints, v", "0, 1 or 2"),
            (bad_boxes, "bbox", "4 numbers: left, top, width, height"),
            (bad_sizes, "width, height", "2 numbers above 0 in the image's entry"),
        ):
            self.quarantine.rows(
                bad_N, f"{name} is missing or of another form", file=self.file, number_N=number,
                field=name, remedy=f"give {expected}",
            )  # fmt: skip
        marked_NK = (points[..., 2] > 0) & (points[..., :2] == 0).all(-1)
        at_zero = ~bad_points & marked_NK.any(1) & (points[..., :2] > _PIXELS).any((1, 2))
        self.quarantine.rows(
            at_zero, "a keypoint at 0, 0 is marked as annotated", file=self.file, number_N=number,
            field="keypoints, v", remedy="set v of keypoints without a place to 0",
        )  # fmt: skip
        sound = ~(at_zero | bad_points | odd_flags | bad_boxes | bad_sizes)
        corners = sound & _are_corners(boxes, points, sizes)
        self.quarantine.rows(
            corners, "the box looks like left, top, right, bottom", file=self.file,
            number_N=number, field="bbox", remedy="give left, top, width, height",
        )  # fmt: skip
        good: list[int] = np.flatnonzero(sound & ~corners).tolist()
        good = [row for row in good if self._is_found(int(number[row]), people[row])]
        paths = [self.path_of(people[row]["image_id"]) for row in good]
        flags = points[good][..., 2]
        corner = boxes[good][:, :2]
        return Stills(
            source=DATASET.name,
            file=self.file,
            number_N=number[good],
            sample_ids=[
                self.known.sample(people[row]["id"], self.label, self.earlier) for row in good
            ],
            split=[self.split] * len(good),
            clips=[
                self.known.clip(people[row]["image_id"], path, self.label)
                for row, path in zip(good, paths, strict=True)
            ],
            images=paths,
            joints_NS2=points[good][..., :2] + 0.5,
            known_NS=flags > 0,
            seen_NS=flags == 2,
            joint_map=joint_map,
            joints_field="keypoints",
            box_xyxy_N4=np.concatenate([corner, corner + boxes[good][:, 2:]], axis=1),
            size_N2=sizes[good],
        )

    def _is_found(self, row: int, person: Mapping[str, Any]) -> bool:
        try:
            self.path_of(person["image_id"])
        except DataError as error:
            self.quarantine.report(
                error.what, file=self.file, row=row, field="image", remedy=error.remedy or ""
            )
            return False
        return True
