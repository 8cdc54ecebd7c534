"""Sources of a profile: folders and buckets that receive new labels and images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from hemlets.core.config import Config
from hemlets.core.errors import DataError
from hemlets.data.remote import is_s3_url, list_s3

Share = Annotated[float, Field(ge=0, le=1)]


class Source(Config):
    """Folder or bucket that is synced before every retraining.

    Attributes:
        name: Name of the ingested dataset.
        place: Folder, or ``s3://bucket/prefix``.
        dataset: Name of the dataset whose file format is used, such as ``coco`` or ``fbi``.
        endpoint: URL of an S3 server other than Amazon's; the environment's by default.
        settings: Settings of the dataset's reader.
        most: Largest number of training rows per retraining; all by default.
        new_share: Least share of ``most`` drawn from the newest arrivals, if there are enough; the
            rest is drawn from older rows.
        max_damaged: Largest share of rows that may be left out as damaged.
        wake_at: Number of new or changed files at which `flows.watch` starts a retraining.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    place: str = Field(min_length=1)
    dataset: str = "coco"
    endpoint: str | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    most: int | None = Field(None, ge=1)
    new_share: Share = 0.5
    max_damaged: Share = 0.1
    wake_at: int = Field(1, ge=1)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a source, found without reading them.

    Attributes:
        files: Identity of each file by its relative path: size, and ETag or time of change.
    """

    files: dict[str, str]

    @property
    def hash(self) -> str:
        """Hash of all names and identities."""
        lines = (f"{name}\0{identity}\n" for name, identity in sorted(self.files.items()))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def new_since(self, earlier: dict[str, str]) -> int:
        """Number of files that are new or changed."""
        return sum(earlier.get(name) != identity for name, identity in self.files.items())


def list_source(source: Source) -> Listing:
    """List a source.

    Raises:
        DataError: The folder or prefix is missing or empty.
        ConfigError: The bucket or its credentials can't be used.
        WorkspaceError: The S3 server can't be reached.
    """
    if is_s3_url(source.place):
        objects = list_s3(source.place, endpoint=source.endpoint)
        return Listing(files={item.path: f"{item.size} {item.etag}" for item in objects})
    folder = Path(source.place).expanduser()
    files = dict(_files(folder)) if folder.is_dir() else {}
    if not files:
        raise DataError(
            f"the source {source.name} is empty" if folder.is_dir()
            else f"the source {source.name} is not there",
            where=folder,
            expected="the folder with its files",
            remedy="bring the folder back, or remove the source from the profile; nothing was "
            "trained or promoted",
        )  # fmt: skip
    return Listing(files=files)


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                state = path.stat()
                yield path.relative_to(folder).as_posix(), f"{state.st_size} {state.st_mtime_ns}"


STATES: Final = ".sources"
"""Folder below ``ingested`` with the state of each source."""
