"""Files of a data version that a full disk or a power cut left short: made again, same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file
from hemlets.data.readers.open_rendered import DATASET
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.versions.combine import Part, combine
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig

SIZES = SplitSizes(train=8, validation=2, gate=2, test=2)
CONFIG = OpenDataConfig(samples=SIZES, image_px=64, shard_size=4, background_share=0.0)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "open"
    build_open_data(CONFIG, folder)
    return folder


@pytest.fixture
def copy(rendered: Path, tmp_path: Path) -> Path:
    shutil.copytree(rendered, tmp_path / "open")
    return tmp_path / "open"


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("name", ["shards/train-00001.arrow", "annotations.parquet"])
def test_a_cut_file_of_a_finished_rendering_is_made_again(rendered, copy, name, share) -> None:
    cut(copy / name, share)
    build_open_data(CONFIG, copy)
    assert contents(copy) == contents(rendered)


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize(
    "name",
    [
        "shards/train-00000.arrow",
        ".unfinished/train-00000.arrow.parquet",
        ".unfinished/plan.json",
    ],
)
def test_a_cut_file_of_an_interrupted_ingest_is_made_again(rendered, tmp_path, name, share) -> None:
    config = IngestConfig(shard_size=4)

    def stop(what: str, done: int, total: int) -> None:
        if what == "images" and done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(DATASET, rendered, tmp_path / "data", config, progress=stop)
    cut(tmp_path / "data" / name, share)
    ingest(DATASET, rendered, tmp_path / "data", config)
    ingest(DATASET, rendered, tmp_path / "undisturbed", config)
    assert contents(tmp_path / "data") == contents(tmp_path / "undisturbed")


def test_a_cut_shard_of_a_union_is_taken_from_its_part_again(rendered, tmp_path) -> None:
    parts = [Part(name="open", folder=rendered)]
    combine(parts, tmp_path / "union")
    before = contents(tmp_path / "union")
    shard = tmp_path / "union" / "shards" / "open-train-00001.arrow"
    shard.unlink()
    shard.write_bytes(b"")
    combine(parts, tmp_path / "union")
    assert contents(tmp_path / "union") == before


def test_a_part_with_a_cut_shard_is_not_combined(copy: Path, tmp_path: Path) -> None:
    cut(copy / "shards/train-00000.arrow", 0.5)
    with pytest.raises(DataError, match=r"shard is cut[\s\S]*train-00000") as raised:
        combine([Part(name="open", folder=copy)], tmp_path / "both")
    assert "check out the data version again" in str(raised.value.remedy)
