"""Package: build the model archive and test it through a real endpoint."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flows.profile import Profile
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.machine import machine
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.code_hash import code_hash
from hemlets.core.errors import ConfigError
from hemlets.core.files import read_json, sha256_file, sha256_folder, write_json

if TYPE_CHECKING:
    from flows.tracking.run import Run

_CANARY: Final = "canary.json"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A model archive and the outcome of its canary.

    Attributes:
        result: The cached result.
        archive: The ``.mar`` file.
        passed: Whether the endpoint's answers equalled the saved predictions.
        summary: The outcome as one sentence.
    """

    result: StageResult
    archive: Path
    passed: bool
    summary: str


def package(
    store: StageStore, profile: Profile, data: Data, model_folder: Path, scored: Benchmark
) -> Package:
    """Build the model archive and compare a real endpoint's answers with the predictions.

    Failures are not cached, because they may be transient, such as a worker out of memory. Each
    failure is stored under a separate key.
    """
    key = store.key(
        "package",
        config=profile.canary.hash,
        model=sha256_folder(model_folder),
        predictions=sha256_file(scored.predictions("test")),
        machine=machine(),
        code=code_hash("flows.steps.canary", "serving.archive"),
    )

    def build(folder: Path) -> None:
        from flows.steps.canary import try_endpoint
        from serving.archive import build_archive

        archive = build_archive(model_folder, folder)
        outcome = try_endpoint(
            profile.canary,
            archive,
            scored.predictions("test"),
            data.folder,
            instance=store.workspace.serving / "canary",
        )
        write_json(folder / _CANARY, outcome)

    def passed(folder: Path) -> bool:
        return bool(read_json(folder / _CANARY)["passed"])

    result = store.run("package", key, build, reusable=passed)
    archives = sorted(result.folder.glob("*.mar"))
    if len(archives) != 1:
        shutil.rmtree(result.folder, ignore_errors=True)
        raise ConfigError("the package has no archive", where=result.folder, remedy="run again")
    outcome = read_json(result.folder / _CANARY)
    if not outcome["passed"]:
        result = replace(result, key=f"{key}-failed-{result.content[:8]}")
    return Package(
        result=result,
        archive=archives[0],
        passed=bool(outcome["passed"]),
        summary=str(outcome["summary"]),
    )


def log_package(run: Run, packaged: Package) -> None:
    """Log the canary's outcome."""
    run.tag(
        {
            "canary": "passed" if packaged.passed else "failed",
            "canary.summary": packaged.summary,
        }
    )
    run.files([packaged.result.folder / _CANARY])
