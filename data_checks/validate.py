"""Validation of a data version: derive columns, hold them against the suites, tell the outcome."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_checks.columns import Columns, derive
from data_checks.columns.population import Statistics, drift, split_sizes, theta_spread
from data_checks.columns.schema import null_cells, schema_faults
from data_checks.docs import SuiteSummary, make_offline
from data_checks.expectations import (
    DRIFT_CHECKS,
    ROW_CHECKS,
    SCHEMA_CHECKS,
    SPLIT_CHECKS,
    THETA_CHECKS,
    Check,
    Severity,
)
from data_checks.report import write_report
from data_checks.result import RESULT_FILE, Finding, Row, ValidationResult
from data_checks.suite import Failure, Frame, Outcome, run_suites
from hemlets.annotations import Annotations
from hemlets.errors import DataError
from hemlets.files import sha256_file, write_json

__all__ = ["MAX_ROWS_NAMED", "TABLE_FILE", "validate"]

TABLE_FILE = "annotations.parquet"
MAX_ROWS_NAMED = 20
"""Rows that a finding names; its count tells how many there are."""

_SHARDS = "shards"


def validate(folder: Path, out: Path, *, previous: Path | None = None) -> ValidationResult:
    """Validate a data version and write down what was found.

    ``out`` receives ``result.json`` (written last, so that its presence means that everything
    else is whole), ``great_expectations.json``, ``data_docs/`` and ``report.html``.

    Args:
        folder: The data version: ``annotations.parquet`` and ``shards/``.
        out: Folder for the results; an earlier result in it is replaced.
        previous: An earlier data version to compare label distributions with.

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

    frames, tellers, table = _frames(folder, previous)
    outcome = run_suites(frames, site)
    findings = [_finding(failure, tellers[failure.frame]) for failure in outcome.failures]
    blocking = tuple(f for f in findings if f.severity is Severity.BLOCK)
    path = folder / TABLE_FILE
    result = ValidationResult(
        passed=not blocking,
        rows=0 if table is None else len(table),
        expectations=outcome.evaluated,
        blocking=blocking,
        warnings=tuple(f for f in findings if f.severity is Severity.WARN),
        table_sha256=sha256_file(path) if path.is_file() else "",
        data_docs=make_offline(site, _summaries(frames, outcome)),
        report=out / "report.html",
    )
    checks = [check for frame in frames for check in frame.checks]
    write_json(out / "great_expectations.json", outcome.results)
    write_report(result.report, result, checks, table=table, shards=folder / _SHARDS)
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


def _frames(
    folder: Path, previous: Path | None
) -> tuple[list[Frame], dict[str, _Teller], Annotations | None]:
    frames: list[Frame] = []
    tellers: dict[str, _Teller] = {}

    def add(name: str, statistics: Statistics, checks: Sequence[Check]) -> bool:
        values = np.array(statistics.values)
        columns = {check.name: values for check in checks}
        frames.append(Frame(name=name, index=statistics.names, columns=columns, checks=checks))
        tellers[name] = _statistics_teller(statistics)
        return not any(statistics.values)

    path = folder / TABLE_FILE
    if not add("schema", schema_faults(path), SCHEMA_CHECKS[:1]):
        return frames, tellers, None
    try:
        if not add("nulls", null_cells(path), SCHEMA_CHECKS[1:]):
            return frames, tellers, None
        table = Annotations.read(path)
    except (DataError, pa.ArrowException, OSError) as error:
        frames.pop()
        add("schema", _unreadable(error), SCHEMA_CHECKS[:1])
        return frames, tellers, None

    if len(table):
        columns = derive(table, folder / _SHARDS)
        frames.append(
            Frame(
                name="rows",
                index=[str(name) for name in table.sample_id],
                columns={check.name: columns[check.name].values for check in ROW_CHECKS},
                checks=ROW_CHECKS,
            )
        )
        tellers["rows"] = _row_teller(table, columns)
    add("splits", split_sizes(table), SPLIT_CHECKS)
    spread = theta_spread(table)
    if spread is not None:
        add("theta", spread, THETA_CHECKS)
    if previous is not None:
        add("drift", _drift(table, previous), DRIFT_CHECKS)
    return frames, tellers, table


def _unreadable(error: Exception) -> Statistics:
    text = error.what if isinstance(error, DataError) else f"the table can't be read: {error}"
    return Statistics(names=(TABLE_FILE,), fields=(TABLE_FILE,), values=(1.0,), observed=(text,))


def _drift(table: Annotations, previous: Path) -> Statistics:
    try:
        return drift(table, Annotations.read(previous / TABLE_FILE))
    except DataError as error:
        return Statistics(
            names=("previous version",), fields=("(distribution)",), values=(math.inf,),
            observed=(f"the previous version can't be compared: {error.what}",),
        )  # fmt: skip


def _row_teller(table: Annotations, columns: Columns) -> _Teller:
    names = table.sample_id

    def tell(check: Check, row: int) -> tuple[Row, str, float]:
        column = columns[check.name]
        told = Row(number=row, sample_id=str(names[row]), observed=column.observed(row))
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


def _finding(failure: Failure, tell: _Teller) -> Finding:
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
        count=len(told),
        rows=rows,
    )
