"""Pictures without annotations: a folder of photographs, or the endpoint's prediction log."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from hemlets.core.arrays import Image
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import sha256_file
from hemlets.inference.prediction_log import IMAGES_VARIABLE, log_files, read_images
from hemlets.inference.types import Box

_CACHED_FILES: Final = 4


def open_pictures(folder: Path) -> Photographs | LoggedPictures:
    """Return a folder's photographs, or the images of a prediction log.

    Both name a picture by a relative path, which the row of a log follows.
    """
    is_log = next(log_files(folder), None) is not None
    return LoggedPictures(folder) if is_log else Photographs(folder)


def require_pictures(folder: Path) -> list[str]:
    """Refuse a folder without pictures; return the names of those that can't be read.

    Raises:
        ConfigError: There are neither photographs nor logged images.
        DataError: A file of the log can't be read.
    """
    from hemlets.inference.images import SUFFIXES, unread_photos

    pictures = open_pictures(folder)
    unread = unread_photos(folder)
    if next(pictures.names(), None) is not None:
        return unread
    if isinstance(pictures, LoggedPictures):
        raise ConfigError(
            "the prediction log has no images",
            where=folder,
            remedy=f"serve with {IMAGES_VARIABLE}=1",
        )
    but = f" that can be read, but {len(unread)} such as {unread[0]}" if unread else ""
    raise ConfigError(
        f"there are no photos in this folder{but}",
        where=folder,
        expected=", ".join(SUFFIXES),
        remedy="convert them to JPEG" if unread else None,
    )


class Photographs:
    """The photographs of a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> Iterator[str]:
        """Yield file names."""
        from hemlets.inference.images import SUFFIXES

        with os.scandir(self.folder) as entries:
            yield from sorted(e.name for e in entries if Path(e.name).suffix.lower() in SUFFIXES)

    def image(self, name: str) -> Image:
        """Read the photograph: RGB, upright."""
        from hemlets.inference.images import read_photo

        return read_photo(self._path(name))

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the file."""
        return sha256_file(self._path(name))

    def box(self, name: str) -> Box | None:
        """Return None: a detector finds the people."""
        return None

    def group(self, name: str) -> str:
        """Return the photograph itself: it may show several people."""
        return name

    def _path(self, name: str) -> Path:
        from hemlets.data.versions.images import resolve_inside

        return resolve_inside(self.folder, name)


class LoggedPictures:
    """The images of a prediction log; each shows one person."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = lru_cache(maxsize=_CACHED_FILES)(self._uncached)

    def names(self) -> Iterator[str]:
        """Yield ``DATE/HOUR/FILE.parquet/ROW``, oldest first."""
        for path in log_files(self.folder):
            file = path.relative_to(self.folder).as_posix()
            for row, (image, _) in enumerate(self._read(file)):
                if image:
                    yield f"{file}/{row}"

    def image(self, name: str) -> Image:
        """Read the image: RGB."""
        from hemlets.data.table import decode_image

        return decode_image(self._row(name)[0], where=name)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the JPEG."""
        return hashlib.sha256(self._row(name)[0]).hexdigest()

    def box(self, name: str) -> Box | None:
        """Return the box of the request or of the detector."""
        return self._row(name)[1]

    def group(self, name: str) -> str:
        """Return the hour: consecutive requests show the same people."""
        return name.rsplit("/", 2)[0]

    def _row(self, name: str) -> tuple[bytes, Box | None]:
        file, _, row = name.rpartition("/")
        rows = self._read(file)
        if not row.isdigit() or int(row) >= len(rows) or not rows[int(row)][0]:
            raise DataError.missing("the logged image", name)
        return rows[int(row)]

    def _uncached(self, file: str) -> list[tuple[bytes, Any]]:
        from hemlets.data.versions.images import resolve_inside

        return read_images(resolve_inside(self.folder, file))
