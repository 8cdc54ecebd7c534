"""Retention: which results and data versions a workspace keeps, and the removal of the rest.

Kept is what the newest runs asked for, what recent runs asked for, and what the champion and its
predecessor were made from, so that the next retraining finds its cache and a rollback its files.
MLflow's runs, reports, ingested datasets and data versions that somebody committed by hand stay.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.profile import RETRAIN_LOCK, RETRAINING
from flows.steps.previous_data import CONTENT_TAG, DATA_TAG
from flows.storage.data_garbage import collect_garbage
from flows.storage.data_versions import versions
from flows.storage.stage_cache import DAMAGED, MANIFEST, PARTIAL, RUNS
from hemlets.core.errors import DataError, ServingError, WorkspaceError
from hemlets.core.files import lock, read_json
from hemlets.core.workspace import Workspace

if TYPE_CHECKING:
    from flows.registry.versions import ModelVersion

Place = tuple[str, str]
"""Stage and key of a result."""

_TRAINED: Final = "train-posh"
"""The stage whose key a registered model carries."""
_STAGE_LOG: Final = re.compile(r"(?P<stage>[a-z-]+)-(?P<key>[0-9a-f]{20})\.(json|log)")
_SERVER_LOG_BYTES: Final = 1_000_000
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that nothing needs.

    Attributes:
        path: Where it is.
        why: What it is.
        bytes: What its removal frees.
    """

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cleaning removes.

    Attributes:
        leftovers: Files and folders.
        logs: Logs of servers, of which only the end is kept.
        versions: Data versions that are forgotten.
        kept_versions: Those that stay.
        in_use: Folders of running servers, which are left alone.
        data_bytes: What DVC has freed; 0 before it is carried out.
    """

    leftovers: tuple[Leftover, ...]
    logs: tuple[Leftover, ...]
    versions: tuple[str, ...]
    kept_versions: tuple[str, ...]
    in_use: tuple[Path, ...]
    data_bytes: int = 0

    @property
    def bytes(self) -> int:
        """What is freed in all."""
        return sum(item.bytes for item in (*self.leftovers, *self.logs)) + self.data_bytes


def plan(workspace: Workspace, keep: int, days: float = 0) -> Plan:
    """Find what nothing needs. Changes nothing.

    Args:
        workspace: Where to look.
        keep: How many of the newest runs are kept. Runs that asked for the same count once.
        days: Runs younger than this are kept too.

    Raises:
        WorkspaceError: The model registry, which knows the champion, can't be reached.
    """
    notes = list(_notes(workspace))
    newest = _newest(notes, keep, time.time_ns() - int(days * _DAY_NS))
    models = _champions(workspace)
    manifests = dict(_manifests(workspace))
    kept = set().union(*newest, *(_made(model, notes, manifests) for model in models))
    found = [*_stages(workspace, kept), *_downloads(workspace, models)]
    first = {asked: path for path, asked in reversed(notes)}
    found += [
        (path, "note of what a run asked for")
        for path, asked in notes
        if not asked or first[asked] != path or not asked <= kept
    ]
    left, running = _servers(workspace)
    known, kept_versions = versions(workspace), _kept_versions(workspace, manifests, kept, models)
    beside = (workspace.data / "beside").glob("[!.]*")
    found += [
        (path, "copy of a data version")
        for path in sorted(beside)
        if path.name.removesuffix(".dvc") not in kept_versions
    ]
    return Plan(
        leftovers=tuple(_measured([*found, *left])),
        logs=tuple(_long_logs(workspace)),
        versions=tuple(name for name in known if name not in kept_versions),
        kept_versions=tuple(name for name in known if name in kept_versions),
        in_use=tuple(running),
    )


def clean(workspace: Workspace, keep: int, days: float = 0) -> Plan:
    """Remove what nothing needs, and return what that was.

    Args:
        workspace: What is cleaned.
        keep: As for :func:`plan`.
        days: As for :func:`plan`.

    Raises:
        WorkspaceError: Something writes into the workspace, or the registry can't be reached.
    """
    from dataclasses import replace

    stages = [f"{path.name}.lock" for path in _folders(workspace.stages)]
    with contextlib.ExitStack() as held:
        held.enter_context(lock(workspace.locks / RETRAIN_LOCK, RETRAINING))
        for name in ("promotion.lock", *stages, "data.lock"):
            purpose = name.removesuffix(".lock").replace("data", "a data version")
            held.enter_context(lock(workspace.locks / name, purpose))
        todo = plan(workspace, keep, days)
        for item in todo.leftovers:
            with _not_starting(item.path) as free:
                if free:
                    _remove(item.path)
        for item in todo.logs:
            _keep_end(item.path)
        freed = 0
        if todo.versions:
            freed = collect_garbage(workspace, todo.versions, todo.kept_versions)
    return replace(todo, data_bytes=freed)


def _notes(workspace: Workspace) -> Iterator[tuple[Path, frozenset[Place]]]:
    """What each run asked for, the newest first."""
    for path in sorted((workspace.stages / RUNS).glob("*.json"), reverse=True):
        try:
            yield path, frozenset((str(stage), str(key)) for stage, key in read_json(path))
        except (DataError, TypeError, ValueError):
            yield path, frozenset()


def _newest(
    notes: Iterable[tuple[Path, frozenset[Place]]], keep: int, since_ns: int
) -> list[frozenset[Place]]:
    newest: list[frozenset[Place]] = []
    for path, asked in notes:
        young = int(path.stem.partition("-")[0]) > since_ns
        interrupted = [other for other in newest if other < asked]
        if any(asked <= other for other in newest):
            continue
        if interrupted:
            # An earlier run got further in the same way: it stands for the interrupted one.
            newest[newest.index(interrupted[0])] = asked
        elif len(newest) < keep or young:
            newest.append(asked)
    return newest


def _champions(workspace: Workspace) -> list[ModelVersion]:
    """The champion and its predecessors, up to the one that a rollback would go to."""
    from flows.registry import versions as registry
    from flows.registry.rules import REPLACED_TAG

    if not os.environ.get("MLFLOW_TRACKING_URI") and not workspace.mlflow.exists():
        return []
    found: list[ModelVersion] = []
    version = registry.champion(workspace)
    known = {} if version is None else {str(v.version): v for v in registry.versions(workspace)}
    while version is not None and version not in found:
        found.append(version)
        if len(found) > 1 and registry.WITHDRAWN_TAG not in version.tags:
            break
        version = known.get(version.tags.get(REPLACED_TAG, ""))
    return found


def _made(
    model: ModelVersion,
    notes: Iterable[tuple[Path, frozenset[Place]]],
    manifests: Mapping[Place, Mapping[str, Any]],
) -> set[Place]:
    """Results that a model was made from and judged by, each from the newest run that used it."""
    from flows.registry.versions import ARCHIVE_TAG

    trained = (_TRAINED, model.stage_key)
    contents = {value for name, value in model.tags.items() if name.endswith(CONTENT_TAG)}
    archive = model.tags.get(ARCHIVE_TAG)
    made = {
        place
        for place, manifest in manifests.items()
        if manifest.get("content") in contents or archive in manifest.get("files", {}).values()
    }
    made.add(trained)
    seen: set[str] = set()
    for _, asked in notes:
        if trained in asked:
            made |= {place for place in asked if place[0] not in seen}
            seen |= {stage for stage, _ in asked}
    return made


def _kept_versions(
    workspace: Workspace,
    manifests: Mapping[Place, Mapping[str, Any]],
    kept: set[Place],
    models: Iterable[ModelVersion],
) -> set[str]:
    notes = (workspace.data / "versions").glob("*.txt")
    by_content = {note.stem.rpartition("-")[2]: note.read_text().strip() for note in notes}
    contents = {manifests[place].get("content") for place in kept if place in manifests}
    tags = [item for model in models for item in model.tags.items()]
    by_hand = set(versions(workspace)) - set(by_content.values())
    needed = {version for content, version in by_content.items() if content in contents}
    return by_hand | needed | {value for name, value in tags if name.endswith(DATA_TAG)}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _manifests(workspace: Workspace) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for path in workspace.stages.glob(f"*/*/{MANIFEST}"):
        with contextlib.suppress(DataError):
            yield (path.parent.parent.name, path.parent.name), read_json(path)


_Found = tuple[Path, str]


def _stages(workspace: Workspace, kept: set[Place]) -> Iterator[_Found]:
    for stage in _folders(workspace.stages):
        for folder in _folders(stage):
            if folder.name.endswith(DAMAGED):
                yield folder, "damaged result of a stage"
            elif (stage.name, folder.name.removesuffix(PARTIAL)) not in kept:
                whole = (folder / MANIFEST).exists()
                yield folder, "result of a stage" if whole else "unfinished result of a stage"
    for path in sorted(workspace.logs.glob("*")):
        match = _STAGE_LOG.fullmatch(path.name)
        if match and (match["stage"], match["key"]) not in kept:
            yield path, "log of a stage"


def _downloads(workspace: Workspace, models: Iterable[ModelVersion]) -> Iterator[_Found]:
    from flows.registry.versions import ARCHIVE_TAG

    needed = {model.model_hash for model in models}
    needed |= {f"archive-{model.tags.get(ARCHIVE_TAG)}" for model in models}
    for path in _folders(workspace.mlflow / "downloads"):
        if path.name not in needed:
            yield path, "download from the model registry"


def _servers(workspace: Workspace) -> tuple[list[_Found], list[Path]]:
    """What ended servers have left, and the folders of running ones."""
    left: list[_Found] = []
    running = []
    for folder in sorted(workspace.serving.glob("serve-*")):
        if _runs(folder):
            running.append(folder)
        else:
            # The lock of its start stays: another server may be about to take it.
            inside = (path for path in sorted(folder.iterdir()) if path.stem != "start")
            left += [(path, "left by a server that has ended") for path in inside]
    return left, running


def _runs(folder: Path) -> bool:
    from serving.torchserve import TorchServe

    try:
        TorchServe.attach(folder)
    except ServingError:
        return False
    return True


@contextlib.contextmanager
def _not_starting(path: Path) -> Iterator[bool]:
    """Whether a leftover may be removed: not while a server starts, or has started, there."""
    folder = path.parent
    if not folder.name.startswith("serve-"):
        yield True
        return
    try:
        with lock(folder / "start.lock", "a start of this TorchServe"):
            yield not _runs(folder)
    except WorkspaceError:
        yield False


def _long_logs(workspace: Workspace) -> Iterator[Leftover]:
    for path in sorted(workspace.logs.glob("*-server.log")):
        excess = path.stat().st_size - _SERVER_LOG_BYTES
        if excess > 0:
            yield Leftover(path=path, why="all but the end of a server's log", bytes=excess)


def _measured(found: Iterable[_Found]) -> Iterator[Leftover]:
    """With what each frees: files that another name still links to free nothing."""
    for path, why in found:
        files = [path] if path.is_file() else path.rglob("*")
        status = [file.lstat() for file in files if file.is_file() and not file.is_symlink()]
        freed = sum(item.st_size for item in status if item.st_nlink == 1)
        yield Leftover(path=path, why=why, bytes=freed)


def _remove(path: Path) -> None:
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if (path / MANIFEST).exists():
            # A result is whole or absent, also if this process is killed half-way.
            aside = path.with_name(f"{path.name.removesuffix(DAMAGED)}{DAMAGED}")
            if aside != path:
                shutil.rmtree(aside, ignore_errors=True)
                path = path.replace(aside)
        shutil.rmtree(path)
    except OSError as error:
        raise WorkspaceError.unwritable("the removal", error, path) from error


def _keep_end(path: Path) -> None:
    """Shorten a log in place, because a running server may be writing to it."""
    with path.open("rb+") as log:
        log.seek(-_SERVER_LOG_BYTES, 2)
        end = log.read().partition(b"\n")[2]
        log.seek(0)
        log.write(end)
        log.truncate()
