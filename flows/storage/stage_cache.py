"""Content-addressed cache of step results.

A result is a folder ``stages/<stage>/<key>``. The key is a hash of the step's settings, the content
of its inputs and its code, so that a change reruns this step and the later ones and nothing else.
The folder gets its final name only when it is complete; until then it is ``<key>.partial``, from
which a resumable step continues. ``stages/.runs`` lists which results each run has used, for
:mod:`flows.storage.retention`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hemlets.core.errors import DataError
from hemlets.core.files import content_hash, lock, read_json, sha256_file, write_json
from hemlets.core.process_setup import return_unused_memory
from hemlets.core.workspace import Workspace

MANIFEST: Final = "manifest.json"
PARTIAL: Final = ".partial"
DAMAGED: Final = ".damaged"
RUNS: Final = ".runs"
"""Folder with one file per run: the ``[stage, key]`` pairs that the run has used."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A complete result.

    Attributes:
        content: Hash over the names and bytes of the files that later steps depend on.
        cached: The result existed before.
    """

    stage: str
    key: str
    folder: Path
    content: str
    cached: bool


class StageStore:
    """The cache of a workspace, as one run uses it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._used: list[tuple[str, str]] = []
        self._record = workspace.stages / RUNS / f"{time.time_ns()}-{os.getpid()}.json"

    @staticmethod
    def key(stage: str, **ingredients: Any) -> str:
        """Compute a key from everything that a result depends on."""
        return content_hash({"stage": stage, **ingredients})[:20]

    def folder(self, stage: str, key: str) -> Path:
        """Folder of the complete result of a key."""
        return self.workspace.stages / stage / key

    def find(self, stage: str, key: str) -> StageResult | None:
        """Find the complete result of a key and verify its files; None if absent.

        A result with a missing or changed file is renamed and counts as absent.
        """
        folder = self.folder(stage, key)
        if not (folder / MANIFEST).exists():
            return None
        try:
            manifest = read_json(folder / MANIFEST)
            whole = _digests(folder) == manifest["files"]
        except (DataError, KeyError, TypeError, FileNotFoundError):
            whole = False
        if not whole:
            aside = folder.with_name(f"{key}{DAMAGED}")
            shutil.rmtree(aside, ignore_errors=True)
            # Whoever removes old results may have been faster.
            with contextlib.suppress(FileNotFoundError):
                folder.replace(aside)
            return None
        return StageResult(
            stage=stage, key=key, folder=folder, content=manifest["content"], cached=True
        )

    def holding(self, stage: str, content: str) -> StageResult | None:
        """Find a complete result by its content hash, under any key; None if absent."""
        for manifest in sorted((self.workspace.stages / stage).glob(f"*/{MANIFEST}")):
            key = manifest.parent.name
            if "." not in key and self._content(manifest) == content:
                found = self.find(stage, key)
                if found is not None:
                    return found
        return None

    @staticmethod
    def _content(manifest: Path) -> str | None:
        try:
            return str(read_json(manifest)["content"])
        except (DataError, KeyError, TypeError):
            return None

    def run(
        self,
        stage: str,
        key: str,
        build: Callable[[Path], None],
        *,
        counts: str = "",
        reusable: Callable[[Path], bool] = lambda _: True,
    ) -> StageResult:
        """Return the result of a key; build it if it is absent.

        Args:
            stage: Name of the step.
            key: Its key.
            build: Fills the partial folder, which still has the files of an earlier attempt.
            counts: Only files below this relative path count for ``content``; logs and timings
                differ between runs and must not rerun later steps.
            reusable: Whether a complete result may be reused; otherwise it is built again and
                replaced.

        Raises:
            WorkspaceError: Another process is building this step.
        """
        with lock(self.workspace.locks / f"{stage}.lock", f"stage {stage}"):
            self._record_use(stage, key)
            found = self.find(stage, key)
            if found is not None and reusable(found.folder):
                return found
            folder = self.folder(stage, key)
            partial = folder.with_name(f"{key}{PARTIAL}")
            partial.mkdir(parents=True, exist_ok=True)
            build(partial)
            # What this step has freed is for the processes of the next.
            gc.collect()
            return_unused_memory(0)
            digests = _digests(partial)
            content = content_hash({k: v for k, v in digests.items() if k.startswith(counts)})
            write_json(
                partial / MANIFEST,
                {"stage": stage, "key": key, "files": digests, "content": content},
            )
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
            return StageResult(stage=stage, key=key, folder=folder, content=content, cached=False)

    def _record_use(self, stage: str, key: str) -> None:
        if (stage, key) not in self._used:
            self._used.append((stage, key))
            write_json(self._record, self._used)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != MANIFEST
        # Locks and scratch files of killed writers.
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
