"""Several data versions made one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import sha256_folder
from hemlets.data.readers.lsp import LSP_DATASET
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations, ShardReader
from hemlets.data.versions.combine import Part, combine
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered") / "open-rendered"
    sizes = SplitSizes(train=6, validation=2, gate=2, test=2)
    build_open_data(OpenDataConfig(samples=sizes, image_px=64), folder)
    return folder


@pytest.fixture
def photos(lsp_mat, tmp_path) -> Path:
    """Three people with 2D joints only, all for training."""
    folder = tmp_path / "ingested" / "lsp"
    config = IngestConfig(cut=SplitCut(validation=0.0, gate=0.0))
    ingest(LSP_DATASET, lsp_mat(), folder, config)
    return folder


def parts_of(rendered: Path, photos: Path) -> list[Part]:
    return [Part(name="open", folder=rendered), Part(name="photos", folder=photos)]


def test_the_union_has_every_row_of_its_parts_with_its_image_and_source(
    rendered, photos, tmp_path
) -> None:
    out = tmp_path / "union"
    combine(parts_of(rendered, photos), out)
    union = Annotations.read(out / "annotations.parquet")
    shards = ShardReader(out / "shards")
    row = 0
    for folder in (rendered, photos):
        part, stored = Annotations.read(folder / "annotations.parquet"), folder / "shards"
        for own in range(len(part)):
            name = str(part.sample_id[own])
            image = shards.jpeg(str(union.shard[row]), int(union.shard_row[row]), name)
            own_shard, own_row = str(part.shard[own]), int(part.shard_row[own])
            assert image == ShardReader(stored).jpeg(own_shard, own_row)
            assert union.source[row] == part.source[own]
            np.testing.assert_array_equal(union.joints3d_mm[row], part.joints3d_mm[own])
            row += 1
    assert row == len(union)
    told = json.loads((out / "version.json").read_text())
    assert told["samples"] == {"train": 9, "validation": 2, "gate": 2, "test": 2}
    assert [part["name"] for part in told["parts"]] == ["open", "photos"]


def test_the_bytes_depend_on_the_parts_alone(rendered, photos, tmp_path) -> None:
    for name in ("a", "b"):
        combine(parts_of(rendered, photos), tmp_path / name)
    assert sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")


def test_a_union_that_is_whole_is_left_as_it_is(rendered, photos, tmp_path) -> None:
    out = tmp_path / "union"
    combine(parts_of(rendered, photos), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    combine(parts_of(rendered, photos), out)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_shard_that_went_missing_comes_back(rendered, photos, tmp_path) -> None:
    out = tmp_path / "union"
    combine(parts_of(rendered, photos), out)
    whole = sha256_folder(out)
    (out / "shards" / "photos-train-00000.arrow").unlink()
    combine(parts_of(rendered, photos), out)
    assert sha256_folder(out) == whole


def test_of_a_part_only_the_splits_asked_for_are_taken(rendered, photos, tmp_path) -> None:
    parts = [Part(name="open", folder=rendered, splits=("gate",)), *parts_of(rendered, photos)[1:]]
    combine(parts, tmp_path / "union")
    union = Annotations.read(tmp_path / "union" / "annotations.parquet")
    assert sorted(set(union.column("split"))) == ["gate", "train"]
    assert sorted(path.name for path in (tmp_path / "union" / "shards").iterdir()) == [
        "open-gate-00000.arrow",
        "photos-train-00000.arrow",
    ]


def test_a_sample_of_two_parts_is_refused_and_nothing_is_written(rendered, tmp_path) -> None:
    parts = [Part(name="one", folder=rendered), Part(name="two", folder=rendered)]
    with pytest.raises(DataError, match="12 samples are in more than one part") as raised:
        combine(parts, tmp_path / "union")
    assert "one and two" in str(raised.value.where)
    assert not (tmp_path / "union").exists()


def test_a_clip_that_would_be_trained_on_and_held_out_is_refused(photos, lsp_mat, tmp_path) -> None:
    table = Annotations.read(photos / "annotations.parquet")
    columns = {name: table.column(name) for name in table.schema.names}
    other = tmp_path / "other"
    (other / "shards").mkdir(parents=True)
    os.link(photos / "shards" / "train-00000.arrow", other / "shards" / "test-00000.arrow")
    Annotations.from_columns(
        columns
        | {
            "sample_id": [f"{name}-again" for name in table.sample_id],
            "split": ["test"] * len(table),
            "shard": ["test-00000.arrow"] * len(table),
        }
    ).write(other / "annotations.parquet")
    parts = [Part(name="one", folder=photos), Part(name="two", folder=other)]
    with pytest.raises(DataError, match="3 clips are in more than one split"):
        combine(parts, tmp_path / "union")


def test_a_folder_of_other_parts_is_refused_and_left_alone(rendered, photos, tmp_path) -> None:
    out = tmp_path / "union"
    combine(parts_of(rendered, photos), out)
    before = sha256_folder(out)
    with pytest.raises(DataError, match="parts differ"):
        combine(parts_of(rendered, photos)[:1], out)
    assert sha256_folder(out) == before


def test_a_part_without_images_is_refused(lsp_mat, tmp_path) -> None:
    folder = tmp_path / "bare"
    ingest(LSP_DATASET, lsp_mat(), folder, IngestConfig(images="none"))
    with pytest.raises(DataError, match="no data version with images"):
        combine([Part(name="lsp", folder=folder)], tmp_path / "union")


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("../up", ("train",), "can't be the name"),
        ("a", ("trian",), "no split trian"),
        ("a", (), "no split is taken"),
    ],
)
def test_names_and_splits_that_are_none_are_refused(tmp_path, name, splits, message) -> None:
    with pytest.raises(ConfigError, match=message):
        combine([Part(name=name, folder=tmp_path, splits=splits)], tmp_path / "union")


def test_a_union_that_was_killed_is_finished_with_the_same_bytes(
    rendered, photos, tmp_path
) -> None:
    out = tmp_path / "union"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from hemlets.data.versions import combine as module\n"
        "place = module.place_file\n"
        "def slow(*a):\n"
        "    place(*a)\n"
        "    Path(sys.argv[4]).touch()\n"
        "    time.sleep(60)\n"
        "module.place_file = slow\n"
        "parts = [module.Part(name=n, folder=Path(f)) for n, f in"
        " (('open', sys.argv[1]), ('photos', sys.argv[2]))]\n"
        "module.combine(parts, Path(sys.argv[3]))\n"
    )
    mark = tmp_path / "mark"
    arguments = [str(path) for path in (rendered, photos, out, mark)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    while not mark.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / "version.json").exists()
    combine(parts_of(rendered, photos), out)
    combine(parts_of(rendered, photos), tmp_path / "uninterrupted")
    assert sha256_folder(out) == sha256_folder(tmp_path / "uninterrupted")
