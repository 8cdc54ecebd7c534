"""Names of results: two inputs share no file, and an earlier run's results are not mixed in."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

_ENDS_BYTES: Final = 4096
_INPUT: Final = re.compile(rb'"(?:image|video)": \{[^{}]*?"name": ("(?:[^"\\]|\\.)*")')
_WRITTEN: Final[dict[Path, dict[str, int]]] = {}
"""Digest of the image behind each result of this process, by folder."""

_NUMBERED: Final = r"(\.part\d+)?\.person\d+(\.frame\d+)?\.(npz|bvh|glb|obj|ply)|\.part\d+\.json"


def free_stem(folder: Path, name: str, taken: Iterable[str] = ()) -> str:
    """Name an input's results: its stem, numbered if another input's results or other JSON have it.

    Args:
        folder: Folder of the results.
        name: File name of the input.
        taken: Names of this run.
    """
    stem = found = Path(name).stem
    others, number = set(taken), 1
    while found in others or _input_of(folder / f"{found}.json") not in (None, name):
        number += 1
        found = f"{stem}-{number}"
    return found


def stem_of_image(folder: Path, name: str, image: npt.NDArray[np.uint8]) -> str:
    """Name an image's results like `free_stem`; another image of this process is another input."""
    digest = zlib.crc32(np.ascontiguousarray(image).data)
    written = _WRITTEN.setdefault(folder.resolve(), {})
    others = (one for one, other in written.items() if other != digest)
    stem = free_stem(folder, name, (one for one in others if (folder / f"{one}.json").exists()))
    written[stem] = digest
    return stem


def remove_earlier(folder: Path, stem: str) -> None:
    """Remove an earlier run's files of people and parts, whose number may have been larger."""
    if not os.path.isfile(folder / f"{stem}.json"):  # noqa: PTH113 - too long a name is no error
        return
    numbered = re.compile(re.escape(stem) + f"({_NUMBERED})")
    for file in folder.iterdir():
        if numbered.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _input_of(result: Path) -> str | None:
    """Input's name in a result's JSON, near its start or its end.

    None where there is no file or an empty one; "" where the file is none of ours.
    """
    try:
        with result.open("rb") as stream:
            ends = stream.read(_ENDS_BYTES)
            stream.seek(max(0, result.stat().st_size - _ENDS_BYTES))
            ends += stream.read()
    except OSError:
        return None
    found = _INPUT.search(ends)
    try:
        return str(json.loads(found[1])) if found else "" if ends else None
    except ValueError:
        return ""
