"""Large tables are judged by their extreme rows, near-duplicates are found, and the command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from data_checks import validate as validation
from hemlets.cli.data import validate
from hemlets.data.table import Annotations, ShardReader, ShardWriter, decode_image, encode_jpeg

Columns = dict[str, Any]
Writer = Callable[[Columns], Path]


def test_extreme_rows_tell_the_same_as_all_rows(
    version: Writer, columns: Columns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    columns["betas"][[3, 9], 0] = 9
    columns["split"][4] = "tran"
    columns["sample_id"][7] = columns["sample_id"][8]
    columns["joints3d_mm"][20] /= 1000
    folder = version(columns)
    whole = validation.validate(folder, tmp_path / "whole")

    monkeypatch.setattr(validation, "WHOLE_ROWS", 10)
    extreme = validation.validate(folder, tmp_path / "extreme")

    def told(result: Any) -> Any:
        return {(f.expectation, f.count, frozenset(f.rows)) for f in result.blocking}

    assert told(extreme) == told(whole)


def test_a_picture_compressed_anew_in_another_split_is_named(
    version: Writer, columns: Columns, tmp_path: Path
):
    folder = version(columns)
    rows = [5, int(np.flatnonzero(columns["split"] == "test")[0])]
    reader = ShardReader(folder / "shards")
    pixels = decode_image(reader.jpeg(columns["shard"][5], int(columns["shard_row"][5])))
    jpeg = encode_jpeg(pixels, quality=60)
    name = columns["shard"][rows[1]]
    inside = np.flatnonzero(columns["shard"] == name)
    stored = [reader.jpeg(name, int(columns["shard_row"][row])) for row in inside]
    stored[int(columns["shard_row"][rows[1]])] = jpeg
    (folder / "shards" / name).unlink()
    ids = [str(columns["sample_id"][row]) for row in inside]
    ShardWriter.write(folder / "shards" / name, ids, stored)
    columns["image_hash"][rows[1]] = hashlib.sha256(jpeg).hexdigest()
    Annotations.from_columns(columns).write(folder / "annotations.parquet")

    result = validation.validate(folder, tmp_path / "out")

    finding = next(f for f in result.blocking if f.expectation == "image_alike_in_one_split")
    assert {row.number for row in finding.rows} == set(rows)


def test_the_command_names_faults_and_writes_pages(
    version: Writer, columns: Columns, tmp_path: Path
):
    columns["betas"][3, 0] = 9
    folder = version(columns)
    app = typer.Typer()
    app.command()(validate)

    ended = CliRunner().invoke(app, [str(folder), "--docs", str(tmp_path / "pages")])

    assert "betas_plausible" in str(ended.exception)
    assert (tmp_path / "pages" / "report.html").exists()
