"""Stage a reader's rows on disk: check them, assign splits, and group them into shards.

Rows are staged in the reader's order, so the result depends on the dataset and the settings alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa

from hemlets.core.arrays import Bool
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import depth_relations
from hemlets.data.readers.contract import Dataset, ImageRef, ReadOptions, SourceRows
from hemlets.data.readers.quarantine import Quarantine
from hemlets.data.table import FIELDS, SPLITS, Annotations
from hemlets.data.versions.ingest_config import IngestConfig
from hemlets.data.versions.splits import CUT, cut_splits

_PIECE_ROWS: Final = 8_192
_REFERENCES: Final = ("image_path", "image_frame", "mask_path", "mask_frame")
_NO_FRAME: Final = -1


@dataclass(frozen=True, kw_only=True)
class StagedShard:
    """Rows of one image shard."""

    name: str
    split: str
    file: str
    rows: int

    def __len__(self) -> int:
        return self.rows


def stage_rows(
    dataset: Dataset,
    root: Path,
    folder: Path,
    config: IngestConfig,
    options: ReadOptions,
    quarantine: Quarantine,
    progress: Callable[[int], None] | None = None,
) -> list[StagedShard]:
    """Read all rows of a dataset into a folder of staged shards.

    Returns:
        The shards in the table's order; none if no row can be used.

    Raises:
        DataError: The dataset can't be read.
    """
    stage = _Stage(folder, config.shard_size)
    seen: set[str] = set()
    done = 0
    for rows in _pieces(dataset.read(root, options, quarantine)):
        columns = _whole_columns(rows, dataset.name)
        usable = _usable(columns, rows, seen, quarantine)
        table = _staged_table(columns, rows)
        split = np.asarray(columns["split"], object)
        home = split.copy()
        training = split == "train"
        clips = np.asarray(columns["clip"], object)
        home[training] = cut_splits(clips[training], config.cut)
        for own, goes in sorted({(str(a), str(b)) for a, b in zip(split, home, strict=True)}):
            stage.add((own, goes), table.filter(pa.array(usable & (split == own) & (home == goes))))
        done += len(rows)
        if progress is not None:
            progress(done)
    return stage.finish()


def _pieces(chunks: Iterator[SourceRows]) -> Iterator[SourceRows]:
    """Split chunks to a bounded size; a reader may yield a whole dataset at once."""
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE_ROWS):
            here = slice(start, start + _PIECE_ROWS)
            yield SourceRows(
                columns={name: values[here] for name, values in chunk.columns.items()},
                images=chunk.images[here],
                masks=chunk.masks[here],
            )


def _whole_columns(rows: SourceRows, source: str) -> dict[str, Any]:
    """Add columns that the reader left out: zero, False or the default."""
    columns: dict[str, Any] = {}
    count = len(rows)
    for field in FIELDS:
        if field.name in rows.columns:
            columns[field.name] = rows.columns[field.name]
        elif field.default is not None:
            default = field.default
            columns[field.name] = np.tile(default, (count, 1)) if field.shape else [default] * count
        elif field.dtype == pa.string():
            columns[field.name] = [source if field.name == "source" else ""] * count
        elif field.dtype == pa.binary():
            columns[field.name] = [b""] * count
        else:
            columns[field.name] = np.zeros((count, *field.shape), field.dtype.to_pandas_dtype())
    columns["source_image"] = [str(image) for image in rows.images]
    _clear_unknown(columns)
    if "relations" not in rows.columns and "joints3d_mm" in rows.columns:
        relations, known = depth_relations(columns["joints3d_mm"], columns["valid3d"])
        columns["relations"], columns["relations_valid"] = relations, known
        columns["relations_source"] = ["3d" if row.any() else "" for row in known]
    return columns


_VALIDITY: Final = (
    ("joints2d_px", "valid2d"),
    ("joints3d_mm", "valid3d"),
    ("camera", "camera_valid"),
    ("relations", "relations_valid"),
    ("theta", "smpl_valid"),
    ("betas", "smpl_valid"),
    ("transl_mm", "transl_valid"),
)


def _clear_unknown(columns: dict[str, Any]) -> None:
    for name, validity in _VALIDITY:
        values, known = np.asarray(columns[name]), np.asarray(columns[validity], bool)
        known = known.reshape(known.shape + (1,) * (values.ndim - known.ndim))
        columns[name] = np.where(known, values, np.zeros((), values.dtype))


def _usable(
    columns: dict[str, Any], rows: SourceRows, seen: set[str], quarantine: Quarantine
) -> Bool:
    """Mark rows that can be stored; others go to the quarantine for their first fault."""
    usable = np.ones(len(rows), bool)

    def refuse(bad: Bool, what: str, field: str, remedy: str) -> None:
        for row in np.flatnonzero(bad & usable):
            quarantine.report(
                f"{what} (sample {columns['sample_id'][row]})",
                file=rows.images[row].path or "annotations",
                row=int(columns["frame"][row]),
                field=field,
                remedy=remedy,
            )
        usable[bad] = False

    names = [str(name) for name in columns["sample_id"]]
    again = np.zeros(len(rows), bool)
    for row, name in enumerate(names):
        again[row] = name in seen or not name
        seen.add(name)
    refuse(again, "the sample has no name of its own", "sample_id", "give each row another name")
    strange = ~np.isin(np.asarray(columns["split"], str), SPLITS)
    refuse(strange, "the split is unknown", "split", f"name one of {', '.join(SPLITS)}")
    box_N4 = np.asarray(columns["box_xyxy"], np.float64)
    with np.errstate(invalid="ignore"):
        has_area = np.isfinite(box_N4).all(1) & (box_N4[:, 2:] > box_N4[:, :2]).all(1)
    refuse(
        np.logical_not(has_area),
        "the box has no area",
        "box_xyxy",
        "give left < right and top < bottom",
    )
    for name, _ in _VALIDITY:
        values = np.asarray(columns[name])
        if values.dtype.kind == "f":
            bad = ~np.isfinite(values).reshape(len(rows), -1).all(1)
            refuse(bad, "a number is not finite", name, "mark the value as unknown")
    refuse(
        np.array([_leads_out(image) for image in rows.images], bool),
        "the path of the image leads out of the dataset's folder",
        "source_image",
        "give a path relative to the folder, without '..'",
    )
    return usable


def _leads_out(image: ImageRef) -> bool:
    path = image.path
    return path.startswith("/") or "\\" in path or "\0" in path or ".." in PurePosixPath(path).parts


def _staged_table(columns: dict[str, Any], rows: SourceRows) -> pa.Table:
    masks = rows.masks or (None,) * len(rows)
    references = (
        pa.array([image.path for image in rows.images], pa.string()),
        pa.array([_frame(image) for image in rows.images], pa.int32()),
        pa.array(["" if mask is None else mask.path for mask in masks], pa.string()),
        pa.array([_frame(mask) for mask in masks], pa.int32()),
    )
    table = Annotations.from_columns(columns).table
    for name, values in zip(_REFERENCES, references, strict=True):
        table = table.append_column(name, values)
    return table


def _frame(image: ImageRef | None) -> int:
    return _NO_FRAME if image is None or image.frame is None else image.frame


class _Stage:
    """Buffers rows by split, and writes a shard at a time."""

    def __init__(self, folder: Path, shard_size: int) -> None:
        self._folder, self._shard_size = folder, shard_size
        self._buffers: dict[tuple[str, str], list[pa.Table]] = {}
        self._written: dict[tuple[str, str], list[int]] = {}

    def add(self, key: tuple[str, str], table: pa.Table) -> None:
        """Add rows by the dataset's own split and the split after the cut."""
        if not len(table):
            return
        buffer = self._buffers.setdefault(key, [])
        buffer.append(table)
        if sum(map(len, buffer)) >= self._shard_size:
            rest = pa.concat_tables(buffer)
            while len(rest) >= self._shard_size:
                self._write(key, rest.slice(0, self._shard_size))
                rest = rest.slice(self._shard_size)
            # A copy: the slice would hold the whole buffer in memory.
            self._buffers[key] = [pa.concat_tables([rest]).combine_chunks()] if len(rest) else []

    def _write(self, key: tuple[str, str], table: pa.Table) -> None:
        numbers = self._written.setdefault(key, [])
        path = self._folder / _file_name(key, len(numbers))
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            atomic_path(path) as scratch,
            pa.OSFile(str(scratch), "wb") as sink,
            pa.ipc.new_file(sink, table.schema, options=options) as writer,
        ):
            writer.write_table(table.combine_chunks())
        numbers.append(len(table))

    def finish(self) -> list[StagedShard]:
        """Write the remaining rows, and name the shards."""
        for key, buffer in sorted(self._buffers.items()):
            if buffer:
                self._write(key, pa.concat_tables(buffer))
        own = {split for split, _ in self._written}
        shards = []
        for split in SPLITS:
            # Where the dataset has this split itself, the rows cut for it stay in training.
            keys = [
                key
                for key in sorted(self._written)
                if split == (key[0] if key[1] in CUT and key[1] in own else key[1])
            ]
            files = [
                (_file_name(key, i), n) for key in keys for i, n in enumerate(self._written[key])
            ]
            shards += [
                StagedShard(name=f"{split}-{number:05d}.arrow", split=split, file=file, rows=rows)
                for number, (file, rows) in enumerate(files)
            ]
        return shards


def _file_name(key: tuple[str, str], number: int) -> str:
    return f"{key[0]}~{key[1]}-{number:05d}.rows"


def read_staged(folder: Path, shard: StagedShard) -> tuple[Annotations, list[ImageRef], list[Any]]:
    """Read a staged shard: its rows, their images, and their masks or None.

    The rows have their final split, and no shard yet.
    """
    with pa.OSFile(str(folder / shard.file)) as source:
        table = pa.ipc.open_file(source).read_all()
    images, frames, masks, mask_frames = (table.column(name).to_pylist() for name in _REFERENCES)
    rows = table.select([field.name for field in FIELDS])
    place = rows.column_names.index("split")
    split = pa.array([shard.split] * len(rows), pa.string())
    rows = rows.set_column(place, Annotations.schema.field("split"), split)
    return (
        Annotations(rows.cast(Annotations.schema)),
        [_reference(*pair) for pair in zip(images, frames, strict=True)],
        [
            _reference(*pair) if pair[0] else None
            for pair in zip(masks, mask_frames, strict=True)
        ],
    )  # fmt: skip


def _reference(path: str, frame: int) -> ImageRef:
    return ImageRef(path=path, frame=None if frame == _NO_FRAME else frame)
