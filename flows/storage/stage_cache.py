"""Whole results of stages, found by what they were made from.

A stage's result is a folder ``stages/<stage>/<key>``. The key is a hash of the stage's
settings, its inputs' content and the code that makes it, so that a change reruns this stage
and those after it and nothing else. The folder takes its final name only when it is whole;
until then it is ``<key>.partial``, which a resumable stage goes on from. Which results a run has
asked for is noted in ``stages/.runs``, so that those of the newest runs can be told from the rest.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hemlets.core.errors import DataError
from hemlets.core.files import content_hash, lock, read_json, sha256_file, write_json
from hemlets.core.workspace import Workspace

MANIFEST: Final = "manifest.json"
PARTIAL: Final = ".partial"
DAMAGED: Final = ".damaged"
RUNS: Final = ".runs"
"""Folder among the stages with a file a run: the ``[stage, key]`` pairs that it has asked for."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A whole result.

    Attributes:
        content: Hash over the names and bytes of its files: what later stages depend on.
        cached: It was there before.
    """

    stage: str
    key: str
    folder: Path
    content: str
    cached: bool


class StageStore:
    """The stage results of a workspace, as one run asks for them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._asked: list[tuple[str, str]] = []
        self._notes = workspace.stages / RUNS / f"{time.time_ns()}-{os.getpid()}.json"

    @staticmethod
    def key(stage: str, **ingredients: Any) -> str:
        """Key of a stage from everything that its result depends on."""
        return content_hash({"stage": stage, **ingredients})[:20]

    def folder(self, stage: str, key: str) -> Path:
        """Where the whole result lives."""
        return self.workspace.stages / stage / key

    def find(self, stage: str, key: str) -> StageResult | None:
        """The whole result of a key, its files checked against the manifest; None if absent.

        A result with a missing or altered file is moved out of the way, with a new name that
        says so, and counts as absent.
        """
        folder = self.folder(stage, key)
        if not (folder / MANIFEST).exists():
            return None
        try:
            manifest = read_json(folder / MANIFEST)
            whole = _digests(folder) == manifest["files"]
        except (DataError, KeyError, TypeError):
            whole = False
        if not whole:
            aside = folder.with_name(f"{key}{DAMAGED}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)
            return None
        return StageResult(
            stage=stage, key=key, folder=folder, content=manifest["content"], cached=True
        )

    def holding(self, stage: str, content: str) -> StageResult | None:
        """A whole result of a stage by its content, whatever it was made by; None if absent."""
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
        """The result of a key, built where it is absent.

        Args:
            stage: Name of the stage.
            key: Its key.
            build: Fills the partial folder; what an earlier attempt left is still there.
            counts: Only files below this relative path make up ``content``; logs and timings
                differ from run to run and must not rerun later stages.
            reusable: Whether a whole result is good enough to be taken again; one that is not is
                built anew and replaced.

        Raises:
            WorkspaceError: Another process is building this stage.
        """
        with lock(self.workspace.locks / f"{stage}.lock", f"stage {stage}"):
            self._note(stage, key)
            found = self.find(stage, key)
            if found is not None and reusable(found.folder):
                return found
            folder = self.folder(stage, key)
            partial = folder.with_name(f"{key}{PARTIAL}")
            partial.mkdir(parents=True, exist_ok=True)
            build(partial)
            digests = _digests(partial)
            content = content_hash({k: v for k, v in digests.items() if k.startswith(counts)})
            write_json(
                partial / MANIFEST,
                {"stage": stage, "key": key, "files": digests, "content": content},
            )
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
            return StageResult(stage=stage, key=key, folder=folder, content=content, cached=False)

    def _note(self, stage: str, key: str) -> None:
        if (stage, key) not in self._asked:
            self._asked.append((stage, key))
            write_json(self._notes, self._asked)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != MANIFEST
        # Locks and what a killed writer left.
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
