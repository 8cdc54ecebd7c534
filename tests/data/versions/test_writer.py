"""One writer for every data version: its claim, its table and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.files import read_json, sha256_file
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations
from hemlets.data.versions.writer import VersionWriter

RECIPE = {"kind": "test", "seed": 1}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    folder = tmp_path_factory.mktemp("rows") / "open"
    sizes = SplitSizes(train=6, validation=2, gate=2, test=2)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64), folder)
    return Annotations.read(folder / "annotations.parquet")


def writer(folder: Path, recipe: dict[str, object] = RECIPE) -> VersionWriter:
    return VersionWriter(folder, recipe, purpose="a test into")


def test_a_table_of_many_parts_has_the_bytes_of_the_whole_one(rows, tmp_path) -> None:
    many = rows.take(np.tile(np.arange(len(rows)), 3_000))
    many.write(tmp_path / "whole.parquet")
    step = 5_000
    parts = [many.table.slice(start, step) for start in range(0, len(many), step)]
    with writer(tmp_path / "data") as version:
        counts = version.write_table(parts)
        version.finish(counts, [])
    assert sha256_file(tmp_path / "data/annotations.parquet") == sha256_file(
        tmp_path / "whole.parquet"
    )
    assert counts["train"] == 18_000
    assert sum(counts.values()) == len(many)


def test_a_version_names_its_recipe_rows_and_contents(rows, tmp_path) -> None:
    with writer(tmp_path / "data") as version:
        version.finish(version.write_table([rows.table]), [], quarantine="none")
    told = read_json(tmp_path / "data/version.json")
    assert told | RECIPE == told
    assert told["quarantine"] == "none"
    assert told["samples"] == {"train": 6, "validation": 2, "gate": 2, "test": 2}
    assert told["annotations"] == sha256_file(tmp_path / "data/annotations.parquet")
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "annotations.parquet", "version.json",
    }  # fmt: skip


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_of_another_recipe_is_refused_and_left_as_it_is(rows, tmp_path, finished) -> None:
    folder = tmp_path / "data"

    def write_and_fail() -> None:
        with writer(folder) as version:
            counts = version.write_table([rows.table])
            if finished:
                version.finish(counts, [])
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    before = {path: sha256_file(path) for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="seed differ"), writer(folder, RECIPE | {"seed": 2}):
        pass
    assert before == {path: sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_a_writer_that_wrote_nothing_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(KeyError), writer(tmp_path / "data"):
        raise KeyError
    assert not (tmp_path / "data").exists()


def test_a_second_writer_is_refused_while_the_first_writes(tmp_path) -> None:
    with writer(tmp_path / "data"), pytest.raises(WorkspaceError, match="already running"):
        writer(tmp_path / "data").__enter__()


@pytest.mark.parametrize("damage", [b"", b'{"kind": "te'])
@pytest.mark.parametrize("name", ["version.json", ".unfinished/recipe.json"])
def test_a_cut_note_of_a_folder_is_named_with_the_way_back(tmp_path, damage, name) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(DataError, match="delete this one") as raised, writer(tmp_path / "data"):
        pass
    assert raised.value.where == str(path)
