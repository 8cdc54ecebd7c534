"""Versions of rendered people. Validating takes seconds, so that tests share what they look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_checks.result import ValidationResult
from hemlets.data.table import FIELDS, Annotations

Columns = dict[str, Any]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean data version of 60 rendered people, in one shard a split."""
    from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data

    folder = tmp_path_factory.mktemp("rendered") / "version"
    sizes = SplitSizes(train=24, validation=12, gate=12, test=12)
    config = OpenDataConfig(samples=sizes, shard_size=24, background_share=0.0)
    build_open_data(config, folder)
    return folder


@pytest.fixture(scope="session")
def fresh(rendered: Path) -> Callable[[], Columns]:
    """Gives the clean table's columns, free to be changed."""

    def copy() -> Columns:
        table = Annotations.read(rendered / "annotations.parquet")
        return {field.name: table.column(field.name).copy() for field in FIELDS}

    return copy


@pytest.fixture
def columns(fresh: Callable[[], Columns]) -> Columns:
    """The clean table's columns, free to be changed."""
    return fresh()


@pytest.fixture(scope="session")
def as_captured() -> Callable[[Columns], Columns]:
    """Makes people look as if from a data set that has no body model: left and right by guess."""

    def change(columns: Columns) -> Columns:
        columns["source"][:] = "captured"
        columns["smpl_valid"][:] = False
        for field in ("theta", "betas", "transl_mm"):
            columns[field][:] = 0
        return columns

    return change


@pytest.fixture(scope="session")
def version(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Columns], Path]:
    """Writes columns as a data version that shares the rendered shards."""

    def write(columns: Columns) -> Path:
        folder = tmp_path_factory.mktemp("written") / "version"
        (folder / "shards").mkdir(parents=True)
        for shard in (rendered / "shards").iterdir():
            (folder / "shards" / shard.name).symlink_to(shard)
        Annotations.from_columns(columns).write(folder / "annotations.parquet")
        return folder

    return write


@pytest.fixture(scope="session")
def check(version: Callable[[Columns], Path]) -> Callable[..., ValidationResult]:
    """Validates columns as a data version."""

    def run(columns: Columns, **options: Any) -> ValidationResult:
        from data_checks.validate import validate

        folder = version(columns)
        return validate(folder, folder.with_name("out"), **options)

    return run
