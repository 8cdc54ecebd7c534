"""Read rows of an annotation table in chunks; compute values shared by several rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_checks.rule import Measured, Rule
from hemlets.core.arrays import Array, Bool, Float, Int64
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.data.table import FIELDS, Annotations

if TYPE_CHECKING:
    from data_checks.census import Census

CHUNK_ROWS = 16_384
"""Rows per chunk; equals the table writer's row groups."""

_NAMES = [field.name for field in FIELDS]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a table.

    Attributes:
        table: The rows.
        rows: Their numbers in the whole table, from 0.
    """

    table: Annotations
    rows: Int64

    def __len__(self) -> int:
        return len(self.rows)


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

    def take(self, rows: Int64) -> Chunk:
        """Rows by their sorted numbers; the rows between them do not stay in memory."""
        starts = np.cumsum([0, *self._group_rows])
        wanted = np.unique(np.searchsorted(starts, rows, side="right") - 1)
        parts = []
        for chunk in self._chunks([int(group) for group in wanted]):
            inside = rows[(rows >= chunk.rows[0]) & (rows <= chunk.rows[-1])]
            if len(inside):
                parts.append(chunk.table.take(inside - chunk.rows[0]))
        empty = Annotations(Annotations.schema.empty_table())
        return Chunk(table=Annotations.concatenate(parts) if parts else empty, rows=rows)

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


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A chunk as rules see it. Shared values are computed once.

    Not-a-number stands for "does not apply" and passes through the arithmetic.

    Attributes:
        table: The rows.
        numbers: (N,) their numbers in the whole table.
        census: Facts of the whole table.
        shards: Folder of the image shards.
    """

    table: Annotations
    numbers: Int64
    census: Census
    shards: Path
    cache: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def measured(self, rule: Rule) -> Measured:
        """Return the measurement of a rule."""
        if rule.name not in self.cache:
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                self.cache[rule.name] = rule.measure(self)
        measured: Measured = self.cache[rule.name]
        return measured

    @cached_property
    def sources(self) -> Array:
        """(N,) dataset of each row."""
        return self.table.source.astype(str)

    @cached_property
    def of_source(self) -> dict[str, Bool]:
        """Mask (N,) of the rows of each existing dataset."""
        return {str(name): self.sources == name for name in np.unique(self.sources)}

    def equals(self, field: str, accepted: Sequence[str]) -> Bool:
        """Rows (N,) whose text is one of several."""
        return np.isin(self.table.column(field).astype(str), accepted)

    @cached_property
    def boxes(self) -> Float:
        """Boxes, px."""
        return self.table.box_xyxy.astype(np.float64)

    @cached_property
    def sizes(self) -> Float:
        """Width and height of the images, px."""
        return np.stack([self.table.image_width, self.table.image_height], 1).astype(np.float64)

    @cached_property
    def joints2d(self) -> Float:
        """2D joints, px; meaningless where they are not annotated."""
        return self.table.joints2d_px.astype(np.float64)

    @cached_property
    def joints3d(self) -> Float:
        """3D joints, mm; NaN where they are not annotated or not finite."""
        return known_joints(self.table)

    @cached_property
    def lengths(self) -> Float:
        """Lengths of the 14 parts, mm; NaN where unknown."""
        return bone_lengths(self.joints3d)


def once(function: Callable[[Rows], T]) -> Callable[[Rows], T]:
    """Cache a function of rows, so that several rules share its result."""

    @wraps(function)
    def cached(rows: Rows) -> T:
        if function not in rows.cache:
            rows.cache[function] = function(rows)
        value: T = rows.cache[function]
        return value

    return cached


def known_joints(table: Annotations) -> Float:
    """Return 3D joints (N, 18, 3) in mm; NaN where unknown."""
    joints_NJ3 = table.joints3d_mm.astype(np.float64)
    known_NJ = table.valid3d & np.isfinite(joints_NJ3).all(2)
    return np.where(known_NJ[..., None], joints_NJ3, np.nan)


def bone_lengths(joints_NJ3: Float) -> Float:
    """Lengths (N, 14) of the parts, in the joints' unit; 2D or 3D."""
    bones = joints_NJ3[:, PART_CHILD] - joints_NJ3[:, PART_PARENT]
    return np.asarray(np.linalg.norm(bones, axis=2))
