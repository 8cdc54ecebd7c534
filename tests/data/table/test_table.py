"""The annotation table: what goes in comes out, and damage is named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hemlets.core.errors import DataError, WorkspaceError
from hemlets.data.table import FIELDS, Annotations


def _columns(rows: int = 5, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for field in FIELDS:
        shape = (rows, *field.shape)
        if field.dtype == pa.string():
            columns[field.name] = [f"{field.name}-{i}" for i in range(rows)]
        elif field.dtype == pa.binary():
            columns[field.name] = [bytes([i]) for i in range(rows)]
        elif field.dtype == pa.bool_():
            columns[field.name] = rng.random(shape) < 0.5
        elif field.dtype == pa.float32():
            columns[field.name] = rng.normal(size=shape).astype(np.float32)
        else:
            columns[field.name] = rng.integers(-1, 2, shape)
    columns["split"] = (["train", "test", "gate"] * rows)[:rows]
    return columns


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    columns = _columns()
    Annotations.from_columns(columns).write(tmp_path / "a.parquet")
    table = Annotations.read(tmp_path / "a.parquet")
    assert len(table) == 5
    for field in FIELDS:
        found = table.column(field.name)
        assert np.array_equal(found, np.asarray(columns[field.name], found.dtype)), field.name
        assert table.column(field.name).shape == (5, *field.shape)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        Annotations.from_columns(_columns()).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    Annotations.from_columns(_columns(0)).write(tmp_path / "a.parquet")
    table = Annotations.read(tmp_path / "a.parquet")
    assert len(table) == 0
    assert table.joints3d_mm.shape == (0, 18, 3)


def test_rows_are_picked_by_mask_index_and_split() -> None:
    table = Annotations.from_columns(_columns())
    assert list(table.take(np.array([3, 1])).sample_id) == ["sample_id-3", "sample_id-1"]
    mask = np.array([True, False, False, False, True])
    assert list(table.take(mask).sample_id) == ["sample_id-0", "sample_id-4"]
    assert list(table.split("train").sample_id) == ["sample_id-0", "sample_id-3"]
    assert table.split("train").joints2d_px.shape == (2, 18, 2)
    np.testing.assert_array_equal(table.split("train").joints2d_px[1], table.joints2d_px[3])


def test_tables_are_joined_in_order() -> None:
    parts = [Annotations.from_columns(_columns(seed=seed)) for seed in range(2)]
    whole = Annotations.concatenate(parts)
    np.testing.assert_array_equal(whole.theta[5:], parts[1].theta)
    assert len(whole) == 10


def test_rows_are_found_by_name() -> None:
    assert Annotations.from_columns(_columns()).row_of["sample_id-3"] == 3


def test_an_unknown_column_is_no_attribute() -> None:
    table = Annotations.from_columns(_columns())
    with pytest.raises(AttributeError):
        _ = table.joints4d
    assert not hasattr(table, "_private")


def test_a_table_can_be_sent_to_another_process() -> None:
    table = Annotations.from_columns(_columns())
    again = pickle.loads(pickle.dumps(table))
    np.testing.assert_array_equal(again.theta, table.theta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": None}, r"missing \['theta'\]"),
        ({"colour": [1] * 5}, r"unknown \['colour'\]"),
        ({"betas": np.zeros((5, 11))}, r"\(5, 11\)[\s\S]*betas[\s\S]*\(5, 10\)"),
    ],
)
def test_columns_that_do_not_fit_are_named(change: Any, message: str) -> None:
    columns = {k: v for k, v in (_columns() | change).items() if v is not None}
    with pytest.raises(DataError, match=message):
        Annotations.from_columns(columns)


def _write_damaged(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    table = Annotations.from_columns(_columns()).table.drop_columns(["betas"])
    _write_damaged(tmp_path / "a.parquet", table)
    with pytest.raises(DataError, match=r"missing[\s\S]*a\.parquet: betas"):
        Annotations.read(tmp_path / "a.parquet")


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    table = Annotations.from_columns(_columns()).table
    position = table.column_names.index("frame")
    _write_damaged(tmp_path / "a.parquet", table.set_column(position, "frame", pa.array(["x"] * 5)))
    with pytest.raises(DataError, match=r"type string[\s\S]*frame[\s\S]*int32"):
        Annotations.read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("frame", [0, 1, None, 3, 4]),
        ("betas", [[0.0] * 10, [0.0] * 10, [None] + [0.0] * 9, [0.0] * 10, [0.0] * 10]),
    ],
)
def test_a_missing_value_is_named_by_row_and_field(tmp_path: Path, name: str, values: Any) -> None:
    table = Annotations.from_columns(_columns()).table
    position = table.column_names.index(name)
    holes = pa.array(values, type=table.schema.field(name).type)
    _write_damaged(tmp_path / "a.parquet", table.set_column(position, name, holes))
    with pytest.raises(DataError, match=rf"missing[\s\S]*{name}, row 2"):
        Annotations.read(tmp_path / "a.parquet")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named_with_a_remedy(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.parquet"
    Annotations.from_columns(_columns()).write(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"can't be read[\s\S]*a\.parquet[\s\S]*remedy"):
        Annotations.read(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist[\s\S]*a\.parquet"):
        Annotations.read(tmp_path / "a.parquet")


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match=r"a\.parquet"):
        Annotations.from_columns(_columns()).write(tmp_path / "file" / "a.parquet")
