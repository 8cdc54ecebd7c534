"""The project's bundled files: open body, motions, detector, encoder, starter weights.

Each file is listed with size and SHA-256 in ``manifest.json`` and verified before its first use in
a process. Sources and licences are in this folder's ``README.md``.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

from hemlets.core.errors import AssetError

__all__ = [
    "ASSETS_FOLDER",
    "MANIFEST",
    "asset_path",
    "asset_sha256",
    "verify_assets",
    "write_manifest",
]

ASSETS_FOLDER: Final = Path(__file__).resolve().parent
MANIFEST: Final = "manifest.json"
_REMEDY: Final = (
    "reinstall hemlets, or rebuild the file with `python -m hemlets.assets.rebuild`: "
    "body, motions, detector, encoder"
)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, str]:
    file = folder / MANIFEST
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(
            f"the list of assets can't be read: {error}", where=file, remedy=_REMEDY
        ) from error
    return {str(name): str(digest) for name, digest in entries.items()}


def _verify(folder: Path, name: str, expected: str) -> None:
    file = folder / name
    if not file.is_file():
        raise AssetError(
            f"the asset {name} is missing",
            where=file,
            expected=f"SHA-256 {expected}",
            remedy=_REMEDY,
        )
    found = _digest(file)
    if found != expected:
        raise AssetError(
            f"the asset {name} is damaged: its SHA-256 is {found}",
            where=file,
            expected=f"SHA-256 {expected}",
            remedy=_REMEDY,
        )


def asset_path(name: str) -> Path:
    """Return the path of a bundled file, verified once per process.

    Args:
        name: Path inside the assets folder with forward slashes, as in the manifest.

    Raises:
        AssetError: The name is unknown or the file is missing or damaged.

    >>> asset_path("body/open_body_lite.npz").name
    'open_body_lite.npz'
    """
    return _verified(ASSETS_FOLDER, name)


def asset_sha256(name: str) -> str:
    """Return the hexadecimal SHA-256 of a bundled file; see `asset_path`."""
    asset_path(name)
    return _manifest(ASSETS_FOLDER)[name]


@cache
def _verified(folder: Path, name: str) -> Path:
    entries = _manifest(folder)
    if name not in entries:
        raise AssetError(
            f"there is no asset {name!r}", where=folder / MANIFEST, expected=", ".join(entries)
        )
    _verify(folder, name, entries[name])
    return folder / name


def verify_assets(folder: Path = ASSETS_FOLDER) -> list[str]:
    """Verify every file of the manifest; return the names.

    Raises:
        AssetError: A file is missing or damaged; names both hashes.
    """
    entries = _manifest(folder)
    for name, expected in entries.items():
        _verify(folder, name, expected)
    return list(entries)


def write_manifest(names: list[str], folder: Path = ASSETS_FOLDER) -> Path:
    """Record the present hashes of some files; other entries stay."""
    file = folder / MANIFEST
    entries = _manifest(folder) if file.exists() else {}
    entries |= {name: _digest(folder / name) for name in names}
    text = json.dumps(dict(sorted(entries.items())), indent=2) + "\n"
    file.write_text(text, encoding="utf-8")
    return file
