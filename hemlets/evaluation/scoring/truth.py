"""Read the annotated samples of a protocol in batches of rows.

Only the columns that the protocol needs are stored, as arrays and dictionary-encoded words: two
million samples take about 600 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemlets.core.arrays import Array, Bool, Int32, Objects
from hemlets.core.errors import DataError
from hemlets.core.wording import counted, truncate_list
from hemlets.data.table import FIELDS, Annotations
from hemlets.evaluation.metrics.definitions import PIXELS, ROTATIONS, SEGMENTS, SURFACE
from hemlets.evaluation.protocols.protocol import Protocol, plain_word

FACETS: Final = ("source", "subject", "action", "camera_id", "family", "clip")
_ALWAYS: Final = (
    "sample_id", "split", "frame", *FACETS, "joints3d_mm", "valid3d", "truncated", "visible",
    "box_xyxy",
)  # fmt: skip
_SHAPES: Final = {field.name: field.shape for field in FIELDS}
_BATCH: Final = 65_536
_TRAINED: Final = "they are of a subject that the protocol trains on"


class NoSamplesError(DataError):
    """An annotation table has no sample of a protocol."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Facet:
    """A dictionary-encoded column of words."""

    codes: Int32
    words: tuple[str, ...]

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Self:
        """Convert an Arrow column of text, plain or dictionary-encoded."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        codes = array.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return cls(codes=codes, words=tuple(array.dictionary.to_pylist()))

    @property
    def values(self) -> Objects:
        """Return the word of each row, (N,)."""
        return np.array(self.words, object)[self.codes]

    def among(self, words: Sequence[str]) -> Bool:
        """Mark rows whose word is one of these, compared by :func:`plain_word`."""
        wanted = {plain_word(word) for word in words}
        fits = np.array([plain_word(word) in wanted for word in self.words], bool)
        return np.asarray(fits[self.codes] if len(self.words) else np.zeros(len(self.codes), bool))

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """N annotated samples.

    Attributes:
        ids: Sample ids, Arrow strings.
        facets: Words by field.
        frame: (N,) within the clip.
        columns: Further arrays of the annotation table by name, (N, *field shape).
        other: Ids of rows outside the protocol, by reason.
        sequence_frames: As in the protocol.
    """

    ids: pa.Array
    facets: dict[str, Facet]
    frame: Int32
    columns: dict[str, Array]
    other: dict[str, pa.Array]
    sequence_frames: int | None = None

    @property
    def genders(self) -> Objects:
        """Gender of each sample's true body, (N,); empty if not stated."""
        gender = self.facets.get("gender")
        return np.full(len(self), "", object) if gender is None else gender.values

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def untrained(self) -> pa.Array:
        """Ids of the other rows, without those of the protocol's training subjects."""
        ids = [ids for why, ids in self.other.items() if why != _TRAINED]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())

    @property
    def sequence(self) -> Facet:
        """Unit of resampling: a subject's clip from all cameras, or some frames of a clip.

        A mixture of clips counts as its first clip.
        """
        if self.sequence_frames is not None:
            return self._sequences(self.sequence_frames)
        subject, clip = self.facets["subject"], self.facets["clip"]
        pair = subject.codes.astype(np.int64) * max(len(clip.words), 1) + clip.codes
        found, codes = np.unique(pair, return_inverse=True)
        many = max(len(clip.words), 1)
        words = tuple(f"{subject.words[p // many]} {clip.words[p % many]}" for p in found)
        return Facet(codes=codes.astype(np.int32), words=words)

    def _sequences(self, frames: int) -> Facet:
        clip, place = self.facets["clip"], self.frame.astype(np.int64) // frames
        names, of_word = np.unique(
            [word.partition("+")[0] for word in clip.words], return_inverse=True
        )
        # Numbers, not names: there may be millions of samples.
        low = int(place.min(initial=0))
        many = int(place.max(initial=0)) - low + 1
        found, codes = np.unique(of_word[clip.codes] * many + place - low, return_inverse=True)
        words = tuple(f"{names[pair // many]}@{pair % many + low}" for pair in found)
        return Facet(codes=codes.astype(np.int32), words=words)

    @classmethod
    def read(cls, path: Path, protocol: Protocol) -> Self:
        """Read the samples of a protocol from an annotation table.

        Raises:
            NoSamplesError: The table has no sample of the protocol.
            DataError: It is absent, damaged, lacks a column or has a sample twice.
        """
        names = _columns(protocol)
        try:
            with pq.ParquetFile(path) as file:
                _check_columns(file.schema_arrow, names, path)
                rows = file.metadata.num_rows
                return cls._gather(_row_groups(file, names), rows, protocol, str(path))
        except FileNotFoundError as error:
            raise DataError(
                "the annotation table does not exist",
                where=path,
                remedy="name the annotations.parquet of the data version that was predicted",
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"the annotation table can't be read: {error}",
                where=path,
                remedy="run ingest again, or check out the data version again",
            ) from error

    @classmethod
    def of(cls, annotations: Annotations, protocol: Protocol) -> Self:
        """As :meth:`read`, from a table in memory."""
        table = annotations.table.select(list(_columns(protocol)))
        return cls._gather(iter(table.to_batches(_BATCH)), table.num_rows, protocol, "annotations")

    @classmethod
    def _gather(
        cls, batches: Iterator[pa.RecordBatch], most: int, protocol: Protocol, where: str
    ) -> Self:
        names = _columns(protocol)
        parts: dict[str, list[Any]] = {name: [] for name in names}
        # Made for every row at once: joining parts would need the memory twice. Pages that no row
        # reaches are never taken from the system.
        columns = {
            field.name: np.empty((most, *field.shape), field.dtype.to_pandas_dtype())
            for field in FIELDS
            if field.name in names and field.shape
        }
        rows = 0
        other: dict[str, list[pa.Array]] = {}
        for batch in batches:
            reasons = _reasons(batch, protocol)
            wanted = np.ones(batch.num_rows, bool)
            for reason, bad in reasons.items():
                first = wanted & bad
                if first.any():
                    ids = batch.column("sample_id").filter(pa.array(first))
                    other.setdefault(reason, []).append(ids)
                wanted &= ~bad
            part = batch if wanted.all() else batch.filter(pa.array(wanted))
            for name in names:
                column = part.column(name)
                if name in FACETS or name == "gender":
                    column = column.dictionary_encode()
                elif _SHAPES[name]:
                    flat = column.flatten().to_numpy(zero_copy_only=False)
                    place = slice(rows, rows + part.num_rows)
                    columns[name][place] = flat.reshape(part.num_rows, *_SHAPES[name])
                    continue
                parts[name].append(column)
            rows += part.num_rows
        outside = {reason: pa.concat_arrays(ids) for reason, ids in other.items()}
        if not rows:
            raise NoSamplesError(
                f"no annotated sample is of the protocol {protocol.name}",
                where=where,
                expected=f"split {protocol.split}"
                + (f" of {' or '.join(protocol.datasets)}" if protocol.datasets else "")
                + (f", subjects {', '.join(protocol.subjects)}" if protocol.subjects else ""),
                remedy="; ".join(
                    f"{counted(len(ids), 'row')}: {why}" for why, ids in outside.items()
                )
                or None,
            )
        ids = pa.concat_arrays(parts["sample_id"])
        _refuse_twice(ids, where)
        columns = {name: array[:rows] for name, array in columns.items()}
        for name in set(names) & {"head_px", "smpl_valid", "camera_valid", "transl_valid"}:
            columns[name] = np.concatenate([c.to_numpy(zero_copy_only=False) for c in parts[name]])
        if "mask" in names:
            columns["mask"] = np.array(pa.concat_arrays(parts["mask"]).to_pylist(), object)
        return cls(
            ids=ids,
            facets={
                name: Facet.of(pa.chunked_array(parts[name]).unify_dictionaries())
                for name in (*FACETS, "gender")
                if name in names
            },
            frame=np.concatenate([c.to_numpy(zero_copy_only=False) for c in parts["frame"]]),
            columns=columns,
            other=outside,
            sequence_frames=protocol.sequence_frames,
        )


def _row_groups(file: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # iter_batches decodes far ahead: half a gigabyte of a table of two million rows.
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, columns=list(names), use_threads=False)
        yield from group.to_batches(_BATCH)


def _columns(protocol: Protocol) -> tuple[str, ...]:
    names = [*_ALWAYS]
    if protocol.needs(PIXELS):
        names += ["joints2d_px", "valid2d", "head_px"]
    if protocol.needs(SURFACE | SEGMENTS | ROTATIONS):
        names += ["theta", "betas", "smpl_valid", "gender"]
    if protocol.needs(SEGMENTS):
        names += ["mask", "camera", "camera_valid"]
    return tuple(names)


def _check_columns(schema: pa.Schema, names: Sequence[str], path: Path) -> None:
    fields = {field.name: field.arrow_type for field in FIELDS}
    for name in names:
        if name not in schema.names:
            raise DataError("a column is missing", where=f"{path}: {name}")
        found = schema.field(name).type
        if not _same(found, fields[name]):
            raise DataError(
                f"a column has type {found}", where=f"{path}: {name}", expected=str(fields[name])
            )


def _same(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(wanted):
        return bool(
            pa.types.is_fixed_size_list(found)
            and found.list_size == wanted.list_size
            and found.value_type == wanted.value_type
        )
    return bool(found == wanted)


def _reasons(batch: pa.RecordBatch, protocol: Protocol) -> dict[str, Bool]:
    """Group excluded rows by reason; each row counts under its first matching reason."""
    facet = {name: Facet.of(batch.column(name)) for name in ("source", "split", "subject")}
    none = np.zeros(batch.num_rows, bool)
    trained = facet["subject"].among(protocol.training_subjects)
    datasets, subjects = protocol.datasets, protocol.subjects
    return {
        f"they are of another dataset than {' or '.join(datasets)}": (
            ~facet["source"].among(datasets) if datasets else none
        ),
        _TRAINED: trained,
        f"they are of another subject than {', '.join(subjects)}": (
            ~facet["subject"].among(subjects) if subjects else none
        ),
        f"they are of another split than {protocol.split}": (
            ~facet["split"].among([protocol.split])
        ),
    }


def _refuse_twice(ids: pa.Array, where: str) -> None:
    # Neighbours of a sorted copy: a hash table of two million names takes four times the memory.
    in_order = ids.take(pc.sort_indices(ids))
    repeated = pc.equal(in_order.slice(1), in_order.slice(0, len(ids) - 1))
    if not pc.any(repeated, min_count=0).as_py():
        return
    twice = pc.unique(in_order.slice(1).filter(repeated))
    raise DataError(
        "samples are annotated more than once",
        where=f"{where}: {truncate_list(twice.to_pylist())}",
        expected="one row a sample",
        remedy="remove the rows that are there twice",
    )
