"""Validate: check a data version against the expectation suites; stop if a blocking one fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_checks.result import ValidationResult
from flows.steps.ingest import Data
from flows.steps.merge_datasets import origins
from flows.steps.previous_data import NO_PREVIOUS, Previous
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.code_hash import code_hash
from hemlets.core.errors import ConfigError, ValidationFailed
from hemlets.core.files import sha256_file
from hemlets.core.worker_pool import WorkerPool

if TYPE_CHECKING:
    from flows.tracking.run import Run

_LISTED_ROWS = 10


def validate_data(
    store: StageStore, data: Data, previous: Previous | None = None, overlay: Path | None = None
) -> StageResult:
    """Check a data version against the expectation suites.

    Args:
        store: Cache of step results.
        data: The data version.
        previous: Earlier version to compare label distributions with.
        overlay: The profile's suite file, see `data_checks.overlay`.

    Raises:
        ConfigError: The suite file is absent or invalid.
    """

    def build(folder: Path) -> None:
        prepare = partial(
            _validator,
            data.folder,
            previous=None if previous is None else previous.folder,
            compared_with=NO_PREVIOUS if previous is None else str(previous),
            overlay=overlay,
        )
        # In a process of its own: what Great Expectations imports and keeps, 0.4 GB, would
        # otherwise stay with the flow while models train.
        with WorkerPool(prepare, 1, what="validation") as pool:
            pool.submit(folder)
            pool.next_result()

    key = store.key(
        "validate",
        data=data.result.content,
        previous=None if previous is None else previous.ingredients(),
        overlay=overlay_hash(overlay),
        code=code_hash("data_checks.validate"),
    )
    return store.run("validate", key, build, counts="result.json")


def _validator(
    data: Path, *, previous: Path | None, compared_with: str, overlay: Path | None
) -> Callable[[Path], object]:
    """Return the function that validates a data version into a folder."""
    from data_checks.validate import validate

    return partial(validate, data, previous=previous, compared_with=compared_with, overlay=overlay)


def overlay_hash(overlay: Path | None) -> str | None:
    """Hash a suite file with SHA-256.

    Raises:
        ConfigError: The file does not exist.
    """
    if overlay is None:
        return None
    if not overlay.is_file():
        raise ConfigError.missing("the profile's suite file", overlay, remedy="correct overlay")
    return sha256_file(overlay)


def require_valid(result: StageResult, data: Data) -> None:
    """Raise an error unless every blocking expectation passed.

    Raises:
        ValidationFailed: Names the failed expectations, rows, fields, pages and ingested files.
    """
    outcome = ValidationResult.read(result.folder)
    if outcome.passed:
        return
    rows, files = _ingested_rows(outcome, data)
    if files:
        names = ", ".join(file.parent.name for file in files)
        raise ValidationFailed(
            f"{outcome.message()}\n{rows}",
            where=", ".join(map(str, files)),
            remedy="correct or remove these rows where they come from and run again: a source of a "
            "profile is read by itself, others are ingested with hemlets data ingest --anew "
            f"({names}); nothing was trained",
        )
    raise ValidationFailed(
        outcome.message(),
        where=data.folder / "annotations.parquet",
        remedy="correct what produced these rows (the settings under [data], the rendering code"
        + "".join(f", the ingested dataset {part.name}" for part in data.parts)
        + ") and run again; a change to this file itself would be undone; nothing was trained",
    )


def summarize(outcome: dict[str, Any], previous: Previous | None) -> str:
    """Format the outcome as one line."""
    verdict = "passed" if outcome["passed"] else "failed"
    line = f"{outcome['rows']:,} rows, {outcome['expectations']} expectations: {verdict}"
    return line if previous is None else f"{line}; compared with {previous}"


def log_validation(run: Run, result: StageResult, outcome: dict[str, Any], version: str) -> None:
    """Log the verdict, the counts and the report."""
    run.tag(
        {
            "validation": "passed" if outcome["passed"] else "failed",
            "data_version": version,
            "compared_with": outcome["compared_with"],
        }
    )
    run.metrics({"rows": outcome["rows"], "warnings": len(outcome["warnings"])})
    run.files([result.folder / "result.json", result.folder / "report.html"])


def _ingested_rows(outcome: ValidationResult, data: Data) -> tuple[str, list[Path]]:
    """Describe the ingested rows that failed an expectation, and name the files they are in."""
    failed = {
        row.number: row.sample_id
        for finding in outcome.blocking
        for row in finding.rows
        if row.number >= 0
    }
    if not data.parts or not failed:
        return "", []
    found = origins(data.folder, data.parts, failed)
    lines = [
        f"- {failed[number]}: row {origin.row} of {origin.file}" for number, origin in found.items()
    ]
    rest = len(lines) - _LISTED_ROWS
    more = [f"- and {rest} more"] if rest > 0 else []
    files = sorted({origin.file for origin in found.values()})
    return "\n".join(["Where they were ingested:", *lines[:_LISTED_ROWS], *more]), files
