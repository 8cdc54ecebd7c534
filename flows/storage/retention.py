"""Which results of a workspace are needed: by its newest runs, its champion and the one before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flows.steps.previous_data import CONTENT_TAG, DATA_TAG
from flows.storage.stage_cache import DAMAGED, MANIFEST, PARTIAL, RUNS
from hemlets.core.errors import DataError
from hemlets.core.files import read_json
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import POINTER

if TYPE_CHECKING:
    from flows.registry.versions import ModelVersion

__all__ = ["Kept", "find_kept"]

_TRAINED: Final = "train-posh"
"""The stage whose key a registered model carries."""

Asked = frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What must stay.

    Attributes:
        stages: Stages and keys.
        contents: Content hashes of kept stages' results.
        data_versions: Data versions that a champion learned from, or was compared with.
        downloads: Names below ``mlflow/downloads``.
        runs: Every run's note with what it asked for, the newest first.
    """

    stages: Asked
    contents: frozenset[str]
    data_versions: frozenset[str]
    downloads: frozenset[str]
    runs: tuple[tuple[Path, Asked], ...]


def find_kept(workspace: Workspace, keep: int) -> Kept:
    """What the newest runs asked for, and all that the champion and the one before it need.

    Args:
        workspace: Where to look.
        keep: How many runs. Those that asked for the same, or for part of it, count once.

    Raises:
        WorkspaceError: The model registry can't be reached.
        PromotionError: It can't say which model is the champion.
    """
    manifests = {
        (path.parent.parent.name, path.parent.name): _manifest(path)
        for path in workspace.stages.glob(f"*/*/{MANIFEST}")
    }
    runs = tuple(_runs(workspace))
    newest = _newest([asked for _, asked in runs], keep)
    stages = set().union(*newest)
    noted = set().union(*(asked for _, asked in runs))
    stages |= _unnoted(workspace, noted, keep - len(newest))
    models = _champions(workspace)
    tags = [value for model in models for value in model.tags.items()]
    contents = {value for name, value in tags if name.endswith(CONTENT_TAG)}
    for model in models:
        stages |= _made(model, [asked for _, asked in runs])
        stages |= _packages(model, manifests)
    stages |= {place for place, found in manifests.items() if found.get("content") in contents}
    return Kept(
        stages=frozenset(stages),
        contents=frozenset(str(manifests[place].get("content")) for place in stages
                           if place in manifests),
        data_versions=frozenset(value for name, value in tags if name.endswith(DATA_TAG)),
        downloads=frozenset(_downloads(workspace, models)),
        runs=runs,
    )  # fmt: skip


def _manifest(path: Path) -> Mapping[str, object]:
    try:
        found = read_json(path)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def _runs(workspace: Workspace) -> Iterator[tuple[Path, Asked]]:
    for path in sorted((workspace.stages / RUNS).glob("*.json"), reverse=True):
        try:
            yield path, frozenset((str(stage), str(key)) for stage, key in read_json(path))
        except (DataError, TypeError, ValueError):
            yield path, frozenset()


def _newest(runs: Sequence[Asked], keep: int) -> list[Asked]:
    found: list[Asked] = []
    for asked in runs:
        if any(asked <= known for known in found):
            continue
        # An interrupted run is told by the newest one before it that got further the same way.
        begun = next((i for i, known in enumerate(found) if known < asked), None)
        if begun is not None:
            found[begun] = asked
        elif len(found) < keep:
            found.append(asked)
    return found


def _unnoted(workspace: Workspace, noted: set[tuple[str, str]], keep: int) -> Asked:
    """The newest results of each stage that no run's note names, as there may be without notes."""
    found = set()
    for stage in workspace.stages.glob("[!.]*"):
        folders = [path for path in stage.glob("[!.]*") if not path.name.endswith(DAMAGED)]
        folders.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        keys = dict.fromkeys(path.name.removesuffix(PARTIAL) for path in folders)
        others = [(stage.name, key) for key in keys if (stage.name, key) not in noted]
        found |= set(others[: max(keep, 0)])
    return frozenset(found)


def _champions(workspace: Workspace) -> list[ModelVersion]:
    """The model that serves, and those that it replaced up to the one that can serve again."""
    from flows.registry import versions as registry
    from flows.registry.rules import REPLACED_TAG

    if not os.environ.get("MLFLOW_TRACKING_URI") and not workspace.mlflow.exists():
        return []
    found: list[ModelVersion] = []
    version = registry.champion(workspace)
    known = {} if version is None else {str(v.version): v for v in registry.versions(workspace)}
    while version is not None and version.version not in {model.version for model in found}:
        found.append(version)
        # A withdrawn one is passed over by a rollback.
        if len(found) > 1 and registry.WITHDRAWN_TAG not in version.tags:
            break
        version = known.get(version.tags.get(REPLACED_TAG, ""))
    return found


def _made(model: ModelVersion, runs: Sequence[Asked]) -> Asked:
    """The stages that a model came from and was judged by, each as the newest run asked for it."""
    made = {(_TRAINED, model.stage_key)}
    known: set[str] = set()
    for asked in runs:
        if (_TRAINED, model.stage_key) in asked:
            made |= {place for place in asked if place[0] not in known}
            known |= {stage for stage, _ in asked}
    return frozenset(made)


def _packages(
    model: ModelVersion, manifests: Mapping[tuple[str, str], Mapping[str, object]]
) -> Asked:
    """The stage that made the archive which is served."""
    from flows.registry.versions import ARCHIVE_TAG

    digest = model.tags.get(ARCHIVE_TAG)
    found = set()
    for place, manifest in manifests.items():
        files = manifest.get("files")
        if digest and isinstance(files, dict) and digest in files.values():
            found.add(place)
    return frozenset(found)


def _downloads(workspace: Workspace, models: Sequence[ModelVersion]) -> Iterator[str]:
    from flows.registry.versions import ARCHIVE_TAG
    from serving.champion import read_champion

    for model in models:
        yield model.model_hash
        yield f"archive-{model.tags.get(ARCHIVE_TAG)}"
    # What predicts and serves goes by these files, which know no registry.
    served = read_champion(workspace)
    if served is not None:
        yield served.archive.parent.name
    pointer = workspace.home / POINTER
    if pointer.exists():
        yield Path(str(_manifest(pointer).get("folder"))).name
