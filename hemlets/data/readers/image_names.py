"""Images by the names that annotation files give them, whichever folders they were put into."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from hemlets.core.errors import DataError

_SHOWN: Final = 3


class ImageFinder:
    """Finds images below a folder.

    Annotation files that groups share name an image by its file alone, or below a folder that
    their makers had.

    Args:
        root: The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = "images/" if (root / "images").is_dir() else ""

    def find(self, name: str) -> str:
        """An image's path relative to the dataset's folder, with ``/``.

        The name is taken as it is where it leads to a file, else for the end of a path. A name
        that leads nowhere is given back below the folder of images, for the message about it.

        Args:
            name: Relative, with ``/`` and without ``..``.

        Raises:
            DataError: Several images have the name.
        """
        for path in (self._prefix + name, name):
            if (self._root / path).is_file():
                return path
        parts = PurePosixPath(name).parts
        fitting = [
            path
            for path in self._by_file_name.get(parts[-1], ())
            if PurePosixPath(path).parts[-len(parts) :] == parts
        ]
        if len(fitting) > 1:
            raise DataError(
                f"{len(fitting)} images have the name {name!r}: {', '.join(fitting[:_SHOWN])}",
                expected="one image of the name below the dataset's folder",
                remedy="remove the copies, or name the image with its folder",
            )
        return fitting[0] if fitting else self._prefix + name

    @cached_property
    def _by_file_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for parent, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(parent).relative_to(self._root)
            for name in files:
                found.setdefault(name, []).append((below / name).as_posix())
        return found
