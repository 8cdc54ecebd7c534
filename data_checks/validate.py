"""Validate a data version: measure rules, check bounds, describe faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_checks.census import Census
from data_checks.datasets import DATASETS
from data_checks.extremes import ROWS_EACH, Extremes
from data_checks.overlay import ADDED, Overlay
from data_checks.report import write_report
from data_checks.result import RESULT_FILE, Finding, Row, ValidationResult
from data_checks.rows import Chunk, Rows, TableFile
from data_checks.rule import Entries, Rule, Severity
from data_checks.rules import APPLIES, SUITES, dataset
from data_checks.rules import table as table_rules
from data_checks.rules.body import every_joint_moves
from data_checks.suite import Failure, Frame, run_suites
from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file, write_json
from hemlets.data.table import Annotations

MAX_ROWS_NAMED = 20
"""Largest number of rows in a finding; its count is of all rows."""

WHOLE_ROWS = 16_384
"""Up to this size, Great Expectations gets all rows; else the extreme ones."""

_SHARDS = "shards"
_NOTHING = "nothing: no earlier version was given"


def validate(
    folder: Path,
    out: Path,
    *,
    previous: Path | None = None,
    compared_with: str | None = None,
    overlay: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ValidationResult:
    """Validate a data version and write the result.

    ``out`` receives ``result.json`` (written last, so its presence means that everything else is
    complete), ``great_expectations.json``, ``data_docs/`` and ``report.html``.

    Args:
        folder: The data version: ``annotations.parquet`` and ``shards/``.
        out: Folder for the results; an earlier result in it is replaced.
        previous: An earlier data version to compare label distributions with.
        compared_with: Its name for the pages, or why there is none; by default its folder's name.
        overlay: A user's suite file that adds, changes or switches off expectations.
        progress: Called with the number of rows measured and the number of all rows.

    Returns:
        The result, with the faults of the data. No exception is raised for them.

    Raises:
        ConfigError: The suite file is absent or wrong.
        AssetError: The open body can't be loaded.
        WorkspaceError: The results can't be written.
    """
    changes = Overlay() if overlay is None else Overlay.read(overlay)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT_FILE).unlink(missing_ok=True)
    site = out / "data_docs"
    shutil.rmtree(site, ignore_errors=True)

    exam = _examine(folder, previous, changes, progress or (lambda done, total: None))
    outcome = run_suites(exam.frames, site, changes.notify)
    findings = [
        _finding(failure, exam.describe[failure.frame], exam.counts.get(failure.rule.name))
        for failure in outcome.failures
    ]
    blocking = tuple(f for f in findings if f.severity is Severity.BLOCK)
    path = folder / table_rules.TABLE_FILE
    result = ValidationResult(
        passed=not blocking,
        rows=exam.rows,
        expectations=outcome.evaluated,
        blocking=blocking,
        warnings=tuple(f for f in findings if f.severity is Severity.WARN),
        table_sha256=sha256_file(path) if path.is_file() else "",
        compared_with=compared_with or (previous.resolve().name if previous else _NOTHING),
        suite=changes.to_json() if overlay else {},
        data_docs=site / "index.html",
        report=out / "report.html",
    )
    write_json(out / "great_expectations.json", outcome.results)
    write_report(
        result.report, result, [rule for frame in exam.frames for rule in frame.rules],
        shown=exam.shown, splits=exam.splits, shards=folder / _SHARDS,
    )  # fmt: skip
    result.write(out)
    return result


_Describe = Callable[[Rule, int], tuple[Row, str, float]]
"""Describes a failing row of a frame: the row, its field, and how far it lies beyond the bound."""


@dataclass(kw_only=True)
class _Exam:
    """Measured values for Great Expectations, and descriptions of failures.

    Attributes:
        overlay: Changes of the rules.
        frames: One per suite.
        describe: Description functions by the frame's name.
        counts: Rows beyond each rule's bound, if not all rows are in the frames.
        rows: Rows of the table.
        shown: Rows for pictures.
        splits: Rows of each split.
    """

    overlay: Overlay = field(default_factory=Overlay)
    frames: list[Frame] = field(default_factory=list)
    describe: dict[str, _Describe] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    shown: Chunk | None = None
    splits: dict[str, int] = field(default_factory=dict)

    def add(self, built_in: Rule, entries: Entries | None) -> bool:
        """Add a rule of entries, if any; return whether the rule holds."""
        rule = self.overlay.of(built_in)
        if rule is None or entries is None:
            return True

        def describe(rule: Rule, row: int) -> tuple[Row, str, float]:
            named = Row(number=-1, sample_id=entries.names[row], observed=entries.observed[row])
            return named, entries.fields[row], float(rule.excess(entries.values[row]))

        values = np.array(entries.values)
        self.frames.append(
            Frame(name=rule.suite, index=entries.names, columns={rule.name: values}, rules=[rule])
        )
        self.describe[rule.suite] = describe
        return not rule.fails(values).any()


def _examine(
    folder: Path, previous: Path | None, overlay: Overlay, progress: Callable[[int, int], None]
) -> _Exam:
    exam = _Exam(overlay=overlay)
    path = folder / table_rules.TABLE_FILE
    schema = table_rules.schema_matches
    if not exam.add(schema, schema.measure(path)):
        return exam
    try:
        table = TableFile(path)
        if not exam.add(table_rules.no_nulls, table_rules.no_nulls.measure(table)):
            return exam
        census = Census.take(table, folder / _SHARDS)
    except (DataError, pa.ArrowException, OSError) as error:
        exam = _Exam(overlay=overlay)
        exam.add(schema, table_rules.unreadable(error))
        return exam

    exam.rows, exam.splits = len(table), census.splits()
    evidence = dataset.Evidence()
    if exam.rows:
        _add_rows(exam, table, census, folder / _SHARDS, evidence, progress)
    # Known datasets by themselves may lack splits; rendered data may not.
    known = bool(census.sources()) and all(name in DATASETS for name in census.sources())
    sizes = table_rules.ready_for_training if known else table_rules.enough_rows
    exam.add(sizes, sizes.measure(exam.splits))
    for rule in (
        dataset.left_right_2d_of_source,
        dataset.markerless_bodies_mostly_plausible,
        dataset.nose_seen_from_front,
        dataset.labels_agree_with_depth,
        dataset.labels_mostly_known,
        dataset.labels_vary,
        dataset.labels_looked_at,
    ):
        exam.add(rule, rule.measure(evidence))
    exam.add(every_joint_moves, every_joint_moves.measure(census.theta))
    if previous is not None:
        drift = table_rules.labels_like_before
        exam.add(drift, drift.measure((census.distributions, previous)))
    return exam


def _add_rows(
    exam: _Exam,
    table: TableFile,
    census: Census,
    shards: Path,
    evidence: dataset.Evidence,
    progress: Callable[[int, int], None],
) -> None:
    suites: dict[str, Sequence[Rule]] = dict(SUITES)
    for name in census.sources():
        if name in DATASETS:
            suites[f"dataset {name}"] = dataset.dataset_rules(name)
    suites[ADDED] = tuple(exam.overlay.added.values())
    suites = {
        name: [changed for rule in suite if (changed := exam.overlay.of(rule)) is not None]
        for name, suite in suites.items()
    }

    def rows_of(chunk: Chunk) -> Rows:
        return Rows(table=chunk.table, numbers=chunk.rows, census=census, shards=shards)

    note = ""
    if len(table) <= WHOLE_ROWS:
        rows = rows_of(table.take(np.arange(len(table))))
        evidence.add(rows)
    else:
        rules = {rule.name: rule for suite in suites.values() for rule in suite}
        repeated = [row for rows in census.duplicated_ids.values() for row in rows]
        extremes = Extremes(list(rules.values()), np.array(repeated[:ROWS_EACH], np.int64))
        for chunk in table.chunks():
            rows = rows_of(chunk)
            evidence.add(rows)
            extremes.add(rows)
            progress(int(chunk.rows[-1]) + 1, len(table))
        rows = rows_of(table.take(extremes.rows))
        exam.counts = extremes.beyond | {"sample_id_unique": len(repeated)}
        note = f" Judged by the {len(rows):,} most extreme of {len(table):,} rows."
    progress(len(table), len(table))
    exam.shown = Chunk(table=rows.table, rows=rows.numbers)
    for name, suite in suites.items():
        picked = np.flatnonzero(_applies(name, rows.table))
        if len(picked) and suite:
            exam.frames.append(
                Frame(
                    name=name,
                    index=[str(rows.table.sample_id[row]) for row in picked],
                    columns={rule.name: rows.measured(rule).values[picked] for rule in suite},
                    rules=suite,
                    note=note,
                )
            )
            exam.describe[name] = _describe_rows(rows, picked)


def _applies(suite: str, table: Annotations) -> Array:
    """Mark rows (N,) that a suite applies to."""
    if suite == ADDED:
        return np.ones(len(table), bool)
    if suite in APPLIES:
        return APPLIES[suite](table)
    return np.asarray(table.source == suite.removeprefix("dataset "))


def _describe_rows(rows: Rows, picked: Array) -> _Describe:
    def describe(rule: Rule, position: int) -> tuple[Row, str, float]:
        row = int(picked[position])
        measured = rows.measured(rule)
        named = Row(
            number=int(rows.numbers[row]),
            sample_id=str(rows.table.sample_id[row]),
            observed=measured.observed(row),
        )
        excess = 0.0 if rule.is_text else float(rule.excess(measured.values[row]))
        return named, rule.field, excess

    return describe


def _finding(failure: Failure, describe: _Describe, count: int | None) -> Finding:
    rule = failure.rule
    described = [describe(rule, row) for row in failure.rows]
    described.sort(key=lambda item: -item[2])
    worst = described[:MAX_ROWS_NAMED]
    rows = tuple(row for row, _, _ in worst)
    return Finding(
        expectation=rule.name,
        severity=rule.severity,
        field=", ".join(dict.fromkeys(field for _, field, _ in worst)) or rule.field,
        says=rule.says,
        reason=rule.reason,
        observed=rows[0].observed if rows else "",
        count=len(described) if count is None else count,
        rows=rows,
    )
