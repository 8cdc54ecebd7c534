"""Rendered benchmarks: whatever comes out otherwise is refused, and told what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import read_json, write_json
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data, dataset
from hemlets.data.synthetic import benchmark_set as sets
from hemlets.data.synthetic.people import render_person
from hemlets.data.table import FIELDS, Annotations

SMALL = OpenDataConfig(
    samples=SplitSizes(train=80, validation=10, gate=10, test=10), image_px=64, shard_size=40
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "small"
    build_open_data(SMALL, folder)
    return folder


@pytest.fixture
def small(rendered, tmp_path, monkeypatch) -> Path:
    """A benchmark of 110 people, described beside a copy of the module's path."""
    monkeypatch.setattr(sets, "__file__", str(tmp_path / "benchmark_set.py"))
    sets._freeze("open-benchmark-7", rendered)
    return tmp_path


def with_columns(rendered: Path, folder: Path, **columns) -> Path:
    table = Annotations.read(rendered / "annotations.parquet")
    whole = {field.name: table.column(field.name) for field in FIELDS} | columns
    Annotations.from_columns(whole).write(folder / "annotations.parquet")
    write_json(folder / "version.json", read_json(rendered / "version.json"))
    return folder


def test_the_bundled_benchmark_is_what_this_code_renders(library, body) -> None:
    name = "open-benchmark-1"
    assert name in sets.benchmark_names()
    frozen = sets._frozen(name)
    assert frozen["renderer"] == dataset.RENDERER_VERSION
    config = sets.benchmark_config(name)
    assert config.samples.test >= 500
    for column, described in frozen["labels"]["close"].items():
        sample, values = next(iter(described["rows"].items()))
        _, split, number = sample.split("-")
        row = render_person(config, library, body, split, int(number)).row
        limit = sets._CLOSE[column]
        assert np.asarray(row[column]).reshape(-1) == pytest.approx(values, abs=limit), column


def test_a_benchmark_is_rendered_and_checked(small, rendered, tmp_path) -> None:
    assert sets.benchmark_names() == ["open-benchmark-7"]
    sets.build_benchmark("open-benchmark-7", tmp_path / "data")
    assert (tmp_path / "data" / "version.json").exists()
    sets.verify_benchmark("open-benchmark-7", rendered)


def test_the_last_bits_of_another_machine_are_no_difference(small, rendered, tmp_path) -> None:
    table = Annotations.read(rendered / "annotations.parquet")
    noise = np.random.default_rng(0).normal(0, 1e-3, table.joints3d_mm.shape)
    near = with_columns(rendered, tmp_path, joints3d_mm=table.joints3d_mm + noise)
    sets.verify_benchmark("open-benchmark-7", near)


def test_what_changed_is_named(small, rendered, tmp_path) -> None:
    table = Annotations.read(rendered / "annotations.parquet")
    other = with_columns(
        rendered,
        tmp_path,
        joints3d_mm=table.joints3d_mm + 2.0,
        clip=["other", *table.clip[1:]],
        relations=-table.relations,
    )
    with pytest.raises(DataError) as error:
        sets.verify_benchmark("open-benchmark-7", other)
    for words in ("clip", "joints3d_mm (mean", "the share of relations = 1", "another name"):
        assert words in str(error.value)
    assert "theta" not in str(error.value)


def test_another_renderer_or_body_is_refused_before_anything_is_rendered(
    small, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(sets, "RENDERER_VERSION", 99)
    monkeypatch.setattr(sets, "sha256_file", lambda _: "0" * 64)
    with pytest.raises(DataError, match="renderer 99 instead of") as error:
        sets.build_benchmark("open-benchmark-7", tmp_path / "data")
    assert "another body/open_body_lite.npz" in str(error.value)
    assert not (tmp_path / "data").exists()


def test_an_unknown_name_lists_the_known_ones(small) -> None:
    with pytest.raises(ConfigError, match="open-benchmark-7"):
        sets.benchmark_config("open-benchmark-0")


def test_a_benchmark_is_never_described_anew(small, rendered) -> None:
    with pytest.raises(ConfigError, match="a new name"):
        sets._freeze("open-benchmark-7", rendered)
