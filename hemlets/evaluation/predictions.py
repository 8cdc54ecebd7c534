"""Predictions files: one Parquet row per sample, and provenance in the file's metadata.

Predictions are written first and scored afterwards, so that anyone can score them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from hemlets.core.arrays import Float32, Integers, Objects
from hemlets.core.config import Config
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path, parse_json
from hemlets.core.skeleton import N_JOINTS
from hemlets.core.wording import counted, truncate_list
from hemlets.inference.types import BodyEstimate

Quantity = Literal["joints3d_mm", "root_mm", "joints2d_px", "confidence", "theta", "betas"]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]

COLUMNS: Final[dict[str, tuple[int, ...]]] = {
    "joints3d_mm": (N_JOINTS, 3),
    "root_mm": (3,),
    "joints2d_px": (N_JOINTS, 2),
    "confidence": (N_JOINTS,),
    "theta": (24, 3),
    "betas": (10,),
    "box_xyxy": (4,),
}
"""Array columns and their shape per row; meanings as in ``BodyEstimate``."""

BATCH_ROWS: Final = 16_384
"""Rows per row group: 13 MB of arrays, so that long files need little memory."""

_UNITS: Final[tuple[tuple[str, Callable[[Float32], bool], str, str], ...]] = (
    ("joints3d_mm", lambda m: bool(np.median(m) < 3), "metres", "multiply it by 1000"),
    ("root_mm", lambda m: bool(np.median(m) < 50), "metres", "multiply it by 1000"),
    ("joints2d_px", lambda m: bool(m.max() <= 1.5), "fractions of the image",
     "multiply it by the image's width and height"),
    ("box_xyxy", lambda m: bool(m.max() <= 1.5), "fractions of the image",
     "multiply it by the image's width and height"),
    ("confidence", lambda m: bool(m.max() > 2), "percentages", "divide it by 100"),
    ("theta", lambda m: bool(m.max() > 4 * np.pi), "degrees", "convert it with numpy.deg2rad"),
)  # fmt: skip
"""Columns, whether the largest value of each row looks like another unit, its name, the remedy."""

_METADATA: Final = b"hemlets.predictions"
_REMEDY: Final = (
    "write the columns and the metadata `hemlets.predictions` that docs/howto/predictions.md "
    "lists; a file of `hemlets benchmark predict` has them"
)
_SCHEMA: Final = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        *(
            pa.field(name, pa.list_(pa.float32(), int(np.prod(shape))), nullable=False)
            for name, shape in COLUMNS.items()
        ),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)


class PredictionsInfo(Config):
    """Provenance of predictions.

    Attributes:
        model_version: Version of the model.
        data_version: Content hash of the samples' data version.
        split: Split of the samples.
        precision: Arithmetic of the prediction, e.g. ``float32`` or ``bfloat16``.
        depth_source: Source of metric scale and depth, e.g. ``bone-length-prior``.
        box_source: Source of the person's box, e.g. ``ground-truth``.
        flip_test: Whether the mirrored image was predicted and averaged too.
        code_version: Git commit of the code.
        absent: Quantities that this predictor does not give; their columns are zeros and are not
            scored.
    """

    model_version: str
    data_version: str
    split: Word
    precision: Word
    depth_source: Word
    box_source: Word
    flip_test: bool
    code_version: str
    absent: tuple[Quantity, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions of N samples. Camera frame: x right, y down, z forward.

    Attributes:
        info: Provenance.
        sample_id: (N,) unique names.
        joints3d_mm: (N, 18, 3) relative to the pelvis.
        root_mm: (N, 3) pelvis in the camera frame.
        joints2d_px: (N, 18, 2) in the image.
        confidence: (N, 18) in 0–1.
        theta: (N, 24, 3) axis-angles, radians.
        betas: (N, 10).
        box_xyxy: (N, 4) box of the person, pixels.
        flags: N tuples of the assumptions made.
    """

    info: PredictionsInfo
    sample_id: Objects
    joints3d_mm: Float32
    root_mm: Float32
    joints2d_px: Float32
    confidence: Float32
    theta: Float32
    betas: Float32
    box_xyxy: Float32
    flags: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        self._check("predictions")

    def __len__(self) -> int:
        return len(self.sample_id)

    def _check(self, where: str) -> None:
        rows = len(self.sample_id)
        if len(self.flags) != rows:
            raise DataError(
                f"{counted(len(self.flags), 'row')} of flags",
                where=where,
                expected=f"{rows}, one a sample",
            )
        ids, count = np.unique(self.sample_id.astype(str), return_counts=True)
        if (count > 1).any():
            twice = ids[count > 1]
            raise DataError(
                counted(len(twice), "sample is", "samples are") + " predicted more than once",
                where=f"{where}: {truncate_list(twice)}",
                expected="one row a sample",
                remedy="remove the rows that are there twice",
            )
        for name, shape in COLUMNS.items():
            values = getattr(self, name)
            if values.shape != (rows, *shape):
                raise DataError(
                    f"column has shape {values.shape}",
                    where=f"{where}: {name}",
                    expected=f"{(rows, *shape)}",
                )
            bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
            if bad.size:
                raise DataError(
                    f"{name} is not finite in {counted(bad.size, 'row')}",
                    where=f"{where}: {truncate_list(self.sample_id[bad])} "
                    f"(rows {truncate_list(bad)})",
                    expected="finite numbers",
                    remedy="find out why the model predicts NaN for these samples",
                )

    @classmethod
    def from_estimates(
        cls, sample_ids: Sequence[str], estimates: Sequence[BodyEstimate], info: PredictionsInfo
    ) -> Predictions:
        """Collect estimates, one per sample id.

        Raises:
            DataError: Counts differ, ids repeat, values are not finite, or an estimate is from
                another model than ``info`` says.
        """
        if len(sample_ids) != len(estimates):
            raise DataError(
                f"{counted(len(estimates), 'estimate')} for {counted(len(sample_ids), 'sample')}",
                expected="one estimate a sample",
            )
        others = {e.model_version for e in estimates} - {info.model_version}
        if others:
            raise DataError(
                f"estimates are from model {truncate_list(sorted(others))}",
                expected=f"all from {info.model_version}",
            )

        def gather(name: str) -> Float32:
            rows = [np.asarray(getattr(estimate, name), np.float32) for estimate in estimates]
            return np.array(rows, np.float32).reshape(len(rows), *COLUMNS[name])

        return cls(
            info=info,
            sample_id=np.array(sample_ids, object),
            flags=tuple(tuple(str(flag) for flag in e.flags) for e in estimates),
            **{name: gather(name) for name in COLUMNS},
        )

    def take(self, rows: Integers) -> Predictions:
        """Select rows by index."""
        return Predictions(
            info=self.info,
            sample_id=self.sample_id[rows],
            flags=tuple(self.flags[int(row)] for row in rows),
            **{name: getattr(self, name)[rows] for name in COLUMNS},
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """Concatenate predictions of one model; at least one part."""
        return cls(
            info=parts[0].info,
            sample_id=np.concatenate([part.sample_id for part in parts]),
            flags=tuple(flags for part in parts for flags in part.flags),
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS},
        )

    def write(self, path: Path) -> None:
        """Write the file atomically; equal predictions give equal bytes."""
        arrays = [pa.array(self.sample_id.tolist(), pa.string())]
        for name in COLUMNS:
            flat = pa.array(getattr(self, name).astype(np.float32).reshape(-1))
            kind = _SCHEMA.field(name).type
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
        arrays.append(pa.array([list(flags) for flags in self.flags], pa.list_(pa.string())))
        schema = _SCHEMA.with_metadata({_METADATA: self.info.model_dump_json().encode()})
        with atomic_path(path) as scratch:
            pq.write_table(
                pa.table(arrays, schema=schema),
                scratch,
                compression="zstd",
                row_group_size=BATCH_ROWS,
                write_page_checksum=True,
            )

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a whole file and check every row.

        Raises:
            DataError: The file is absent, damaged (pages carry checksums), without its metadata, of
                other columns or types, or has duplicates, nulls or non-finite numbers; rows are
                named.
        """
        with _opened(path):
            table = pq.read_table(path, page_checksum_verification=True)
        return cls._of_table(table, _read_info(table.schema, path), path, first_row=0)

    @classmethod
    def batches(cls, path: Path, rows: int = BATCH_ROWS) -> Iterator[Predictions]:
        """Read a file in batches; errors as of :meth:`read`, but for duplicates across batches.

        A file without rows gives one empty batch, which carries the provenance.
        """
        with _opened(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            info, first = _read_info(file.schema_arrow, path), 0
            # Group by group, because iter_batches decodes far ahead.
            for number in range(file.num_row_groups):
                group = file.read_row_group(number, use_threads=False)
                for start in range(0, group.num_rows, rows):
                    part = group.slice(start, rows)
                    yield cls._of_table(part, info, path, first_row=first)
                    first += part.num_rows
            if not first:
                yield cls._of_table(file.schema_arrow.empty_table(), info, path, first_row=0)

    @classmethod
    def info_of(cls, path: Path) -> PredictionsInfo:
        """Read a file's provenance only; errors as of :meth:`read`."""
        with _opened(path):
            return _read_info(pq.read_schema(path), path)

    @classmethod
    def _of_table(
        cls, table: pa.Table, info: PredictionsInfo, path: Path, *, first_row: int
    ) -> Predictions:
        table = table.combine_chunks()
        for field in _SCHEMA:
            if (count := table.column_names.count(field.name)) != 1:
                raise DataError(
                    "a column is there twice" if count else "a column is missing",
                    where=f"{path}: {field.name}",
                    remedy=_REMEDY,
                )
            column = _converted(table.column(field.name), field.type)
            if column is None:
                raise DataError(
                    f"a column has type {table.column(field.name).type}",
                    where=f"{path}: {field.name}",
                    expected=f"{field.type}, or lists of as many numbers",
                    remedy=_REMEDY,
                )
            table = table.set_column(table.column_names.index(field.name), field.name, column)
            if column.null_count:
                rows = np.flatnonzero(column.is_null().to_numpy()) + first_row
                raise DataError(
                    f"{field.name} is empty in {counted(rows.size, 'row')}",
                    where=f"{path}: rows {truncate_list(rows)}",
                    remedy=_REMEDY,
                )

        def array(name: str) -> Float32:
            flat = table.column(name).combine_chunks().flatten()
            values = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32)
            return values.reshape(table.num_rows, *COLUMNS[name])

        try:
            return cls(
                info=info,
                sample_id=np.array(table.column("sample_id").to_pylist(), object),
                flags=tuple(tuple(flags) for flags in table.column("flags").to_pylist()),
                **{name: array(name) for name in COLUMNS},
            )
        except DataError as error:
            where = f"{path}: {(error.where or '').removeprefix('predictions: ')}"
            raise DataError(
                error.what, where=where, expected=error.expected, remedy=error.remedy
            ) from None

    def require_units(self, where: object) -> None:
        """Refuse values in another unit; columns of zeros are absent ones.

        For files of others: joints of a network that has learnt nothing look like metres, too.

        Raises:
            DataError: Names the column and the unit that it looks like.
        """
        for name, looks_so, unit, remedy in _UNITS:
            values = np.abs(getattr(self, name))
            given = values.max(axis=tuple(range(1, values.ndim)), initial=0.0)
            if name not in self.info.absent and given.any() and looks_so(given[given > 0]):
                raise DataError(
                    f"{name} looks like {unit}: its values reach {given.max():.4g}",
                    where=f"{where}: {name}",
                    expected=f"{name} as docs/howto/predictions.md has it",
                    remedy=remedy,
                )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            "the predictions file does not exist", where=path, remedy=_REMEDY
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the predictions file can't be read: {error}", where=path, remedy=_REMEDY
        ) from error


def _converted(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """Convert text and lists as other libraries write them; None if they are of another kind."""
    if _kind(column.type) != _kind(wanted):
        return None
    try:
        return column.cast(wanted)
    except pa.ArrowException:
        return None


def _kind(found: pa.DataType) -> str:
    """Name what a column holds: text, numbers or lists of them."""
    of = pa.types
    if of.is_list(found) or of.is_large_list(found) or of.is_fixed_size_list(found):
        return f"lists of {_kind(found.value_type)}"
    # pandas writes empty lists as lists of null.
    if of.is_string(found) or of.is_large_string(found) or of.is_null(found):
        return "text"
    return "numbers" if of.is_floating(found) or of.is_integer(found) else str(found)


def _read_info(schema: pa.Schema, path: Path) -> PredictionsInfo:
    text = (schema.metadata or {}).get(_METADATA)
    if text is None:
        raise DataError(
            "the file does not say where its predictions come from",
            where=path,
            expected=f"metadata {_METADATA.decode()!r}",
            remedy=_REMEDY,
        )
    try:
        return PredictionsInfo.from_mapping(parse_json(text), where=str(path))
    except (ConfigError, ValueError, TypeError, RecursionError) as error:
        reason = error.what if isinstance(error, ConfigError) else error
        raise DataError(
            f"the file's metadata can't be used: {reason}", where=path, remedy=_REMEDY
        ) from error
