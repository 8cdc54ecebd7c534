from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemlets.annotations import FIELDS, Annotations

Columns = dict[str, Any]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean data version of 60 rendered people."""
    from hemlets.synthetic import OpenDataConfig, SplitSizes, build_open_data

    folder = tmp_path_factory.mktemp("rendered") / "version"
    sizes = SplitSizes(train=24, validation=12, gate=12, test=12)
    build_open_data(OpenDataConfig(samples=sizes, shard_size=24), folder)
    return folder


@pytest.fixture
def columns(rendered: Path) -> Columns:
    """The clean table's columns, free to be changed."""
    table = Annotations.read(rendered / "annotations.parquet")
    return {field.name: table.column(field.name).copy() for field in FIELDS}


@pytest.fixture
def captured(columns: Columns) -> Columns:
    """The same people as if from a data set that has no body model: left and right by guess."""
    columns["source"][:] = "captured"
    columns["smpl_valid"][:] = False
    for field in ("theta", "betas", "transl_mm"):
        columns[field][:] = 0
    return columns


@pytest.fixture
def version(rendered: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes columns as a data version that shares the rendered shards."""

    def write(columns: Columns, name: str = "version") -> Path:
        folder = tmp_path / name
        (folder / "shards").mkdir(parents=True)
        for shard in (rendered / "shards").iterdir():
            (folder / "shards" / shard.name).symlink_to(shard)
        Annotations.from_columns(columns).write(folder / "annotations.parquet")
        return folder

    return write
