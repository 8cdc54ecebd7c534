"""Table: readable, of the schema, without nulls, with enough rows, and like the earlier version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_checks.distributions import Distributions
from data_checks.rows import TableFile
from data_checks.rule import Entries, Severity, rule
from hemlets.core.errors import DataError
from hemlets.data.table import FIELDS, SPLITS

TABLE_FILE = "annotations.parquet"

_MIN_ROWS = 4
"""Below it a split has no spread to speak of, whatever the profile asks for."""


@rule("schema", TABLE_FILE, at_most=0)
def schema_matches(path: Path) -> Entries:
    """The table can be read and has every column with the type of the annotation schema.

    Everything after this step reads the table by these names and types.
    """
    try:
        found = pq.read_schema(path)
        pq.read_table(path, columns=[])
    except FileNotFoundError:
        return unreadable("the annotation table does not exist")
    except (pa.ArrowException, OSError) as error:
        return unreadable(error)
    faults = {}
    for field in FIELDS:
        fault = ""
        if field.name not in found.names:
            fault = f"column {field.name} is missing; expected type {field.arrow_type}"
        elif found.field(field.name).type != field.arrow_type:
            kind = found.field(field.name).type
            fault = f"column {field.name} has type {kind}; expected {field.arrow_type}"
        faults[field.name] = fault
    return Entries(
        names=tuple(faults), fields=tuple(faults),
        values=tuple(float(bool(fault)) for fault in faults.values()),
        observed=tuple(fault or "as expected" for fault in faults.values()),
    )  # fmt: skip


def unreadable(error: Exception | str) -> Entries:
    """What `schema_matches` gives for a table that can't be read."""
    what = error.what if isinstance(error, DataError) else error
    text = what if isinstance(what, str) else f"the annotation table can't be read: {what}"
    return Entries.of(TABLE_FILE, {TABLE_FILE: (1.0, text)})


@rule("nulls", TABLE_FILE, at_most=0)
def no_nulls(table: TableFile) -> Entries:
    """No cell is null.

    Entries that are not annotated are marked by a validity, so a null is a fault of the writer.
    """
    counts = {field.name: 0 for field in FIELDS}
    first: dict[str, str] = {}
    for chunk in table.chunks():
        for field in FIELDS:
            column = chunk.table.table.column(field.name).combine_chunks()
            flat = column.flatten() if field.shape else column
            found = column.null_count + (flat.null_count if field.shape else 0)
            if found and field.name not in first:
                row = int(chunk.rows[0]) + _first_null(column, flat)
                first[field.name] = f", the first in row {row}"
            counts[field.name] += found
    return Entries(
        names=tuple(counts), fields=tuple(counts), values=tuple(map(float, counts.values())),
        observed=tuple(
            f"{count} null cells in {name}{first.get(name, '')}" for name, count in counts.items()
        ),
    )  # fmt: skip


def _first_null(column: pa.Array, flat: pa.Array) -> int:
    if column.null_count:
        return int(column.is_null().index(True).as_py())
    return int(flat.is_null().index(True).as_py()) // max(1, len(flat) // len(column))


def _split_sizes(counts: Mapping[str, int]) -> Entries:
    sizes = {split: counts.get(split, 0) for split in SPLITS}
    return Entries.of("split", {s: (n, f"split {s} has {n:,} rows") for s, n in sizes.items()})


@rule("splits", "split", at_least=_MIN_ROWS)
def enough_rows(counts: Mapping[str, int]) -> Entries:
    """Every split has at least 4 rows.

    A model can't be trained, selected, gated or scored on an empty split.
    """
    return _split_sizes(counts)


@rule("splits", "split", severity=Severity.WARN, at_least=_MIN_ROWS)
def ready_for_training(counts: Mapping[str, int]) -> Entries:
    """Every split has at least 4 rows; known datasets by themselves may lack some.

    Datasets by themselves needn't have all splits, but retraining needs all of them.
    """
    return _split_sizes(counts)


@rule("drift", "(distribution)", severity=Severity.WARN, at_most=0.2)
def labels_like_before(versions: tuple[Distributions, Path]) -> Entries:
    """Label distributions differ from the previous version's by at most 0.2 beyond noise.

    New labels of another kind move the metrics for reasons other than the model.
    """
    now, previous = versions
    try:
        faults = schema_matches.measure(previous / TABLE_FILE)
        if not any(faults.values):
            table = TableFile(previous / TABLE_FILE)
            if any(no_nulls.measure(table).values):
                return _not_compared("it has null cells")
            return now.drift(Distributions.of(table))
    except (DataError, pa.ArrowException, OSError) as error:
        return _not_compared(error.what if isinstance(error, DataError) else str(error))
    return _not_compared(faults.observed[faults.values.index(1.0)])


def _not_compared(why: str) -> Entries:
    text = f"the previous version can't be compared: {why}"
    return Entries.of("(distribution)", {"previous version": (math.inf, text)})
