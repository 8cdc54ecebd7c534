"""What every reader gives: rows in the datasets' own pixels, and what a dataset needs on disk.

A reader turns files as their users have them into `SourceRows`. It knows nothing of shards,
crops or versions; `hemlets.data.versions.ingest` reads the images that the rows name, cuts them out
and writes the data version. So a reader can be tested against a file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import FIELDS

Array = npt.NDArray[Any]

ANY_IMAGE: Final = "|".join(
    f"**/*.{suffix}" for suffix in ("jpg", "jpeg", "png", "webp", "bmp", "JPG", "JPEG", "PNG")
)
"""Layout pattern of an image in any folder and of any form that is read."""

_INGEST_FILLS = frozenset(
    ("shard", "shard_row", "image_hash", "stored_from_source", "source_image", "truncated")
)
_REQUIRED = ("sample_id", "split", "clip", "frame", "box_xyxy", "joints2d_px", "valid2d")


class Supervision(StrEnum):
    """What a dataset's rows teach."""

    JOINTS_3D = "3D joints"
    JOINTS_2D = "2D joints"
    RELATIONS = "depth relations"
    SMPL = "SMPL θ and β"
    MASK = "masks"
    MOTION = "motion"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The picture of a row.

    Attributes:
        path: File relative to the dataset's folder, with ``/``.
        frame: Frame of a video, counted from 0; None for a still.
    """

    path: str
    frame: int | None = None

    def __str__(self) -> str:
        return self.path if self.frame is None else f"{self.path}#{self.frame}"


@dataclass(frozen=True, kw_only=True)
class LayoutEntry:
    """A file or folder that a dataset needs.

    Attributes:
        pattern: Glob relative to the dataset's folder. Alternatives are divided by ``|``.
        what: What it holds.
        required: Whether nothing can be read without it.
    """

    pattern: str
    what: str
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Choices that readers share; a reader ignores what does not concern it.

    Attributes:
        splits: Splits wanted, as the table names them.
        frame_step: Every so many frames of a sequence; None takes the protocol's own step.
        settings: Further settings of one reader, by name; unknown ones are refused by it.
    """

    splits: frozenset[str] = frozenset(("train", "validation", "test"))
    frame_step: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """Some rows of a dataset, e.g. one sequence seen by one camera.

    Attributes:
        columns: Values by name of the annotation table's field, of shape (N, *field shape), in
            pixels of the source image with its top-left corner as the origin. ``image_width``
            and ``image_height`` are 0 where only the image tells them. Fields left out are
            unknown: zeros, False or the field's default.
        images: The picture of each row.
        masks: Where each row's mask is, None for rows without; empty where no row has one.
    """

    columns: Mapping[str, Any]
    images: tuple[ImageRef, ...]
    masks: tuple[ImageRef | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse columns that the table doesn't have, or that differ in length.

        Raises:
            DataError: Names the column.
        """
        rows = len(self.images)
        file = f"rows of {self.images[0]}" if self.images else "no rows"
        shapes = {f.name: f.shape for f in FIELDS if f.name not in _INGEST_FILLS}
        for name in _REQUIRED:
            if name not in self.columns:
                raise DataError("a reader left out a required column", where=f"{file}: {name}")
        for name, value in self.columns.items():
            if name not in shapes:
                raise DataError("a reader gave an unknown column", where=f"{file}: {name}")
            found = np.shape(value) if shapes[name] else (len(value),)
            if found != (rows, *shapes[name]):
                raise DataError(
                    f"a reader's column has shape {found}",
                    where=f"{file}: {name}",
                    expected=f"{(rows, *shapes[name])}",
                )
        if self.masks and len(self.masks) != rows:
            raise DataError(f"{len(self.masks)} masks for {rows} rows", where=f"{file}: masks")

    def __len__(self) -> int:
        return len(self.images)


class Reader(Protocol):
    """Reads the rows of a dataset below a folder, a piece at a time."""

    def __call__(
        self, root: Path, options: ReadOptions, quarantine: Quarantine | None = None
    ) -> Iterator[SourceRows]:
        """Rows of the dataset.

        Args:
            root: The dataset's folder.
            options: Choices that readers share.
            quarantine: Gets what is damaged, so that the reader can go on past it. Without one
                the first damage is an error.

        Raises:
            ConfigError: A setting is unknown to the reader.
            DataError: Nothing can be read, or something is damaged and there is no quarantine.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset: what it is, what it needs on disk and how it is read.

    Attributes:
        name: As the command line and the table's ``source`` have it.
        title: Its usual name.
        paper: Who published it, and where.
        licence: Name of the page that tells its terms.
        document: The dataset's own document that the joint map and conventions come from.
        supervision: What its rows teach.
        layout: Files and folders that are needed, in the form in which users have them.
        joints: The joint map in words: what each of the 18 comes from, what is left out.
        conventions: Frame, units and pixel convention as found, and what the reader makes of it.
        faults: Known faults of the data, and what the reader does about each.
        reader: ``module:function`` of the `Reader`, imported when called.
    """

    name: str
    title: str
    paper: str
    licence: str
    document: str
    supervision: tuple[Supervision, ...]
    layout: tuple[LayoutEntry, ...]
    joints: str
    conventions: str
    faults: tuple[str, ...] = ()
    reader: str

    def read(
        self,
        root: Path,
        options: ReadOptions | None = None,
        quarantine: Quarantine | None = None,
    ) -> Iterator[SourceRows]:
        """Rows of the dataset below a folder.

        Args:
            root: The dataset's folder.
            options: Choices that readers share.
            quarantine: Gets what is damaged; without one, the first damage is an error.

        Raises:
            DataError: The layout is not as expected, or a file in it is damaged and there is no
                quarantine.
        """
        require_layout(self, root)
        module, function = self.reader.split(":")
        reader: Reader = getattr(import_module(module), function)
        yield from reader(root, options or ReadOptions(), quarantine)


def missing_entries(dataset: Dataset, root: Path) -> list[LayoutEntry]:
    """Required entries of the layout that a folder lacks."""
    return [
        entry
        for entry in dataset.layout
        if entry.required
        and not any(
            next(iter(root.glob(pattern.strip())), None) for pattern in entry.pattern.split("|")
        )
    ]


def require_layout(dataset: Dataset, root: Path) -> None:
    """Make sure that a folder holds a dataset.

    Raises:
        DataError: Shows what was expected against what the folder holds.
    """
    missing = missing_entries(dataset, root) if root.is_dir() else list(dataset.layout)
    if not missing:
        return
    found = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    listed = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
    raise DataError(
        f"this is not {dataset.title} as the reader expects it; missing: "
        + "; ".join(f"{entry.pattern} ({entry.what})" for entry in missing),
        where=root,
        expected="; ".join(f"{entry.pattern} ({entry.what})" for entry in dataset.layout),
        remedy=f"the folder holds: {listed or 'nothing'}",
    )
