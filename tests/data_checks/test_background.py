"""Scenes without a person in a version: checked like all rows, and no hindrance to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_checks.census import Census
from data_checks.validate import validate
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations

Columns = dict[str, Any]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "version"
    sizes = SplitSizes(train=24, validation=12, gate=12, test=12)
    build_open_data(OpenDataConfig(samples=sizes, shard_size=24, background_share=0.25), folder)
    return folder


@pytest.fixture
def damaged(version: Path, tmp_path: Path) -> Callable[[str, Any], Path]:
    """A version in which one field of the first empty row has another value."""

    def damage(field: str, value: Any) -> Path:
        table = Annotations.read(version / "annotations.parquet")
        columns = {name: table.column(name).copy() for name in table.table.column_names}
        columns[field][60] = value
        folder = tmp_path / "version"
        folder.mkdir()
        (folder / "shards").symlink_to(version / "shards")
        Annotations.from_columns(columns).write(folder / "annotations.parquet")
        return folder

    return damage


def test_they_pass_beside_people_and_shift_no_distribution(
    version: Path, rendered: Path, tmp_path: Path
) -> None:
    result = validate(version, tmp_path / "out", previous=rendered)
    assert result.passed
    assert result.warnings == ()
    assert result.rows == 72
    assert "train-background" in result.report.read_text()


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        ("box_xyxy", (-40.0, 10.0, 90.0, 120.0), "box_inside_image"),
        ("shard_row", 999, "shard_readable"),
        ("image_hash", "0" * 64, "image_hash_matches"),
        ("valid2d", np.eye(18, dtype=bool)[3], "background_unannotated"),
        ("smpl_valid", True, "background_unannotated"),
        ("split", "gate-background", "split_known"),
    ],
)
def test_their_faults_are_found(
    damaged: Callable[[str, Any], Path], tmp_path: Path, field: str, value: Any, expectation: str
) -> None:
    result = validate(damaged(field, value), tmp_path / "out")
    found = {finding.expectation: finding for finding in result.blocking}
    assert expectation in found, result.message()
    assert 60 in {row.number for row in found[expectation].rows}


def test_two_plain_scenes_that_look_alike_are_no_leak(version: Path) -> None:
    table = Annotations.read(version / "annotations.parquet")
    # The same picture as a scene of two splits.
    empty = np.flatnonzero(~table.shows_person)
    splits = table.column("split")[empty]
    train = empty[splits == "train-background"][0]
    test = empty[splits == "test-background"][0]
    columns = {name: table.column(name).copy() for name in table.table.column_names}
    for name in ("shard", "shard_row"):
        columns[name][test] = columns[name][train]
    census = Census.of(Annotations.from_columns(columns), version / "shards")
    assert census.near.partner == {}
    assert census.near.compared == 60
