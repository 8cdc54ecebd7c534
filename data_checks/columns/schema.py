"""Whether the table file can be read, and has the columns and types of the schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_checks.columns.population import Statistics
from hemlets.annotations import FIELDS

__all__ = ["null_cells", "schema_faults"]


def schema_faults(path: Path) -> Statistics:
    """One entry a field, 1 where its column is missing or of another type."""
    try:
        found = pq.read_schema(path)
        pq.read_table(path, columns=[])
    except FileNotFoundError:
        return _unreadable("the annotation table does not exist")
    except (pa.ArrowException, OSError) as error:
        return _unreadable(f"the annotation table can't be read: {error}")
    faults = []
    for field in FIELDS:
        if field.name not in found.names:
            faults.append(f"column {field.name} is missing; expected type {field.arrow_type}")
        elif found.field(field.name).type != field.arrow_type:
            kind = found.field(field.name).type
            faults.append(f"column {field.name} has type {kind}; expected {field.arrow_type}")
        else:
            faults.append("")
    return _statistics(faults)


def null_cells(path: Path) -> Statistics:
    """Null cells in each column, also inside its arrays.

    Raises:
        pyarrow.ArrowException: A column's data is damaged.
        OSError: The file can't be read.
    """
    counts, texts = [], []
    table = pq.read_table(path, columns=[field.name for field in FIELDS])
    for field in FIELDS:
        column = table.column(field.name).combine_chunks()
        flat = column.flatten() if field.shape else column
        counts.append(column.null_count + (flat.null_count if field.shape else 0))
        texts.append(f"{counts[-1]} null cells in {field.name}{_first_null(column, flat)}")
    return Statistics(
        names=tuple(field.name for field in FIELDS),
        fields=tuple(field.name for field in FIELDS),
        values=tuple(float(count) for count in counts),
        observed=tuple(texts),
    )


def _first_null(column: pa.Array, flat: pa.Array) -> str:
    nulls = column.is_null() if column.null_count else flat.is_null()
    position = nulls.index(True).as_py()
    if position < 0:
        return ""
    row = position if column.null_count else position // max(1, len(flat) // len(column))
    return f", the first in row {row}"


def _unreadable(text: str) -> Statistics:
    return Statistics(
        names=("annotations.parquet",), fields=("annotations.parquet",), values=(1.0,),
        observed=(text,),
    )  # fmt: skip


def _statistics(faults: list[str]) -> Statistics:
    names = tuple(field.name for field in FIELDS)
    return Statistics(
        names=names,
        fields=names,
        values=tuple(float(bool(fault)) for fault in faults),
        observed=tuple(fault or "as expected" for fault in faults),
    )
