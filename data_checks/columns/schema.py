"""Whether the table file can be read, and has the columns and types of the schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_checks.columns.population import Statistics
from hemlets.data.table import FIELDS


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
