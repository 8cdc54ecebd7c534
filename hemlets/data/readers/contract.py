"""The interface of readers: the files that a dataset needs, and the rows that a reader yields.

A reader converts a dataset's files to `SourceRows`, in pixels of the dataset's images. It knows
nothing of shards, crops or versions: `hemlets.data.versions.ingest` loads the images, cuts people
out and writes the data version. So a reader can be tested with a single file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from hemlets.core.errors import ConfigError, DataError
from hemlets.data.readers.quarantine import Quarantine, or_refuse
from hemlets.data.table import FIELDS

ANY_IMAGE: Final = "|".join(
    f"**/*.{suffix}" for suffix in ("jpg", "jpeg", "png", "webp", "bmp", "JPG", "JPEG", "PNG")
)
"""Layout pattern of an image in any folder and of any form that is read."""

INGEST_FILLS: Final = frozenset(
    ("shard", "shard_row", "image_hash", "stored_from_source", "source_image", "truncated")
)
"""Fields that ingest computes for the images that it stores."""

_REQUIRED = ("sample_id", "split", "clip", "frame", "box_xyxy", "joints2d_px", "valid2d")


class Supervision(StrEnum):
    """Kinds of labels that a dataset's rows have."""

    JOINTS_3D = "3D joints"
    JOINTS_2D = "2D joints"
    RELATIONS = "depth relations"
    SMPL = "SMPL θ and β"
    MASK = "masks"
    MOTION = "motion"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The image of a row.

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
        pattern: Glob relative to the dataset's folder, with alternatives separated by ``|``.
        what: Content of the file or folder.
        required: Whether the dataset can't be read without it.
    """

    pattern: str
    what: str
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options that all readers share; a reader ignores those that it does not need.

    Attributes:
        splits: Names of the wanted splits.
        frame_step: Read every n-th frame of a sequence; None takes the protocol's own step.
        settings: Settings of this reader, by name; it refuses unknown ones.
    """

    splits: frozenset[str] = frozenset(("train", "validation", "test"))
    frame_step: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """A batch of rows, e.g. one sequence seen by one camera.

    Attributes:
        columns: Values by name of the annotation table's field, of shape (N, *field shape), in
            pixels of the source image with its top-left corner as the origin. ``image_width``
            and ``image_height`` are 0 where only the image has them. Fields left out are
            unknown: zeros, False or the field's default.
        images: Image of each row.
        masks: Mask of each row, None for rows without one; empty where no row has one.
    """

    columns: Mapping[str, Any]
    images: tuple[ImageRef, ...]
    masks: tuple[ImageRef | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse columns that are not in the table, or that differ in length.

        Raises:
            DataError: Names the column.
        """
        rows = len(self.images)
        file = f"rows of {self.images[0]}" if self.images else "no rows"
        shapes = {f.name: f.shape for f in FIELDS if f.name not in INGEST_FILLS}
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
    """Reads the rows of a dataset in batches."""

    def __call__(
        self, root: Path, options: ReadOptions, quarantine: Quarantine
    ) -> Iterator[SourceRows]:
        """Yield the rows of a dataset.

        Args:
            root: The dataset's folder.
            options: Options that all readers share.
            quarantine: Gets damaged rows, so that reading continues.

        Raises:
            ConfigError: A setting has a wrong value.
            DataError: Nothing can be read, or the quarantine refuses damage.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Description of a dataset: properties, files and reader.

    Attributes:
        name: Name in the command line and in the table's ``source``.
        title: Usual name.
        paper: Authors and place of publication.
        licence: Name of the page with its terms.
        document: The dataset's own document of its joints and conventions.
        supervision: Labels of its rows.
        layout: Files and folders that are needed.
        joints: The joint map in words: source of each of the 18 joints, and joints left out.
        conventions: Frame, units and pixel convention of the files, and how they are converted.
        faults: Known faults of the data, and how the reader handles them.
        reader: ``module:function`` of the `Reader`, imported when called.
        settings: Names of the reader's settings.
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
    settings: tuple[str, ...] = ()

    def read(
        self,
        root: Path,
        options: ReadOptions | None = None,
        quarantine: Quarantine | None = None,
    ) -> Iterator[SourceRows]:
        """Check layout and settings, then yield the rows; see `Reader` for arguments and errors.

        Without a quarantine the first damage is an error.

        Raises:
            ConfigError: A setting is unknown to the reader.
        """
        require_layout(self, root)
        options = options or ReadOptions()
        for name in options.settings:
            if name not in self.settings:
                raise ConfigError(
                    f"this dataset has no setting {name!r}",
                    where=name,
                    expected=", ".join(self.settings) or "no settings",
                )
        module, function = self.reader.split(":")
        reader: Reader = getattr(import_module(module), function)
        yield from reader(root, options, or_refuse(quarantine))


_LOOKED_AT: Final = 100
"""Folders that are looked into for a dataset that lies deeper than its folder was given."""


def missing_entries(dataset: Dataset, root: Path) -> list[LayoutEntry]:
    """Return the required entries of the layout that a folder lacks."""
    return [
        entry
        for entry in dataset.layout
        if entry.required
        and not any(
            next(iter(root.glob(pattern.strip())), None) for pattern in entry.pattern.split("|")
        )
    ]


def require_layout(dataset: Dataset, root: Path) -> None:
    """Refuse a folder that does not hold a dataset.

    Raises:
        DataError: Shows the expected layout and the folder's content.
    """
    missing = missing_entries(dataset, root) if root.is_dir() else list(dataset.layout)
    if not missing:
        return
    below = (folder for depth in ("*/", "*/*/") for folder in sorted(root.glob(depth)))
    fitting = (f for f in islice(below, _LOOKED_AT) if not missing_entries(dataset, f))
    inner = next(fitting, None)
    found = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    listed = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
    raise DataError(
        f"this is not {dataset.title} as the reader expects it; missing: "
        + "; ".join(f"{entry.pattern} ({entry.what})" for entry in missing),
        where=root,
        expected="; ".join(f"{entry.pattern} ({entry.what})" for entry in dataset.layout),
        remedy=f"the folder holds: {listed or 'nothing'}"
        if inner is None
        else f"give the folder in it that has this layout: {inner}",
    )
