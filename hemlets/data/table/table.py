"""The annotation table: one typed row per person, or per scene without a person.

Conventions: camera frame x right, y down, z forward; image coordinates with the origin at
the top-left corner of the top-left pixel, so that pixel centres are at +0.5. Where a
validity is False, the value is 0 and has no meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemlets.core.arrays import Array, Bool, Integers
from hemlets.core.errors import DataError
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import N_JOINTS, N_PARTS

SPLITS = ("train", "validation", "gate", "test")
"""Splits of people."""

BACKGROUND_SPLITS = ("train-background", "validation-background", "test-background")
"""Splits of images without a person, to train, calibrate and test the presence confidence.

They are separate splits, so that a reader of people gets no empty scene. Their rows have a box
and no annotation: all validities are False, all labels 0, clip, family and subject empty. The gate
compares models on people, so it has no such split.
"""

ALL_SPLITS = (*SPLITS, *BACKGROUND_SPLITS)
"""Every split of a row."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column: its name, Arrow element type, per-row shape and meaning."""

    name: str
    dtype: pa.DataType
    shape: tuple[int, ...] = ()
    meaning: str
    default: Any = None
    """Value for sources without one; a column without a default is required."""

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's Arrow type: a fixed-size list where a row holds an array."""
        return pa.list_(self.dtype, int(np.prod(self.shape))) if self.shape else self.dtype


def _field(name: str, dtype: pa.DataType, meaning: str, *shape: int, default: Any = None) -> Field:
    return Field(name=name, dtype=dtype, shape=shape, meaning=meaning, default=default)


_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int32(), pa.float32(), pa.bool_()

FIELDS: tuple[Field, ...] = (
    _field("sample_id", _TEXT, "unique name of the sample"),
    _field("source", _TEXT, "dataset the row comes from"),
    _field("split", _TEXT, "train, validation, gate or test; -background without a person"),
    _field("subject", _TEXT, "person, or body of a rendered person"),
    _field("clip", _TEXT, "motion clip; a mixture joins its clips by '+'"),
    _field("family", _TEXT, "family of motions that the split is made by"),
    _field("frame", _INT, "frame within the clip"),
    _field("action", _TEXT, "what the person does, in the dataset's own word", default=""),
    _field("camera_id", _TEXT, "the dataset's name of the camera", default=""),
    _field("gender", _TEXT, "of the SMPL body: neutral, male, female", default=""),
    _field("shard", _TEXT, "file name of the image shard"),
    _field("shard_row", _INT, "row of the image within its shard"),
    _field("source_image", _TEXT, "file in the dataset; a video's frame follows '#'", default=""),
    _field(
        "stored_from_source",
        _REAL,
        "x, y, scale: stored = scale * (source - (x, y)), pixels",
        3,
        default=(0.0, 0.0, 1.0),
    ),
    _field("image_hash", _TEXT, "SHA-256 of the stored image bytes"),
    _field("image_width", _INT, "pixels"),
    _field("image_height", _INT, "pixels"),
    _field("box_xyxy", _REAL, "the person's box in the image: left, top, right, bottom", 4),
    _field("box_source", _TEXT, "what the box comes from", default="annotated"),
    _field("head_px", _REAL, "reference length of PCKh; 0 where unknown", default=0.0),
    _field("joints2d_px", _REAL, "joints in the image, pixels", N_JOINTS, 2),
    _field("joints3d_mm", _REAL, "joints in the camera frame, millimetres", N_JOINTS, 3),
    _field("valid2d", _FLAG, "joint has a 2D annotation", N_JOINTS),
    _field("valid3d", _FLAG, "joint has a 3D annotation", N_JOINTS),
    _field("visible", _FLAG, "joint is inside the image and not behind another object", N_JOINTS),
    _field("truncated", _FLAG, "joint lies outside the image", N_JOINTS),
    _field("camera", _REAL, "fx, fy, cx, cy in pixels of the stored image", 4),
    _field("camera_valid", _FLAG, "the camera is known"),
    _field(
        "distortion",
        _REAL,
        "k1, k2, p1, p2, k3 of the lens, as OpenCV has them",
        5,
        default=(0.0,) * 5,
    ),
    _field("relations", pa.int8(), "depth relation of each part, equation (1)", N_PARTS),
    _field("relations_valid", _FLAG, "the part's relation is known", N_PARTS),
    _field("relations_source", _TEXT, "3d, fbi or ordinal; empty where unknown", default=""),
    _field("label_ms", _INT, "median time of a person's label of a part; 0 unknown", default=0),
    _field("theta", _REAL, "SMPL θ as 24 axis-angles, root in the camera frame", 24, 3),
    _field("betas", _REAL, "SMPL β", 10),
    _field("transl_mm", _REAL, "added to the posed body to reach the camera frame", 3),
    _field("smpl_valid", _FLAG, "θ and β are known"),
    _field("transl_valid", _FLAG, "the body's translation is known"),
    _field("mask", pa.binary(), "PNG of the person's visible pixels; empty where unknown"),
)


def _repeated(field: Field, rows: int) -> Array | list[Any]:
    return np.tile(field.default, (rows, 1)) if field.shape else [field.default] * rows


def _refuse_nulls(column: pa.ChunkedArray, *, where: str) -> None:
    is_list = pa.types.is_fixed_size_list(column.type)
    for row, value in enumerate(column if column.null_count else ()):
        if not value.is_valid:
            raise DataError("a value is missing", where=f"{where}, row {row}")
    if is_list and pc.list_flatten(column).null_count:
        row = next(i for i, value in enumerate(column) if None in value.as_py())
        raise DataError("a value is missing", where=f"{where}, row {row}")


class Annotations:
    """A table of annotations with its columns as NumPy arrays.

    Array columns are attributes of shape (rows, *field shape), e.g. ``joints3d_mm`` is
    (N, 18, 3); text columns are arrays of objects.
    """

    schema = pa.schema([pa.field(f.name, f.arrow_type, nullable=False) for f in FIELDS])

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Annotations:
        """Build a table from arrays of shape (N, *field shape).

        Columns that have a default may be left out.

        Raises:
            DataError: A column is missing, unknown or of the wrong shape.
        """
        unknown = sorted(set(columns) - {f.name for f in FIELDS})
        missing = [f.name for f in FIELDS if f.name not in columns and f.default is None]
        if unknown or missing:
            raise DataError(
                f"columns do not fit the annotation table: missing {missing}, unknown {unknown}",
                expected=", ".join(f.name for f in FIELDS),
            )
        rows = len(columns["sample_id"])
        arrays = []
        for field in FIELDS:
            value = columns[field.name] if field.name in columns else _repeated(field, rows)
            if field.shape:
                value = np.asarray(value)
                if value.shape != (rows, *field.shape):
                    raise DataError(
                        f"column has shape {value.shape}",
                        where=field.name,
                        expected=f"{(rows, *field.shape)}",
                    )
                flat = pa.array(value.reshape(-1).astype(field.dtype.to_pandas_dtype()))
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.arrow_type))
            else:
                arrays.append(pa.array(value, type=field.dtype))
        return cls(pa.table(arrays, schema=cls.schema))

    @classmethod
    def read(cls, path: Path, columns: Collection[str] | None = None) -> Annotations:
        """Read a table; check that it is whole and of this schema, not its values.

        A column with a default may be absent: an older version of the project wrote the table.

        Args:
            path: The Parquet file.
            columns: Those that are read; all of them when omitted.

        Raises:
            DataError: The file is absent, damaged or has other columns or types.
        """
        fields = [f for f in FIELDS if columns is None or f.name in columns]
        try:
            stored = pq.read_schema(path).names
            table = pq.read_table(path, columns=[f.name for f in fields if f.name in stored])
        except FileNotFoundError as error:
            raise DataError.missing("the annotation table", path) from error
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError.damaged(
                f"the annotation table can't be read: {error}",
                path,
                remedy="run ingest again, or check out the data version again",
            ) from error
        for field in fields:
            if field.name not in table.column_names:
                if field.default is None:
                    raise DataError("a column is missing", where=f"{path}: {field.name}")
                table = table.append_column(
                    pa.field(field.name, field.arrow_type, nullable=False),
                    pa.array([field.default] * table.num_rows, field.arrow_type),
                )
            found = table.schema.field(field.name).type
            if found != field.arrow_type:
                raise DataError(
                    f"a column has type {found}",
                    where=f"{path}: {field.name}",
                    expected=str(field.arrow_type),
                )
            _refuse_nulls(table.column(field.name), where=f"{path}: {field.name}")
        return cls(table.select([f.name for f in fields]).combine_chunks())

    def write(self, path: Path) -> None:
        """Write the table as Parquet, atomically and without timestamps."""
        with atomic_path(path) as scratch:
            pq.write_table(self.table, scratch, compression="zstd", row_group_size=16_384)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> Array:
        """One column as an array of shape (rows, *field shape)."""
        field = next((f for f in FIELDS if f.name == name), None)
        if field is None:
            raise AttributeError(name)
        column = self.table.column(name).combine_chunks()
        if not field.shape:
            return np.asarray(column.to_numpy(zero_copy_only=False))
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat).reshape(len(self), *field.shape)

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_") or name == "table":
            raise AttributeError(name)
        value = self.column(name)
        self.__dict__[name] = value
        return value

    def take(self, rows: Integers | Bool) -> Annotations:
        """Select rows by a mask or by indices."""
        picked = np.asarray(rows)
        if picked.dtype == bool:
            return Annotations(self.table.filter(pa.array(picked)))
        return Annotations(self.table.take(pa.array(picked)))

    def split(self, name: str) -> Annotations:
        """The rows of one split."""
        return Annotations(self.table.filter(pc.equal(self.table.column("split"), name)))

    @property
    def shows_person(self) -> Bool:
        """Mask (N,) of rows of people: those outside `BACKGROUND_SPLITS`."""
        return np.logical_not(np.isin(self.column("split").astype(str), BACKGROUND_SPLITS))

    @staticmethod
    def concatenate(parts: list[Annotations]) -> Annotations:
        """Join tables in order."""
        return Annotations(pa.concat_tables([part.table for part in parts]).combine_chunks())

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row number by sample id."""
        return {name: row for row, name in enumerate(self.sample_id)}
