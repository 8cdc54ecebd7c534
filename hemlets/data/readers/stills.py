"""Turn annotated people in stills into checked rows.

A reader fills `Stills` with the values of its file, converted to pixels from the image's corner;
`still_rows` leaves implausible people out and makes rows of the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array, Bool
from hemlets.core.errors import DataError
from hemlets.data.readers.boxes import from_joints
from hemlets.data.readers.contract import ImageRef, SourceRows
from hemlets.data.readers.joint_map import JointMap
from hemlets.data.readers.quarantine import Quarantine

CHUNK: Final = 4096
"""Rows in a batch."""

_LARGEST_PX: Final = 1e5
"""Largest image side; a larger coordinate is not in pixels."""

_TINY_PX: Final = 20.0
"""In images up to this side, joints within one pixel are plausible."""

_NORMALISED: Final = 1.5
"""Largest coordinate that is taken for a fraction: half a pixel may have been added to it."""

_EDGE_PX: Final = 1.0
"""Annotations may lie this far outside the image."""

_FEWEST_JOINTS: Final = 2
"""Fewest joints that give a box."""


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Annotated people of a file, not yet checked.

    Attributes:
        source: The dataset's name in the table.
        file: The people's file, for messages.
        number_N: Row numbers in the file.
        sample_ids: Unique names.
        split: Split of each row.
        clips: Clip of each row: rows of one clip never go to different splits.
        images: Paths relative to the dataset's folder.
        joints_NS2: Joints in the dataset's order, pixels with the origin at the corner.
        known_NS: Mask of annotated joints.
        seen_NS: Mask of annotated joints that are not hidden.
        joint_map: Map from the dataset's joints.
        joints_field: Name of the joints in the file, for messages.
        box_xyxy_N4: Person's box; from the joints where omitted.
        box_field: Name of the box in the file.
        size_N2: Width and height of the image; 0 where the file has none.
        columns: Further columns of the annotation table.
    """

    source: str
    file: str
    number_N: Array
    sample_ids: Sequence[str]
    split: Sequence[str]
    clips: Sequence[str]
    images: Sequence[str]
    joints_NS2: Array
    known_NS: Bool
    seen_NS: Bool
    joint_map: JointMap
    joints_field: str
    box_xyxy_N4: Array | None = None
    box_field: str = "bbox"
    size_N2: Array | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


def still_rows(
    stills: Stills, quarantine: Quarantine, *, present: frozenset[str], taken: set[str]
) -> list[SourceRows]:
    """Check people and convert the plausible ones to rows.

    A row with fewer than two annotated joints is unusable, not damaged: it is skipped.

    Args:
        stills: The people.
        quarantine: Gets the others, each for its first fault.
        present: Paths of existing images.
        taken: Sample ids of earlier rows; the ids of these rows are added.

    Returns:
        The rows as one batch; empty if none is left.
    """
    check = _Check(stills, quarantine)
    check.images(present)
    joints = check.joints()
    if stills.box_xyxy_N4 is None:
        box, box_source = from_joints(joints, stills.known_NS), "joints"
    else:
        box, box_source = check.boxes(stills.box_xyxy_N4), "annotated"
    check.names(taken)
    rows: list[int] = np.flatnonzero(check.keep).tolist()
    if not rows:
        return []
    s = stills
    points, valid = s.joint_map.apply(joints[rows], s.known_NS[rows])
    _, seen = s.joint_map.apply(joints[rows], s.seen_NS[rows])
    columns: dict[str, Any] = {
        "sample_id": [s.sample_ids[row] for row in rows],
        "source": [s.source] * len(rows),
        "split": [s.split[row] for row in rows],
        # The identity of people in stills is unknown: each counts as another subject.
        "subject": [s.sample_ids[row] for row in rows],
        "clip": [s.clips[row] for row in rows],
        "family": [s.clips[row] for row in rows],
        "frame": np.zeros(len(rows), np.int32),
        "box_xyxy": box[rows].astype(np.float32),
        "box_source": [box_source] * len(rows),
        "joints2d_px": points.astype(np.float32),
        "valid2d": valid,
        "visible": valid & seen,
    }
    if s.size_N2 is not None:
        columns["image_width"], columns["image_height"] = s.size_N2[rows].astype(np.int32).T
    for name, values in s.columns.items():
        whole = isinstance(values, np.ndarray)
        columns[name] = values[rows] if whole else [values[row] for row in rows]
    return [SourceRows(columns=columns, images=tuple(ImageRef(s.images[row]) for row in rows))]


class _Check:
    """Checks rows for one fault after the other; ``keep`` is the mask of the sound ones."""

    def __init__(self, stills: Stills, quarantine: Quarantine) -> None:
        self.keep: Bool = stills.known_NS.sum(1) >= _FEWEST_JOINTS
        self._stills, self._quarantine = stills, quarantine
        quarantine.skip("person with fewer than two annotated joints", int((~self.keep).sum()))

    def _refuse(self, bad: npt.ArrayLike, what: str, field: str, remedy: str) -> None:
        bad_N = np.asarray(bad, bool)
        self._quarantine.rows(
            bad_N & self.keep,
            what,
            file=self._stills.file,
            number_N=self._stills.number_N,
            field=field,
            remedy=remedy,
        )
        self.keep[bad_N] = False

    def images(self, present: frozenset[str]) -> None:
        """Refuse images that do not exist or lead out of the folder."""
        s = self._stills
        rows: list[int] = np.flatnonzero(self.keep).tolist()
        for row in rows:
            fault, remedy = image_fault(s.images[row]), "name an image inside the dataset's folder"
            if not fault and s.images[row] not in present:
                fault, remedy = f"the image {s.images[row]} does not exist", "add the image"
            if fault:
                self._quarantine.report(
                    fault, file=s.file, row=int(s.number_N[row]), field="image", remedy=remedy
                )
                self.keep[row] = False

    def joints(self) -> Array:
        """Return annotated joints (N, S, 2), zeros elsewhere; refuse implausible rows."""
        s = self._stills
        known = s.known_NS[..., None]
        joints = np.where(known, s.joints_NS2, 0.0)
        mark = "correct the joint, or mark it as not annotated"
        self._refuse(
            ~np.isfinite(joints).all((1, 2)),
            "an annotated joint is not a finite number",
            s.joints_field,
            mark,
        )
        joints = np.nan_to_num(joints, nan=0.0, posinf=0.0, neginf=0.0)
        self._refuse(
            (np.abs(joints) > _LARGEST_PX).any((1, 2)),
            "a joint is farther away than any image is wide",
            s.joints_field,
            "give joints in pixels of the image",
        )
        is_tiny = (
            np.zeros(len(joints), bool) if s.size_N2 is None else (s.size_N2 <= _TINY_PX).any(1)
        )
        self._refuse(
            (joints <= _NORMALISED).all((1, 2)) & ~is_tiny,
            "all joints lie in the first pixel: they look normalised by the image size",
            s.joints_field,
            "give joints in pixels of the image",
        )
        if s.size_N2 is not None:
            beyond = (joints < -_EDGE_PX) | (joints > s.size_N2[:, None] + _EDGE_PX)
            self._refuse(
                (beyond & known).any((1, 2)),
                "an annotated joint lies outside the image",
                s.joints_field,
                mark,
            )
        return joints

    def boxes(self, box_N4: Array) -> Array:
        """Return boxes (N, 4), clipped to the image; refuse implausible ones."""
        s = self._stills
        self._refuse(
            ~np.isfinite(box_N4).all(1), "the box is not finite", s.box_field, "correct the box"
        )
        box = np.nan_to_num(box_N4, nan=0.0, posinf=0.0, neginf=0.0)
        self._refuse(
            (box[:, 2:] <= box[:, :2]).any(1),
            "the box has no area: a side is zero or negative",
            s.box_field,
            "give the box as the dataset's document has it",
        )
        if s.size_N2 is None:
            return box
        is_tiny = (s.size_N2 <= _TINY_PX).any(1)
        self._refuse(
            (box <= _NORMALISED).all(1) & ~is_tiny,
            "the box lies in the first pixel: it looks normalised by the image size",
            s.box_field,
            "give the box in pixels of the image",
        )
        outside = ((box[:, :2] >= s.size_N2) | (box[:, 2:] <= 0)).any(1)
        self._refuse(outside, "the box lies outside the image", s.box_field, "correct the box")
        return np.asarray(np.clip(box, 0.0, np.tile(s.size_N2, 2)), np.float64)

    def names(self, taken: set[str]) -> None:
        """Refuse samples that an earlier row has."""
        again = np.zeros(len(self.keep), bool)
        rows: list[int] = np.flatnonzero(self.keep).tolist()
        for row in rows:
            again[row] = self._stills.sample_ids[row] in taken
            taken.add(self._stills.sample_ids[row])
        self._refuse(
            again, "the same person was given before", "sample_id", "remove one of the two rows"
        )


def numbers(values: Sequence[Any], *shape: int) -> tuple[Array, Bool]:
    """Convert untrusted values to one array, with a mask of those of another form.

    Args:
        values: One per row, expected to be a (nested) list of numbers.
        shape: Expected shape of one value.

    Returns:
        Float64 (N, *shape) with NaN where a value is missing or of another form, and the mask (N,)
        of rows of another form.
    """
    bad = np.zeros(len(values), bool)
    if (whole := _as_numbers(list(values), (len(values), *shape))) is not None:
        return whole, bad
    result = np.full((len(values), *shape), np.nan)
    for row, value in enumerate(values):
        one = _as_numbers(value, shape)
        if one is None:
            bad[row] = True
        else:
            result[row] = one
    return result, bad


def _as_numbers(value: Any, shape: tuple[int, ...]) -> Array | None:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        return None
    # Text that looks like a number is refused too: the file is of another form.
    if array.dtype.kind not in "fiu":
        return None
    return array.astype(np.float64) if array.shape == shape else None


def image_fault(name: object) -> str:
    """Describe the fault of an image's name; empty if there is none."""
    if not isinstance(name, str) or not name.strip():
        return "the image has no name"
    if "\0" in name or "\\" in name:
        return f"the image's name {name!r} holds characters that no name has"
    if name.startswith("/") or name[1:2] == ":":
        return f"the image's name {name!r} is an absolute path"
    if ".." in name.split("/"):
        return f"the image's name {name!r} leads out of the folder"
    return ""


def image_folder(root: Path, *candidates: str) -> str:
    """Return the first existing folder, relative to the dataset's and ending with ``/``.

    Raises:
        DataError: None of them exists.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return "" if candidate == "." else f"{candidate}/"
    raise DataError(
        "the folder of images is missing",
        where=root,
        expected=" or ".join(candidates),
        remedy="unpack the dataset's images there",
    )


def in_folder(folder: str, name: object) -> str:
    """Prefix an image's name with its folder, unless it has it; a faulty name is unchanged."""
    text = name if isinstance(name, str) else ""
    return text if image_fault(text) or (folder and text.startswith(folder)) else folder + text


def images_below(root: Path, folder: str) -> frozenset[str]:
    """List the files directly in a folder, relative to the dataset's folder."""
    with os.scandir(root / folder) as entries:
        return frozenset(folder + entry.name for entry in entries)
