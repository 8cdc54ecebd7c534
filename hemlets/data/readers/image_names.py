"""Find images by the names in annotation files, in any folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from hemlets.core.errors import DataError

_SHOWN: Final = 3


class ImageFinder:
    """Finds images below a folder.

    Published annotation files name an image by its file name alone, or below its author's own
    folder.

    Args:
        root: The dataset's folder.
        folders: Folders, relative to the dataset's, that are searched first.
    """

    def __init__(self, root: Path, folders: Sequence[str] = ("images",)) -> None:
        self._root = root
        self._prefixes = [
            f"{folder}/" for folder in folders if folder != "." and (root / folder).is_dir()
        ]

    def find(self, name: str) -> str:
        """Return an image's path relative to the dataset's folder, with ``/``.

        The name is used unchanged if it is a file, else as the end of a path, else the same without
        case or with its %20 decoded, as the disks and web pages of annotation tools take it. A name
        without a file is returned below the first folder of images, for the message about it.

        Args:
            name: Relative, with ``/`` and without ``..``.

        Raises:
            DataError: Several images have the name.
        """
        for path in (*(prefix + name for prefix in self._prefixes), name):
            if self.exists(path):
                return path
        wanted = name
        fitting = self._fitting(PurePosixPath(name), lambda part: part)
        if not fitting:
            wanted = unquote(name)
            fitting = self._fitting(PurePosixPath(wanted), str.casefold)
        if len(fitting) > 1:
            raise DataError(
                f"{len(fitting)} images have the name {wanted!r}: {', '.join(fitting[:_SHOWN])}",
                expected="one image of the name below the dataset's folder",
                remedy="remove the copies, or name the image with its folder",
            )
        return fitting[0] if fitting else "".join(self._prefixes[:1]) + name

    def _fitting(self, name: PurePosixPath, alike: Callable[[str], str]) -> list[str]:
        """Paths that end with a name, both compared after ``alike``."""
        parts = tuple(map(alike, name.parts))
        return [
            path
            for path in self._by_file_name.get(parts[-1].casefold(), ())
            if tuple(map(alike, PurePosixPath(path).parts[-len(parts) :])) == parts
        ]

    def exists(self, path: str) -> bool:
        """Return whether a path relative to the dataset's folder is a file."""
        return (self._root / path).is_file()

    @cached_property
    def _by_file_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for parent, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(parent).relative_to(self._root)
            for name in files:
                found.setdefault(name.casefold(), []).append((below / name).as_posix())
        return found
