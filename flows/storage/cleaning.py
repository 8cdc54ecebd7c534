"""What a workspace can do without, and its removal.

Kept is what the newest runs asked for, and what the champion and the one before it came from, so
that the next retraining finds its cache and a rollback its files. Runs in MLflow, reports and
ingested datasets stay whatever their age.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows.profile import RETRAIN_LOCK, RETRAINING
from flows.storage.data_cleaning import DataPlan, plan_data
from flows.storage.retention import Kept, find_kept
from flows.storage.stage_cache import DAMAGED, MANIFEST, PARTIAL
from hemlets.core.errors import ServingError, WorkspaceError
from hemlets.core.files import lock
from hemlets.core.workspace import Workspace

__all__ = ["Leftover", "Plan", "clean", "plan"]

_STAGE_LOG: Final = re.compile(r"(?P<stage>[a-z-]+)-(?P<key>[0-9a-f]{20})\.(json|log)")
_SERVICE_LOG_BYTES: Final = 1_000_000
"""What is left of a server's log, which grows for as long as there is a workspace."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that nothing needs.

    Attributes:
        path: Where it is.
        why: What it is, in words.
        bytes: What its removal frees, after that of the ones before it in a plan.
    """

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cleaning removes.

    Attributes:
        leftovers: Files and folders.
        data: Data versions, and what DVC holds of them.
        logs: Servers' logs that are cut to their end.
        in_use: Folders of running servers, which are left alone.
        kept: What is needed.
    """

    leftovers: tuple[Leftover, ...]
    data: DataPlan
    logs: tuple[Leftover, ...]
    in_use: tuple[Path, ...]
    kept: Kept

    @property
    def bytes(self) -> int:
        """What is freed in all."""
        found = sum(item.bytes for item in (*self.leftovers, *self.logs))
        return found + self.data.bytes


def plan(workspace: Workspace, keep: int) -> Plan:
    """Find what nothing needs. Changes nothing.

    Args:
        workspace: Where to look.
        keep: Newest runs whose stages are kept. Runs that asked for the same count once.

    Raises:
        WorkspaceError: The model registry, which knows the champion, can't be reached.
    """
    kept = find_kept(workspace, keep)
    data = plan_data(workspace, kept)
    ended, in_use = _servers(workspace)
    found = [*_stages(workspace, kept), *_notes(workspace, kept), *_logs(workspace, kept)]
    found += [*_downloads(workspace, kept), *ended]
    found += [(path, "data version beside the current one") for path in data.beside]
    logs = sorted(workspace.logs.glob("*-server.log"))
    return Plan(
        leftovers=tuple(_measured(found)),
        data=data,
        logs=tuple(
            Leftover(path=path, why="all but the end of a server's log", bytes=excess)
            for path in logs
            if (excess := path.stat().st_size - _SERVICE_LOG_BYTES) > 0
        ),
        in_use=tuple(in_use),
        kept=kept,
    )


def clean(workspace: Workspace, keep: int) -> Plan:
    """Remove what nothing needs, and return what that was.

    Args:
        workspace: What is cleaned.
        keep: As for :func:`plan`.

    Raises:
        WorkspaceError: Something writes into the workspace, or the registry can't be reached.
    """
    with contextlib.ExitStack() as held:
        for name, purpose in _locks(workspace):
            held.enter_context(lock(workspace.locks / name, purpose))
        todo = plan(workspace, keep)
        for item in todo.leftovers:
            with _not_starting(item.path) as free:
                if free:
                    _remove(item.path)
        for item in todo.logs:
            _cut(item.path)
        todo.data.carry_out()
    return todo


def _locks(workspace: Workspace) -> Iterator[tuple[str, str]]:
    yield RETRAIN_LOCK, RETRAINING
    yield "promotion.lock", "a promotion"
    for folder in _folders(workspace.stages):
        yield f"{folder.name}.lock", f"stage {folder.name}"
    yield "data.lock", "a data version"


def _folders(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


_Found = tuple[Path, str]


def _stages(workspace: Workspace, kept: Kept) -> Iterator[_Found]:
    for stage in _folders(workspace.stages):
        for folder in _folders(stage):
            key = folder.name.removesuffix(PARTIAL)
            if folder.name.endswith(DAMAGED):
                yield folder, "damaged result of a stage"
            elif (stage.name, key) not in kept.stages:
                whole = (folder / MANIFEST).exists()
                yield folder, "result of a stage" if whole else "unfinished result of a stage"


def _notes(workspace: Workspace, kept: Kept) -> Iterator[_Found]:
    seen: set[frozenset[tuple[str, str]]] = set()
    for path, asked in kept.runs:
        if not asked or asked in seen or not asked <= kept.stages:
            yield path, "note of what a run asked for"
        seen.add(asked)


def _logs(workspace: Workspace, kept: Kept) -> Iterator[_Found]:
    for path in sorted(workspace.logs.glob("*")):
        match = _STAGE_LOG.fullmatch(path.name)
        if match and (match["stage"], match["key"]) not in kept.stages:
            yield path, "log of a stage"


def _downloads(workspace: Workspace, kept: Kept) -> Iterator[_Found]:
    for path in _folders(workspace.mlflow / "downloads"):
        if path.name not in kept.downloads:
            yield path, "download from the model registry"


def _servers(workspace: Workspace) -> tuple[list[_Found], list[Path]]:
    """What ended servers have left, and the folders of those that run."""
    from serving.torchserve import TorchServe

    left: list[_Found] = []
    running = []
    for folder in sorted(workspace.serving.glob("serve-*")):
        try:
            TorchServe.attach(folder)
        except ServingError:
            # The lock of its start stays: another server may be about to take it.
            inside = (path for path in sorted(folder.iterdir()) if path.stem != "start")
            left += [(path, "left by a server that has ended") for path in inside]
        else:
            running.append(folder)
    return left, running


@contextlib.contextmanager
def _not_starting(path: Path) -> Iterator[bool]:
    """Whether a leftover of a server may go: not while one starts, or has started, there."""
    folder = path.parent
    if not folder.name.startswith("serve-"):
        yield True
        return
    from serving.torchserve import TorchServe

    try:
        with lock(folder / "start.lock", "a start of this TorchServe"):
            try:
                TorchServe.attach(folder)
                free = False
            except ServingError:
                free = True
            yield free
    except WorkspaceError:
        yield False


def _measured(found: Iterable[_Found]) -> Iterator[Leftover]:
    """With what each frees: a linked file's bytes go with the last of its names."""
    seen: Counter[tuple[int, int]] = Counter()
    for path, why in found:
        freed = 0
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_symlink() or not file.is_file():
                continue
            status = file.stat()
            seen[status.st_dev, status.st_ino] += 1
            if seen[status.st_dev, status.st_ino] == status.st_nlink:
                freed += status.st_size
        yield Leftover(path=path, why=why, bytes=freed)


def _remove(path: Path) -> None:
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if (path / MANIFEST).exists():
            # A result is whole or absent, also where this is killed in the middle.
            aside = path.with_name(f"{path.name.removesuffix(DAMAGED)}{DAMAGED}")
            if aside != path:
                shutil.rmtree(aside, ignore_errors=True)
                path = path.replace(aside)
        shutil.rmtree(path)
    except OSError as error:
        raise WorkspaceError(
            f"could not be removed: {error.strerror or error}",
            where=path,
            remedy="fix the folder's permissions, then run hemlets clean again",
        ) from error


def _cut(path: Path) -> None:
    """Leave the end of a log in the very file, which a running server may be writing to."""
    with path.open("rb+") as log:
        log.seek(-_SERVICE_LOG_BYTES, 2)
        end = log.read().partition(b"\n")[2]
        log.seek(0)
        log.write(end)
        log.truncate()
