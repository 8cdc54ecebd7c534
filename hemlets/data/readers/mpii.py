"""MPII Human Pose: 16 joints of people in stills from videos.

Read from the official MATLAB file or from the JSON derived from it. Both count pixels from 1, as
MATLAB does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import read_json
from hemlets.data.readers.boxes import from_centre_scale
from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.files3d import read_mat, require
from hemlets.data.readers.maps2d import MPII
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.split_names import named_splits
from hemlets.data.readers.stills import (
    CHUNK,
    Stills,
    image_folder,
    images_below,
    in_folder,
    numbers,
    still_rows,
)

DATASET: Final = Dataset(
    name="mpii",
    title="MPII Human Pose",
    paper="Andriluka et al., CVPR 2014",
    licence="MPII Human Pose Dataset: licence (simplified BSD for the annotations)",
    document="README.md of mpii_human_pose_v1_u12_1",
    supervision=(Supervision.JOINTS_2D,),
    layout=(
        LayoutEntry(
            pattern="mpii_human_pose_v1_u12_1.mat|*/mpii_human_pose_v1_u12_1.mat"
            "|annot/*.json|*.json",
            what="annotations: the official MATLAB file, or the common JSON (train.json, "
            "valid.json, or one file of any name)",
        ),
        LayoutEntry(
            pattern="images/*.jpg|*.jpg|images/*.png|*.png",
            what="the images, in a folder or beside the annotations",
        ),
    ),
    joints="all 16 by name: ankles, knees, hips, pelvis, thorax, upper neck (neck), head top, "
    "wrists, elbows, shoulders; spine and nose are not annotated",
    conventions="pixels count from 1 and name a pixel's centre: 0.5 is taken off to count from "
    "the corner. A person's box goes around the joints; with the setting box=scale it is the "
    "square of 200·scale pixels around the person's middle (center or objpos), in which the "
    "scale is a person's height in units of 200 pixels. PCKh's reference length is 0.6 of the "
    "diagonal of the head's rectangle, which the JSON lacks (0 there).",
    faults=(
        "people of the test images have no joints (they are withheld): left out",
        "is_visible is empty for many head points: they count as seen",
        "the JSON does not mark hidden joints: all annotated joints count as visible",
        "several images come from one video: clips are named by the video where the MATLAB file "
        "has it, so that splits can be made by video; the JSON lacks it",
    ),
    reader="hemlets.data.readers.mpii:read",
    settings=("box",),
)

_MAT: Final = "mpii_human_pose_v1_u12_1.mat"
_CORNER: Final = 0.5
"""Coordinate of a pixel's centre counted from 1, minus that counted from the corner."""

_HEAD_SHARE: Final = 0.6
"""Share of the head rectangle's diagonal: the official evaluation's reference length."""

_WITHHELD: Final = "image of the test set, whose joints are not published"
_BOXES: Final = ("joints", "scale")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of MPII from the MATLAB file if it exists, else from the JSON files.

    Settings: ``box`` is ``joints`` (default) or ``scale``.
    """
    _check_settings(options)
    images = image_folder(root, "images", ".")
    present = images_below(root, images)
    taken: set[str] = set()
    mats = [path for path in (root / _MAT, *sorted(root.glob(f"*/{_MAT}"))) if path.exists()]
    batches = (
        _mat_people(mats[0], root, images, quarantine)
        if mats
        else _json_people(root, images, quarantine)
    )
    scale_box = options.settings.get("box", "joints") == "scale"
    for people in batches:
        if people.split not in options.splits:
            quarantine.skip_split("person", people.split, len(people))
            continue
        yield from still_rows(
            people.stills(scale_box=scale_box), quarantine, present=present, taken=taken
        )


def _check_settings(options: ReadOptions) -> None:
    if options.settings.get("box", "joints") not in _BOXES:
        raise ConfigError(
            f"box is {options.settings['box']}", where="setting box", expected=" or ".join(_BOXES)
        )


@dataclass(kw_only=True)
class _People:
    """People of one split, from either form: pixels counted from 1."""

    file: str
    split: str
    number: list[int] = field(default_factory=list)
    sample_id: list[str] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    clip: list[str] = field(default_factory=list)
    action: list[str] = field(default_factory=list)
    joints: list[Any] = field(default_factory=list)
    known: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    centre: list[Any] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    head_px: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.number)

    def stills(self, *, scale_box: bool) -> Stills:
        """Convert to `Stills`, with pixels counted from the corner."""
        box = None
        if scale_box:
            centre = np.array(self.centre, np.float64).reshape(-1, 2) - _CORNER
            box = from_centre_scale(centre, np.array(self.scale, np.float64))
        return Stills(
            source=DATASET.name,
            file=self.file,
            number_N=np.array(self.number),
            sample_ids=self.sample_id,
            split=[self.split] * len(self),
            clips=self.clip,
            images=self.image,
            joints_NS2=np.array(self.joints, np.float64).reshape(-1, MPII.size, 2) - _CORNER,
            known_NS=np.array(self.known, bool).reshape(-1, MPII.size),
            seen_NS=np.array(self.seen, bool).reshape(-1, MPII.size),
            joint_map=MPII,
            joints_field="joints",
            box_xyxy_N4=box,
            box_field="scale, center",
            columns={
                "head_px": np.array(self.head_px, np.float32),
                "action": self.action,
            },
        )


def _json_people(root: Path, images: str, quarantine: Quarantine) -> Iterator[_People]:
    files = sorted([*root.glob("annot/*.json"), *root.glob("*.json")])
    names = {path.stem for path in files}
    for path in files:
        # trainval repeats train and valid.
        if path.stem == "trainval" and {"train", "valid"} <= names:
            continue
        with quarantine.guard(path.relative_to(root).as_posix()):
            yield from _json_file(path, root, images, quarantine)


def _json_file(path: Path, root: Path, images: str, quarantine: Quarantine) -> Iterator[_People]:
    entries = read_json(path)
    file = path.relative_to(root).as_posix()
    if not isinstance(entries, list):
        raise DataError(
            "the annotations are no list of people",
            where=path,
            expected="a list of objects with joints, joints_vis, center, scale and image",
        )
    splits = named_splits(path.stem)
    if len(splits) > 1:
        raise DataError(
            f"the file's name says {' and '.join(splits)}",
            where=path,
            remedy="name the file after one split: train, valid or test",
        )
    split = splits[0] if splits else "train"
    persons: Counter[str] = Counter()
    for start in range(0, len(entries), CHUNK):
        chunk = []
        for row, entry in enumerate(entries[start : start + CHUNK], start):
            if not isinstance(entry, dict):
                quarantine.report("a person is no object", file=file, row=row)
            elif "joints" in entry or split != "test":
                chunk.append((row, entry))
            else:
                quarantine.skip(_WITHHELD)
        yield _json_chunk(chunk, file, split, images, persons, quarantine)


def _json_chunk(
    chunk: list[tuple[int, dict[str, Any]]],
    file: str,
    split: str,
    images: str,
    persons: Counter[str],
    quarantine: Quarantine,
) -> _People:
    entries = [entry for _, entry in chunk]
    number = np.array([row for row, _ in chunk], int)
    joints, bad_joints = numbers([entry.get("joints") for entry in entries], MPII.size, 2)
    flags, bad_flags = numbers([entry.get("joints_vis") for entry in entries], MPII.size)
    centre, bad_centre = numbers([entry.get("center") for entry in entries], 2)
    scale, bad_scale = numbers([entry.get("scale") for entry in entries])
    bad_scale |= ~(np.isfinite(scale) & (scale > 0))
    for bad, name, expected in (
        (bad_joints, "joints", "16 pairs of numbers"),
        (bad_flags, "joints_vis", "16 numbers, 0 or 1"),
        (bad_centre, "center", "2 numbers"),
        (bad_scale, "scale", "a number above 0"),
    ):
        quarantine.rows(
            bad, f"{name} is missing or of another form", file=file, number_N=number, field=name,
            remedy=f"give {expected}",
        )  # fmt: skip
    bad_N = bad_joints | bad_flags | bad_centre | bad_scale
    # A joint that isn't annotated is at -1, or at 0 in older files.
    placed = ~((joints == -1).all(-1) | (joints == 0).all(-1))
    people = _People(file=file, split=split)
    for index, entry in enumerate(entries):
        given = entry.get("image")
        name = given if isinstance(given, str) else ""
        person = persons[name]
        persons[name] += 1
        if bad_N[index]:
            continue
        stem = name.rpartition(".")[0] or name
        people.number.append(int(number[index]))
        people.sample_id.append(f"{DATASET.name}/{stem}/{person}")
        people.image.append(in_folder(images, name))
        people.clip.append(f"{DATASET.name}/{stem}")
        people.action.append("")
        people.joints.append(joints[index])
        people.known.append((flags[index] > 0) & placed[index])
        people.seen.append(flags[index] > 0)
        people.centre.append(centre[index])
        people.scale.append(float(scale[index]))
        people.head_px.append(0.0)
    return people


def _mat_people(path: Path, root: Path, images: str, quarantine: Quarantine) -> Iterator[_People]:
    file = path.relative_to(root).as_posix()
    content = read_mat(path)
    require(content, ("RELEASE",), where=path)
    release = np.ravel(content["RELEASE"])
    annolist = np.ravel(_get(release[0] if len(release) else None, "annolist"))
    train = np.ravel(_get(release[0], "img_train")) if len(annolist) else np.zeros(0)
    if not len(annolist) or len(train) != len(annolist):
        raise DataError.damaged(
            f"RELEASE has {len(annolist)} images in annolist and {len(train)} in img_train",
            path,
            "as many of the one as of the other, as in mpii_human_pose_v1_u12_1.mat",
        )
    acts = np.ravel(_get(release[0], "act"))
    people = _People(file=file, split="train")
    for row, entry in enumerate(annolist):
        if not train[row]:
            quarantine.skip(_WITHHELD)
            continue
        act = acts[row] if len(acts) == len(annolist) else None
        for person, rect in enumerate(np.ravel(_get(entry, "annorect"))):
            try:
                if not _add_mat_person(people, entry, rect, act, row, person, images):
                    quarantine.skip("person without joints")
            except _FaultError as fault:
                quarantine.report(
                    f"person {person}: {fault.what}", file=file, row=row,
                    field=f"annolist.{fault.field}", remedy="correct the person, or remove it",
                )  # fmt: skip
        if len(people) >= CHUNK:
            yield people
            people = _People(file=file, split="train")
    if len(people):
        yield people


class _FaultError(Exception):
    """Fault of a damaged person, and its field."""

    def __init__(self, what: str, field: str) -> None:
        super().__init__(what)
        self.what, self.field = what, field


def _get(struct: Any, name: str) -> Any:
    """Return a struct's field; an empty array where there is none."""
    names = getattr(getattr(struct, "dtype", None), "names", None) or ()
    return struct[name] if name in names else np.zeros(0)


def _number(struct: Any, name: str) -> float:
    """Return a struct's field as one number; NaN where it is not one number."""
    value = np.ravel(_get(struct, name))
    return float(value[0]) if len(value) == 1 and value.dtype.kind in "fiub" else np.nan


def _text(struct: Any, name: str) -> str:
    value = np.ravel(_get(struct, name))
    return str(value[0]) if len(value) == 1 and value.dtype.kind == "U" else ""


def _inner(struct: Any, name: str) -> Any:
    value = np.ravel(_get(struct, name))
    return value[0] if len(value) else None


def _add_mat_person(
    people: _People, entry: Any, rect: Any, act: Any, row: int, person: int, images: str
) -> bool:
    """Add one person; return False where it has no joints.

    Raises:
        _FaultError: The person is damaged.
    """
    points = np.ravel(_get(_inner(rect, "annopoints"), "point"))
    if not len(points):
        return False
    joints = np.zeros((MPII.size, 2))
    known, seen = np.zeros(MPII.size, bool), np.zeros(MPII.size, bool)
    for point in points:
        number = _number(point, "id")
        if not (0 <= number < MPII.size and number == int(number)):
            raise _FaultError(f"a joint has id {number}", "annorect.annopoints.point.id")
        joint = int(number)
        if known[joint]:
            raise _FaultError(f"joint {joint} is given twice", "annorect.annopoints.point.id")
        joints[joint] = _number(point, "x"), _number(point, "y")
        known[joint] = True
        seen[joint] = _is_seen(_get(point, "is_visible"))
    scale = _number(rect, "scale")
    objpos = _inner(rect, "objpos")
    if scale <= 0:
        raise _FaultError(f"the scale is {scale}", "annorect.scale")
    name = _text(_inner(entry, "image"), "name")
    stem = name.rpartition(".")[0] or name
    video = _number(entry, "vididx")
    corners = [_number(rect, corner) for corner in ("x1", "y1", "x2", "y2")]
    diagonal = float(np.hypot(corners[2] - corners[0], corners[3] - corners[1]))
    people.number.append(row)
    people.sample_id.append(f"{DATASET.name}/{stem}/{person}")
    people.image.append(in_folder(images, name))
    people.clip.append(
        f"{DATASET.name}/{stem}" if not np.isfinite(video) else f"{DATASET.name}/video-{int(video)}"
    )
    people.action.append(_text(act, "act_name"))
    people.joints.append(joints)
    people.known.append(known)
    people.seen.append(seen)
    people.centre.append((_number(objpos, "x"), _number(objpos, "y")))
    people.scale.append(scale)
    people.head_px.append(_HEAD_SHARE * diagonal if np.isfinite(diagonal) else 0.0)
    return True


def _is_seen(flag: Any) -> bool:
    """Whether a joint is visible: the flag is a number, a digit as text, or empty (head)."""
    value = np.ravel(flag)
    return not len(value) or str(value[0]).strip() not in ("0", "0.0", "False")
