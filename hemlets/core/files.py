"""Atomic files and folders, hashes, and locks that the kernel releases."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from hemlets.core.errors import DataError, WorkspaceError

_LEFTOVER_AGE_S = 600
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _sweep(path: Path) -> None:
    """Remove scratch files of killed processes."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        owner = left.name.removesuffix(".part").rpartition(".")[2]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists() or not Path("/proc/1").exists():
            continue
        with contextlib.suppress(OSError):
            # Another machine may be writing to the same disk.
            if time.time() - left.stat().st_mtime > _LEFTOVER_AGE_S:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove scratch files of killed writers anywhere in a folder, of any age.

    The caller must hold the lock that every writer into the folder holds.
    """
    for left in list(folder.rglob(".*.part")):
        if left.name.removesuffix(".part").rpartition(".")[2].isdigit():
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _exchange(scratch: Path, path: Path) -> None:
    """Swap two folders in one step, if the system can, so that neither is ever absent."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = os.fsencode(scratch), os.fsencode(path)
    if renameat2 and renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    aside = scratch.with_name(f"{scratch.name}.old")
    path.replace(aside)
    scratch.replace(path)
    shutil.rmtree(aside)


def _raise_unwritable(error: OSError, path: Path, kind: str) -> NoReturn:
    # The block may read other files, whose absence is no fault of this one.
    concerned = error.filename is None or _scratch(path).name in str(error.filename)
    if not concerned and Path(str(error.filename)) not in (path, *path.parents):
        raise error
    raise WorkspaceError.unwritable(f"the {kind}", error, path) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a scratch path in the same folder; rename it to ``path`` when the block succeeds.

    When the block raises, or the process dies, ``path`` is unchanged.
    """
    scratch = _scratch(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield scratch
        _sync(scratch)
        scratch.replace(path)
        _sync(path.parent)
    except OSError as error:
        _raise_unwritable(error, path, "file")
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder, which is renamed to ``path`` when the block succeeds.

    An existing folder of that name is replaced in one step.
    """
    scratch = _scratch(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        for item in sorted(scratch.rglob("*")):
            _sync(item)
        if path.exists():
            _exchange(scratch, path)
        else:
            scratch.replace(path)
        _sync(path.parent)
    except OSError as error:
        _raise_unwritable(error, path, "folder")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_folder(path: Path) -> str:
    """SHA-256 over the relative names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for item in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{item.relative_to(path).as_posix()}\0{sha256_file(item)}\n".encode())
    return digest.hexdigest()


def content_hash(value: object) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, readable and with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


class RepeatedKeyError(ValueError):
    """An object of JSON gives a key twice."""


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse JSON whose objects have each key once.

    Raises:
        RepeatedKeyError: A key is repeated.
        ValueError: Not JSON.
        RecursionError: It is nested too deeply.

    >>> parse_json('{"fx": 1000, "fx": 2000}')
    Traceback (most recent call last):
    hemlets.core.files.RepeatedKeyError: the key "fx" is repeated
    """
    return json.loads(text, object_pairs_hook=_with_unique_keys)


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise RepeatedKeyError(f'the key "{repeated[:40]}" is repeated')
    return values


def read_json(path: Path, parse: Callable[[str], Any] = json.loads) -> Any:
    """Read a JSON file.

    Raises:
        DataError: The file is absent, can't be read or is not JSON.
    """
    try:
        # Editors of Windows put a byte order mark in front.
        return parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=path) from error
    except ValueError as error:
        raise DataError(f"the file is not JSON: {error}", where=path) from error
    except RecursionError as error:
        raise DataError("the file is nested too deeply", where=path) from error
    except OSError as error:
        raise DataError(f"the file can't be read: {error.strerror}", where=path) from error


def require_free_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to start if the disk has too little free space.

    Raises:
        WorkspaceError: Less than ``needed_bytes`` are free on the folder's file system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise WorkspaceError(
            f"{free / 1e9:.1f} GB are free, {needed_bytes / 1e9:.1f} GB are needed",
            where=folder,
            remedy="free some space, or point HEMLETS_HOME to a larger disk",
        )


_HELD: set[Path] = set()
"""Locks that this process holds."""


@contextlib.contextmanager
def lock(
    path: Path, purpose: str, *, timeout_s: float = 0.0, again: bool = False
) -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when its owner dies.

    Args:
        path: The lock's file.
        purpose: What is locked, for the message.
        timeout_s: How long to wait for another process.
        again: Allow a process that holds the lock to enter again.

    Raises:
        WorkspaceError: Another process, named in the message, holds it, or the folder can't be
            written.
    """
    from filelock import FileLock, Timeout

    where = path.absolute()
    if again and where in _HELD:
        yield
        return
    owner = path.with_suffix(".owner")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path)
        held.acquire(timeout=timeout_s)
    except Timeout:
        who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise WorkspaceError(
            f"{purpose} is already running (process {who})",
            where=path,
            remedy="wait for it, or end that process and run the command again",
        ) from None
    except OSError as error:
        raise WorkspaceError(
            f"could not take the lock: {error.strerror or error}",
            where=path,
            remedy="fix the folder's permissions, or point HEMLETS_HOME to another folder",
        ) from error
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        _HELD.add(where)
        yield
    finally:
        _HELD.discard(where)
        held.release()
