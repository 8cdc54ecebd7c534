"""A table read piece by piece, so that its size does not decide how much memory is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hemlets.data.table import FIELDS, Annotations

CHUNK_ROWS = 16_384
"""Rows looked at together; as many as the table's writer puts into a row group."""

_NAMES = [field.name for field in FIELDS]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a table.

    Attributes:
        table: The rows.
        rows: Their numbers in the whole table, from 0.
    """

    table: Annotations
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def whole(cls, table: Annotations) -> Chunk:
        """A table that is in memory, as one chunk."""
        return cls(table=table, rows=np.arange(len(table)))


class TableFile:
    """An annotation table on disk whose columns have the schema's names and types.

    Reading raises `pyarrow.ArrowException` or `OSError` where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with pq.ParquetFile(path) as file:
            self._group_rows = [
                file.metadata.row_group(group).num_rows
                for group in range(file.metadata.num_row_groups)
            ]

    def __len__(self) -> int:
        return sum(self._group_rows)

    def chunks(self) -> Iterator[Chunk]:
        """All rows in their order."""
        yield from self._chunks(list(range(len(self._group_rows))))

    def take(self, rows: Rows) -> Chunk:
        """The rows of sorted numbers, without those between them being kept in memory."""
        starts = np.cumsum([0, *self._group_rows])
        wanted = np.unique(np.searchsorted(starts, rows, side="right") - 1)
        parts = []
        for chunk in self._chunks([int(group) for group in wanted]):
            inside = rows[(rows >= chunk.rows[0]) & (rows <= chunk.rows[-1])]
            if len(inside):
                parts.append(chunk.table.take(inside - chunk.rows[0]))
        table = Annotations.concatenate(parts) if parts else Annotations(_empty())
        return Chunk(table=table, rows=rows)

    def _chunks(self, groups: list[int]) -> Iterator[Chunk]:
        starts = np.cumsum([0, *self._group_rows])
        with pq.ParquetFile(self.path) as file:
            for group in groups:
                first = int(starts[group])
                batches: Any = file.iter_batches(
                    batch_size=CHUNK_ROWS, row_groups=[group], columns=_NAMES
                )
                for batch in batches:
                    rows = np.arange(first, first + batch.num_rows)
                    first += batch.num_rows
                    if len(rows):
                        table = pa.Table.from_batches([batch]).select(_NAMES)
                        yield Chunk(table=Annotations(table), rows=rows)


def _empty() -> pa.Table:
    return Annotations.schema.empty_table()
