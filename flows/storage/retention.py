"""Retention: which results and data versions a workspace retains; removal of the rest.

Retained are the results that the newest and recent runs used, and those that the champion and its
predecessor were made from. So the next retraining finds its cache and a rollback its files.
MLflow's runs, reports, ingested datasets and data versions committed by hand are never removed.
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

from flows.starting import RETRAIN_LOCK, RETRAINING
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
"""A registered model carries the key of this stage."""
_STAGE_LOG: Final = re.compile(r"(?P<stage>[a-z-]+)-(?P<key>[0-9a-f]{20})\.(json|log)")
_SERVER_LOG_BYTES: Final = 1_000_000
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that nothing needs.

    Attributes:
        why: What it is.
        bytes: Bytes freed by its removal.
    """

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The removals of one cleaning.

    Attributes:
        leftovers: Files and folders to remove.
        logs: Server logs to truncate to their end.
        versions: Data versions to forget.
        retained_versions: The other data versions.
        in_use: Folders of running servers; not touched.
        data_bytes: Bytes freed by DVC; 0 before the plan is carried out.
    """

    leftovers: tuple[Leftover, ...]
    logs: tuple[Leftover, ...]
    versions: tuple[str, ...]
    retained_versions: tuple[str, ...]
    in_use: tuple[Path, ...]
    data_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes freed in total."""
        return sum(item.bytes for item in (*self.leftovers, *self.logs)) + self.data_bytes


def plan(workspace: Workspace, keep: int, days: float = 0) -> Plan:
    """Find what nothing needs. Changes nothing.

    Args:
        workspace: The workspace.
        keep: Number of newest runs to retain. Runs with the same results count once.
        days: Runs younger than this are retained too.

    Raises:
        WorkspaceError: The model registry, which knows the champion, can't be reached.
    """
    records = list(_run_records(workspace))
    newest = _newest(records, keep, time.time_ns() - days * _DAY_NS)
    models = _champions(workspace)
    manifests = dict(_manifests(workspace))
    retained = set().union(*newest, *(_lineage(model, records, manifests) for model in models))
    leftovers = [*_stages(workspace, retained), *_downloads(workspace, models)]
    first = {used: path for path, used in reversed(records)}
    leftovers += [
        (path, "record of the results that a run used")
        for path, used in records
        if not used or first[used] != path or not used <= retained
    ]
    left, running = _servers(workspace)
    known, retained_versions = (
        versions(workspace),
        _retained_versions(workspace, manifests, retained, models),
    )
    exports = (workspace.data / "beside").glob("[!.]*")
    leftovers += [
        (path, "copy of a data version")
        for path in sorted(exports)
        if path.name.removesuffix(".dvc") not in retained_versions
    ]
    return Plan(
        leftovers=tuple(_measured([*leftovers, *left])),
        logs=tuple(_oversized_logs(workspace)),
        versions=tuple(name for name in known if name not in retained_versions),
        retained_versions=tuple(name for name in known if name in retained_versions),
        in_use=tuple(running),
    )


def clean(workspace: Workspace, keep: int, days: float = 0) -> Plan:
    """Carry out :func:`plan` and return it.

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
            _truncate_log(item.path)
        freed = 0
        if todo.versions:
            freed = collect_garbage(workspace, todo.versions, todo.retained_versions)
    return replace(todo, data_bytes=freed)


def _run_records(workspace: Workspace) -> Iterator[tuple[Path, frozenset[Place]]]:
    """Yield the results that each run used, newest run first."""
    for path in sorted((workspace.stages / RUNS).glob("*.json"), reverse=True):
        try:
            yield path, frozenset((str(stage), str(key)) for stage, key in read_json(path))
        except (DataError, TypeError, ValueError):
            yield path, frozenset()


def _newest(
    records: Iterable[tuple[Path, frozenset[Place]]], keep: int, since_ns: float
) -> list[frozenset[Place]]:
    newest: list[frozenset[Place]] = []
    for path, used in records:
        young = not int(path.stem.partition("-")[0]) <= since_ns  # all, where it is NaN
        interrupted = [other for other in newest if other < used]
        if any(used <= other for other in newest):
            continue
        if interrupted:
            # An earlier run used all these results and more: it replaces the interrupted run.
            newest[newest.index(interrupted[0])] = used
        elif len(newest) < keep or young:
            newest.append(used)
    return newest


def _champions(workspace: Workspace) -> list[ModelVersion]:
    """Return the champion and its predecessors, up to the rollback target."""
    from flows.registry import versions as registry
    from flows.registry.rules import REPLACED_TAG

    if not os.environ.get("MLFLOW_TRACKING_URI") and not workspace.mlflow.exists():
        return []
    chain: list[ModelVersion] = []
    version = registry.champion(workspace)
    known = {} if version is None else {str(v.version): v for v in registry.versions(workspace)}
    while version is not None and version not in chain:
        chain.append(version)
        if len(chain) > 1 and registry.WITHDRAWN_TAG not in version.tags:
            break
        version = known.get(version.tags.get(REPLACED_TAG, ""))
    return chain


def _lineage(
    model: ModelVersion,
    records: Iterable[tuple[Path, frozenset[Place]]],
    manifests: Mapping[Place, Mapping[str, Any]],
) -> set[Place]:
    """Return the results that a model was trained and evaluated with.

    Where several runs used the model, each stage's result is from the newest of them.
    """
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
    for _, used in records:
        if trained in used:
            made |= {place for place in used if place[0] not in seen}
            seen |= {stage for stage, _ in used}
    return made


def _retained_versions(
    workspace: Workspace,
    manifests: Mapping[Place, Mapping[str, Any]],
    retained: set[Place],
    models: Iterable[ModelVersion],
) -> set[str]:
    names = (workspace.data / "versions").glob("*.txt")
    by_content = {
        path.stem.rpartition("-")[2]: path.read_text(encoding="utf-8").strip() for path in names
    }
    contents = {manifests[place].get("content") for place in retained if place in manifests}
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


_Candidate = tuple[Path, str]


def _stages(workspace: Workspace, retained: set[Place]) -> Iterator[_Candidate]:
    for stage in _folders(workspace.stages):
        for folder in _folders(stage):
            if folder.name.endswith(DAMAGED):
                yield folder, "damaged result of a stage"
            elif (stage.name, folder.name.removesuffix(PARTIAL)) not in retained:
                whole = (folder / MANIFEST).exists()
                yield folder, "result of a stage" if whole else "unfinished result of a stage"
    for path in sorted(workspace.logs.glob("*")):
        match = _STAGE_LOG.fullmatch(path.name)
        if match and (match["stage"], match["key"]) not in retained:
            yield path, "log of a stage"


def _downloads(workspace: Workspace, models: Iterable[ModelVersion]) -> Iterator[_Candidate]:
    from flows.registry.versions import ARCHIVE_TAG

    needed = {model.model_hash for model in models}
    needed |= {f"archive-{model.tags.get(ARCHIVE_TAG)}" for model in models}
    for path in _folders(workspace.mlflow / "downloads"):
        if path.name not in needed:
            yield path, "download from the model registry"


def _servers(workspace: Workspace) -> tuple[list[_Candidate], list[Path]]:
    """Return the leftovers of ended servers, and the folders of running servers."""
    left: list[_Candidate] = []
    running = []
    for folder in sorted(workspace.serving.glob("serve-*")):
        if _is_running(folder):
            running.append(folder)
        else:
            # The start lock is retained: another server may be about to acquire it.
            inside = (path for path in sorted(folder.iterdir()) if path.stem != "start")
            left += [(path, "left by a server that has ended") for path in inside]
    return left, running


def _is_running(folder: Path) -> bool:
    from serving.torchserve import TorchServe

    try:
        TorchServe.attach(folder)
    except ServingError:
        return False
    return True


@contextlib.contextmanager
def _not_starting(path: Path) -> Iterator[bool]:
    """Yield whether a leftover may be removed: False while a server starts or runs there."""
    folder = path.parent
    if not folder.name.startswith("serve-"):
        yield True
        return
    try:
        with lock(folder / "start.lock", "a start of this TorchServe"):
            yield not _is_running(folder)
    except WorkspaceError:
        yield False


def _oversized_logs(workspace: Workspace) -> Iterator[Leftover]:
    for path in sorted(workspace.logs.glob("*-server.log")):
        excess = path.stat().st_size - _SERVER_LOG_BYTES
        if excess > 0:
            yield Leftover(path=path, why="all but the end of a server's log", bytes=excess)


def _measured(leftovers: Iterable[_Candidate]) -> Iterator[Leftover]:
    """Measure the bytes that each removal frees; files with other hard links free nothing."""
    for path, why in leftovers:
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
            # Rename first, so that a killed process leaves no partly removed result.
            aside = path.with_name(f"{path.name.removesuffix(DAMAGED)}{DAMAGED}")
            if aside != path:
                shutil.rmtree(aside, ignore_errors=True)
                path = path.replace(aside)
        shutil.rmtree(path)
    except OSError as error:
        raise WorkspaceError.unwritable("the removal", error, path) from error


def _truncate_log(path: Path) -> None:
    """Shorten a log in place: a running server may be writing to it."""
    with path.open("rb+") as log:
        log.seek(-_SERVER_LOG_BYTES, 2)
        end = log.read().partition(b"\n")[2]
        log.seek(0)
        log.write(end)
        log.truncate()
