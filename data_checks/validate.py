"""Validation of a data version: derive columns, hold them against the suites, tell the outcome."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_checks.census import Census, null_cells
from data_checks.check import Check, Severity
from data_checks.columns.base import Array, Columns
from data_checks.columns.by_source import SourceEvidence
from data_checks.columns.derive import derive
from data_checks.columns.population import Statistics, Tally, split_sizes
from data_checks.columns.schema import schema_faults
from data_checks.datasets import DATASETS
from data_checks.docs import SuiteSummary, make_offline
from data_checks.expectations import (
    DRIFT_CHECKS,
    LABEL_CHECKS,
    MARKERLESS_CHECKS,
    NOSE_CHECKS,
    SCHEMA_CHECKS,
    SPLIT_CHECKS,
    SUITES,
    SWAPPED_CHECKS,
    THETA_CHECKS,
    TRAINING_SPLIT_CHECKS,
    dataset_checks,
)
from data_checks.extremes import ROWS_EACH, Extremes
from data_checks.report import write_report
from data_checks.result import RESULT_FILE, Finding, Row, ValidationResult
from data_checks.stream import Chunk, TableFile
from data_checks.suite import Failure, Frame, Outcome, run_suites
from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file, write_json
from hemlets.data.table import SPLITS, Annotations

TABLE_FILE = "annotations.parquet"
MAX_ROWS_NAMED = 20
"""Rows that a finding names; its count tells how many there are."""

WHOLE_ROWS = 16_384
"""Great Expectations is shown all rows of a table up to this size, of larger ones the extreme."""

_SHARDS = "shards"
_NOTHING = "nothing: no earlier version was given"


def validate(
    folder: Path,
    out: Path,
    *,
    previous: Path | None = None,
    compared_with: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ValidationResult:
    """Validate a data version and write down what was found.

    ``out`` receives ``result.json`` (written last, so that its presence means that everything
    else is whole), ``great_expectations.json``, ``data_docs/`` and ``report.html``.

    Args:
        folder: The data version: ``annotations.parquet`` and ``shards/``.
        out: Folder for the results; an earlier result in it is replaced.
        previous: An earlier data version to compare label distributions with.
        compared_with: What the pages call it, or why there is none; by default its folder's name.
        progress: Called with the rows looked at and the rows in all.

    Returns:
        The result. Faults of the data are in it; none is raised.

    Raises:
        AssetError: The open body can't be loaded.
        WorkspaceError: The results can't be written.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT_FILE).unlink(missing_ok=True)
    site = out / "data_docs"
    shutil.rmtree(site, ignore_errors=True)

    exam = _examine(folder, previous, progress or (lambda done, total: None))
    outcome = run_suites(exam.frames, site)
    findings = [
        _finding(failure, exam.tellers[failure.frame], exam.counts.get(failure.check.name))
        for failure in outcome.failures
    ]
    blocking = tuple(f for f in findings if f.severity is Severity.BLOCK)
    path = folder / TABLE_FILE
    result = ValidationResult(
        passed=not blocking,
        rows=exam.rows,
        expectations=outcome.evaluated,
        blocking=blocking,
        warnings=tuple(f for f in findings if f.severity is Severity.WARN),
        table_sha256=sha256_file(path) if path.is_file() else "",
        compared_with=compared_with or (previous.resolve().name if previous else _NOTHING),
        data_docs=make_offline(site, _summaries(exam.frames, outcome)),
        report=out / "report.html",
    )
    checks = [check for frame in exam.frames for check in frame.checks]
    write_json(out / "great_expectations.json", outcome.results)
    write_report(
        result.report, result, checks,
        shown=exam.shown, splits=exam.splits, shards=folder / _SHARDS,
    )  # fmt: skip
    result.write(out)
    return result


def _summaries(frames: Sequence[Frame], outcome: Outcome) -> list[SuiteSummary]:
    return [
        SuiteSummary(
            name=frame.name,
            evaluated=len(frame.checks),
            failed=sum(failure.frame == frame.name for failure in outcome.failures),
        )
        for frame in frames
    ]


_Teller = Callable[[Check, int], tuple[Row, str, float]]
"""Describes a failing row of a frame: the row, its field, and how bad it is."""


@dataclass(kw_only=True)
class _Exam:
    """What is put before Great Expectations, and how to tell what it finds.

    Attributes:
        frames: One a suite.
        tellers: By the frame's name.
        counts: Rows beyond each expectation's bound, where not all rows are in the frames.
        rows: Rows of the table.
        shown: The rows that pictures can be drawn of.
        splits: Rows of each split.
    """

    frames: list[Frame] = field(default_factory=list)
    tellers: dict[str, _Teller] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    shown: Chunk | None = None
    splits: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, statistics: Statistics, checks: Sequence[Check]) -> bool:
        """Add a frame of statistics; says whether they are all zero."""
        values = np.array(statistics.values)
        columns = {check.name: values for check in checks}
        self.frames.append(Frame(name=name, index=statistics.names, columns=columns, checks=checks))
        self.tellers[name] = _statistics_teller(statistics)
        return not any(statistics.values)


def _examine(folder: Path, previous: Path | None, progress: Callable[[int, int], None]) -> _Exam:
    exam = _Exam()
    path, shards = folder / TABLE_FILE, folder / _SHARDS
    if not exam.add("schema", schema_faults(path), SCHEMA_CHECKS[:1]):
        return exam
    try:
        table = TableFile(path)
        if not exam.add("nulls", null_cells(table), SCHEMA_CHECKS[1:]):
            return exam
        census = Census.take(table, shards)
    except (DataError, pa.ArrowException, OSError) as error:
        exam = _Exam()
        exam.add("schema", _unreadable(error), SCHEMA_CHECKS[:1])
        return exam

    exam.rows, exam.splits = len(table), census.splits()
    evidence = SourceEvidence()
    if exam.rows:
        _add_rows(exam, table, census, shards, evidence, progress)
    _add_splits(exam, census)
    for name, statistics, checks in (
        ("left and right", evidence.swapped(), SWAPPED_CHECKS),
        ("markerless bodies", evidence.bodies(), MARKERLESS_CHECKS),
        ("noses", evidence.noses(), NOSE_CHECKS),
        ("labels", evidence.labels(), LABEL_CHECKS),
    ):
        if any(statistics.values):
            exam.add(name, statistics, checks)
    spread = census.theta.spread()
    if spread is not None:
        exam.add("theta", spread, THETA_CHECKS)
    if previous is not None:
        exam.add("drift", _drift(census.tally, previous), DRIFT_CHECKS)
    return exam


def _add_rows(
    exam: _Exam,
    table: TableFile,
    census: Census,
    shards: Path,
    evidence: SourceEvidence,
    progress: Callable[[int, int], None],
) -> None:
    suites = dict(SUITES) | {
        f"dataset {name}": dataset_checks(name) for name in census.sources() if name in DATASETS
    }
    note = ""
    if len(table) <= WHOLE_ROWS:
        chunk = table.take(np.arange(len(table)))
        columns = derive(chunk, census, shards)
        evidence.add(chunk.table, columns)
    else:
        checks = {check.name: check for suite in suites.values() for check in suite}
        repeated = np.array(
            [row for rows in census.duplicated_ids.values() for row in rows][:ROWS_EACH], np.int64
        )
        extremes = Extremes(list(checks.values()), repeated)
        for part in table.chunks():
            columns = derive(part, census, shards)
            evidence.add(part.table, columns)
            extremes.add(part.rows, columns)
            progress(int(part.rows[-1]) + 1, len(table))
        chunk = table.take(extremes.rows)
        columns = derive(chunk, census, shards)
        repeated_rows = sum(map(len, census.duplicated_ids.values()))
        exam.counts = extremes.beyond | {"sample_id_unique": repeated_rows}
        note = f" Judged by the {len(chunk):,} most extreme of {len(table):,} rows."
    progress(len(table), len(table))
    exam.shown = chunk
    for name, suite in suites.items():
        picked = np.flatnonzero(_carries(name, chunk.table))
        if not len(picked):
            continue
        exam.frames.append(
            Frame(
                name=name,
                index=[str(chunk.table.sample_id[row]) for row in picked],
                columns={check.name: columns[check.name].values[picked] for check in suite},
                checks=suite,
                note=note,
            )
        )
        exam.tellers[name] = _row_teller(chunk, columns, picked)


def _carries(suite: str, table: Annotations) -> Array:
    """Which rows (N,) carry the supervision that a suite is about."""
    if suite == "rows":
        return np.ones(len(table), bool)
    if suite == "2D only":
        return np.asarray(table.valid2d.any(1) & ~table.valid3d.any(1))
    if suite == "3D joints":
        return np.asarray(table.valid3d.any(1))
    if suite == "cameras":
        return table.camera_valid
    if suite == "depth relations":
        return np.asarray(table.relations_valid.any(1))
    if suite == "SMPL":
        return table.smpl_valid
    return np.asarray(table.source == suite.removeprefix("dataset "))


def _add_splits(exam: _Exam, census: Census) -> None:
    """Known datasets by themselves needn't have all splits; what is rendered must."""
    sources = census.sources()
    if sources and all(name in DATASETS for name in sources):
        exam.add("splits", split_sizes(exam.splits, SPLITS), TRAINING_SPLIT_CHECKS)
    else:
        exam.add("splits", split_sizes(exam.splits, SPLITS), SPLIT_CHECKS)


def _unreadable(error: Exception) -> Statistics:
    text = error.what if isinstance(error, DataError) else f"the table can't be read: {error}"
    return Statistics(names=(TABLE_FILE,), fields=(TABLE_FILE,), values=(1.0,), observed=(text,))


def _drift(tally: Tally, previous: Path) -> Statistics:
    try:
        path = previous / TABLE_FILE
        faults = schema_faults(path)
        if any(faults.values):
            worst = int(np.argmax(faults.values))
            return _not_compared(faults.observed[worst])
        table = TableFile(path)
        nulls = null_cells(table)
        if any(nulls.values):
            return _not_compared("it has null cells")
        before = Tally()
        for chunk in table.chunks():
            before.add_table(chunk.table)
    except (DataError, pa.ArrowException, OSError) as error:
        return _not_compared(error.what if isinstance(error, DataError) else str(error))
    return tally.drift(before)


def _not_compared(why: str) -> Statistics:
    return Statistics(
        names=("previous version",), fields=("(distribution)",), values=(math.inf,),
        observed=(f"the previous version can't be compared: {why}",),
    )  # fmt: skip


def _row_teller(chunk: Chunk, columns: Columns, picked: Array) -> _Teller:
    names = chunk.table.sample_id

    def tell(check: Check, position: int) -> tuple[Row, str, float]:
        row = int(picked[position])
        column = columns[check.name]
        told = Row(
            number=int(chunk.rows[row]), sample_id=str(names[row]), observed=column.observed(row)
        )
        value = column.values[row]
        badness = _badness(check, float(value)) if column.values.dtype != object else 0.0
        return told, check.field, badness

    return tell


def _statistics_teller(statistics: Statistics) -> _Teller:
    def tell(check: Check, row: int) -> tuple[Row, str, float]:
        told = Row(number=-1, sample_id=statistics.names[row], observed=statistics.observed[row])
        return told, statistics.fields[row], _badness(check, statistics.values[row])

    return tell


def _badness(check: Check, value: float) -> float:
    if check.high is not None and value > check.high:
        return value - check.high
    return 0.0 if check.low is None else check.low - value


def _finding(failure: Failure, tell: _Teller, count: int | None) -> Finding:
    check = failure.check
    told = [tell(check, row) for row in failure.rows]
    told.sort(key=lambda item: -item[2])
    rows = tuple(row for row, _, _ in told[:MAX_ROWS_NAMED])
    fields = dict.fromkeys(field for _, field, _ in told[:MAX_ROWS_NAMED])
    return Finding(
        expectation=check.name,
        severity=check.severity,
        field=", ".join(fields) or check.field,
        says=check.says,
        reason=check.reason,
        observed=rows[0].observed if rows else "",
        count=len(told) if count is None else count,
        rows=rows,
    )
