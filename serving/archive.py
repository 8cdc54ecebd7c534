"""Model archive: one reproducible file with everything that TorchServe needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemlets.core.errors import AssetError, ServingError
from hemlets.core.files import atomic_path, sha256_file

MODEL_NAME = "hemlets-posh"

_HANDLER = Path(__file__).with_name("handler.py")
_WEIGHTS = "model.safetensors"
_REQUIRED = (_WEIGHTS, "model.json")
_OPTIONAL = ("body.npz", "README.md")
_MANIFEST = "MAR-INF/MANIFEST.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class ArchiveInfo:
    """Name and version in a model archive."""

    name: str
    version: str


def content_version(model_folder: Path) -> str:
    """Version from the contents of a model folder and the handler: 12 hexadecimal digits.

    Changed serving code gives another version, so that a server can hold both during a switch.
    """
    digests = [sha256_file(file) for file in (*_model_files(model_folder), _HANDLER)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]


def _model_files(folder: Path) -> list[Path]:
    """Files of a model, by an allow-list, since an untrusted folder may contain code."""
    return [folder / name for name in (*_REQUIRED, *_OPTIONAL) if (folder / name).is_file()]


def require_own_handler(archive: Path) -> None:
    """Refuse an archive with another handler than this installation's: it runs as code.

    Raises:
        ServingError: Another handler, or none.
        AssetError: The file is absent or not a model archive.
    """
    if not _has_own_handler(archive):
        raise ServingError(
            "the archive holds code that is not this installation's handler",
            where=archive,
            expected=f"{_HANDLER.name} as this version of hemlets packages it, and no other code",
            remedy="give the model's folder to --model instead: it is packaged anew",
        )


def with_own_handler(archive: Path, model_folder: Path, out: Path) -> Path:
    """Return an archive, or its model packaged anew if another version of hemlets packaged it.

    The handler of another version calls code that this installation may not have.

    Args:
        archive: Model archive.
        model_folder: Its model.
        out: Gets the new archive.

    Raises:
        AssetError: The file is not a model archive, or the folder lacks a file.
    """
    return archive if _has_own_handler(archive) else build_archive(model_folder, out)


def _has_own_handler(archive: Path) -> bool:
    read_archive(archive)
    with zipfile.ZipFile(archive) as mar:
        code = [name for name in mar.namelist() if name.endswith((".py", ".zip", ".whl", ".tar"))]
        return code == [_HANDLER.name] and mar.read(_HANDLER.name) == _HANDLER.read_bytes()


def build_archive(
    model_folder: Path, out: Path, *, name: str = MODEL_NAME, version: str | None = None
) -> Path:
    """Package a model folder with torch-model-archiver.

    The archive contains the handler and the model files only, no other code. Dates and order are
    normalised, so that equal contents give equal bytes.

    Args:
        model_folder: Folder with ``model.safetensors``, ``model.json`` and, if the model needs
            one, a body asset.
        out: Folder that the archive is written to, atomically.
        name: Name of the served model.
        version: Version of the archive; by default from its contents.

    Returns:
        Path of ``{name}-{version}.mar``.

    Raises:
        AssetError: The folder lacks a file.
        ServingError: The name is not valid in a URL, or torch-model-archiver failed.
    """
    missing = [item for item in _REQUIRED if not (model_folder / item).is_file()]
    if missing:
        raise AssetError(
            f"the model folder lacks {' and '.join(missing)}",
            where=model_folder,
            expected=" and ".join(_REQUIRED),
            remedy="train a model first, for example with: make demo",
        )
    version = content_version(model_folder) if version is None else version
    for what, value in (("model name", name), ("model version", version)):
        if not _NAME.fullmatch(value):
            raise ServingError(
                f"{value!r} can't be a {what}",
                expected="letters, digits, '.', '_' and '-', beginning with a letter or digit",
            )
    path = out / f"{name}-{version}.mar"
    # torch-model-archiver empties $TMPDIR/NAME, which concurrent calls must not share.
    with tempfile.TemporaryDirectory(prefix="hemlets-mar-") as scratch:
        raw = _run_archiver(model_folder, Path(scratch), name, version)
        with atomic_path(path) as part:
            _normalise(raw, part)
    return path


def read_archive(path: Path) -> ArchiveInfo:
    """Read name and version of an archive.

    Raises:
        AssetError: Absent, or no model archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read(_MANIFEST))["model"]
        return ArchiveInfo(name=str(model["modelName"]), version=str(model["modelVersion"]))
    except FileNotFoundError:
        raise AssetError(
            "there is no such model",
            where=path,
            expected="a model folder with model.json, or a .mar file",
            remedy="leave --model out to serve the champion",
        ) from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise AssetError(
            "not a model archive",
            where=path,
            expected="a .mar file as torch-model-archiver writes it",
        ) from error


def _run_archiver(model_folder: Path, scratch: Path, name: str, version: str) -> Path:
    extra = scratch / "extra"
    weights = scratch / _WEIGHTS
    made, temporary = scratch / "made", scratch / "tmp"
    made.mkdir()
    temporary.mkdir()
    # Copied to a path without commas and wildcards, which the archiver interprets.
    extra.mkdir()
    for file in _model_files(model_folder):
        shutil.copyfile(file, weights if file.name == _WEIGHTS else extra / file.name)
    command = [
        sys.executable, "-m", "model_archiver.model_packaging",
        "--model-name", name,
        "--version", version,
        "--handler", str(_HANDLER),
        "--serialized-file", str(weights),
        "--extra-files", str(extra),
        "--export-path", str(made),
    ]  # fmt: skip
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(temporary)
    )
    raw = made / f"{name}.mar"
    if result.returncode or not raw.is_file():
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        missing = any("No module named" in line for line in lines)
        raise ServingError(
            f"torch-model-archiver failed: {lines[-1]}",
            where=model_folder,
            remedy="install it with: pip install torch-model-archiver" if missing else None,
        )
    return raw


def _environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def _normalise(raw: Path, path: Path) -> None:
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w") as target:
        for member in sorted(source.namelist()):
            data = source.read(member)
            if member == _MANIFEST:
                data = _undated(data)
            entry = zipfile.ZipInfo(member, date_time=_EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            target.writestr(entry, data)


def _undated(manifest: bytes) -> bytes:
    values: dict[str, Any] = json.loads(manifest)
    values["createdOn"] = "01/01/1980 00:00:00"
    return json.dumps(values, indent=2, sort_keys=True).encode()
