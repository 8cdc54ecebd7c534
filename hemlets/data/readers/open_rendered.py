"""A data version of this project, such as the open rendered dataset, as a dataset.

Its images are rows of shards: `ImageRef` names them as frames, ``shards/NAME.arrow#ROW``. Scenes
without a person are left out, since ingest reads people: combine data versions to retain them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from hemlets.core.arrays import Bool
from hemlets.data.readers.contract import (
    INGEST_FILLS,
    Dataset,
    ImageRef,
    LayoutEntry,
    ReadOptions,
    SourceRows,
    Supervision,
)
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.readers.stills import CHUNK, images_below
from hemlets.data.table import FIELDS, SPLITS, Annotations

DATASET: Final = Dataset(
    name="open-rendered",
    title="Open rendered people",
    paper="this project",
    licence="Apache-2.0 and CC0: see the licences beside the bundled body and motions",
    document="hemlets.data.synthetic",
    supervision=(
        Supervision.JOINTS_3D,
        Supervision.JOINTS_2D,
        Supervision.RELATIONS,
        Supervision.SMPL,
        Supervision.MASK,
    ),
    layout=(
        LayoutEntry(pattern="annotations.parquet", what="the annotation table"),
        LayoutEntry(pattern="shards/*.arrow", what="the images"),
        LayoutEntry(pattern="version.json", what="how it was made", required=False),
    ),
    joints="all 18, regressed from the body's skin",
    conventions="this project's own: camera frame in millimetres, pixels from the corner",
    faults=("rendered, not photographed",),
    reader="hemlets.data.readers.open_rendered:read",
)

_SHARDS: Final = "shards/"


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of a data version."""
    table = Annotations.read(root / "annotations.parquet")
    yield from version_rows(table, options, quarantine, root)


def version_rows(
    table: Annotations, options: ReadOptions, quarantine: Quarantine, root: Path
) -> Iterator[SourceRows]:
    """Yield the rows of an annotation table whose images are in the version's shards."""
    present = images_below(root, _SHARDS)
    # The gate split is held out of training, as validation is.
    wanted = options.splits | ({"gate"} if "validation" in options.splits else set())
    names = [field.name for field in FIELDS if field.name not in INGEST_FILLS]
    taken: set[str] = set()
    for split in (split for split in SPLITS if split in wanted):
        part = table.split(split)
        for start in range(0, len(part), CHUNK):
            rows = Annotations(part.table.slice(start, CHUNK).combine_chunks())
            keep = _sound(rows, present, taken, quarantine)
            if keep.any():
                rows = rows.take(keep)
                yield SourceRows(
                    columns={name: rows.column(name) for name in names},
                    images=tuple(
                        ImageRef(f"{_SHARDS}{shard}", int(row))
                        for shard, row in zip(rows.shard, rows.shard_row, strict=True)
                    ),
                )


def _sound(
    rows: Annotations, present: frozenset[str], taken: set[str], quarantine: Quarantine
) -> Bool:
    file = "annotations.parquet"
    keep = np.ones(len(rows), bool)

    def refuse(row: int, what: str, field: str, remedy: str) -> None:
        name = f"{what} (sample {rows.sample_id[row]})"
        quarantine.report(name, file=file, row=row, field=field, remedy=remedy)
        keep[row] = False

    for row, (sample, shard) in enumerate(zip(rows.sample_id, rows.shard, strict=True)):
        if f"{_SHARDS}{shard}" not in present:
            refuse(row, f"the shard {shard} does not exist", "shard", "fetch the version again")
        elif sample in taken:
            refuse(row, "the same sample was given before", "sample_id", "remove one of the two")
        taken.add(sample)
    return keep
