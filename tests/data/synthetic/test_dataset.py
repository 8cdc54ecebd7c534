"""Building a data version: repeatable, resumable, and leaving nobody behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.core.files import read_json, sha256_file
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.synthetic.dataset import plan_shards
from hemlets.data.table import Annotations, ShardReader, decode_image

CONFIG = OpenDataConfig(
    samples=SplitSizes(train=150, validation=20, gate=20, test=20),
    image_px=64,
    shard_size=50,
    background_share=0.0,
)
ENDLESS = CONFIG.model_copy(update={"samples": SplitSizes(train=50_000)})


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "data"
    build_open_data(CONFIG, folder, workers=1)
    return folder


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    build = tmp_path / "data"
    subprocess.run(["cp", "-a", str(built), str(build)], check=True)
    return build


def test_the_folder_is_a_data_version(built: Path) -> None:
    table = Annotations.read(built / "annotations.parquet")
    reader = ShardReader(built / "shards")
    assert len(table) == 210
    assert [len(table.split(name)) for name in ("train", "validation", "gate", "test")] == [
        150, 20, 20, 20,
    ]  # fmt: skip
    for row in range(0, 210, 17):
        data = reader.jpeg(table.shard[row], int(table.shard_row[row]), table.sample_id[row])
        assert decode_image(data).shape == (64, 64, 3)
    assert len(set(table.sample_id)) == 210
    assert np.isfinite(table.joints3d_mm).all()


def test_the_version_file_names_everything_that_decides_the_bytes(built: Path) -> None:
    version = read_json(built / "version.json")
    assert OpenDataConfig.from_mapping(version["config"]) == CONFIG
    assert version["samples"] == {"train": 150, "validation": 20, "gate": 20, "test": 20}
    assert version["annotations"] == sha256_file(built / "annotations.parquet")
    assert version["shards"].keys() == {plan.name for plan in plan_shards(CONFIG)}
    assert "body/open_body_lite.npz" in version["assets"]


def test_nothing_but_data_is_left_in_the_folder(built: Path) -> None:
    names = {path.name for path in built.iterdir()}
    assert names == {"annotations.parquet", "shards", "version.json"}


def test_workers_do_not_change_the_bytes(built: Path, tmp_path: Path, own_children) -> None:
    seen: list[tuple[int, int]] = []
    build_open_data(
        CONFIG, tmp_path / "data", workers=2, progress=lambda *counts: seen.append(counts)
    )
    assert contents(tmp_path / "data") == contents(built)
    assert seen[0] == (0, 210)
    assert seen[-1] == (210, 210)
    assert not own_children()


def test_the_size_of_a_shard_does_not_change_a_sample(built: Path, tmp_path: Path) -> None:
    other = CONFIG.model_copy(update={"shard_size": 1000})
    build_open_data(other, tmp_path / "data")
    left, right = (
        Annotations.read(folder / "annotations.parquet") for folder in (built, tmp_path / "data")
    )
    assert list(left.image_hash) == list(right.image_hash)
    assert np.array_equal(left.theta, right.theta)


def test_a_finished_folder_is_left_as_it_is(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    build_open_data(CONFIG, copy)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}


def test_a_lost_shard_is_rendered_anew_with_the_same_bytes(built: Path, copy: Path) -> None:
    kept = copy / "shards" / "train-00000.arrow"
    time_before = kept.stat().st_mtime_ns
    (copy / "shards" / "train-00001.arrow").unlink()
    build_open_data(CONFIG, copy)
    assert contents(copy) == contents(built)
    assert kept.stat().st_mtime_ns == time_before


def test_an_interrupted_build_redoes_no_finished_shard(built: Path, tmp_path: Path) -> None:
    def stop_after_two(done: int, total: int) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_open_data(CONFIG, tmp_path / "data", progress=stop_after_two)
    assert not (tmp_path / "data" / "version.json").exists()
    finished = sorted((tmp_path / "data" / "shards").iterdir())
    times = [path.stat().st_mtime_ns for path in finished]
    assert len(finished) == 2

    counts: list[int] = []
    build_open_data(CONFIG, tmp_path / "data", progress=lambda done, total: counts.append(done))
    assert counts[0] == 100
    assert [path.stat().st_mtime_ns for path in finished] == times
    assert contents(tmp_path / "data") == contents(built)


def test_a_folder_of_another_configuration_is_refused(copy: Path) -> None:
    before = contents(copy)
    with pytest.raises(DataError, match="config differ"):
        build_open_data(CONFIG.model_copy(update={"seed": 1}), copy)
    assert contents(copy) == before


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    def build_again(done: int, total: int) -> None:
        build_open_data(CONFIG, tmp_path / "data")

    with pytest.raises(WorkspaceError, match="already running"):
        build_open_data(CONFIG, tmp_path / "data", progress=build_again)


def test_a_disk_that_is_too_small_is_named_before_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WorkspaceError, match="GB are needed"):
        build_open_data(CONFIG, tmp_path / "data")


def test_a_worker_that_dies_is_reported_and_the_rest_ended(tmp_path: Path, own_children) -> None:
    def kill_one(done: int, total: int) -> None:
        if done:
            own_children()[0].kill()

    with pytest.raises(WorkspaceError, match="worker died"):
        build_open_data(CONFIG, tmp_path / "data", workers=2, progress=kill_one)
    assert not own_children()


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition: object, timeout_s: float = 120.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and needs Linux' prctl")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, sent: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; from hemlets.data.synthetic import *\n"
        "config = OpenDataConfig.model_validate_json(sys.argv[1])\n"
        "build_open_data(config, Path(sys.argv[2]), workers=2)\n"
    )
    command = [sys.executable, "-c", code, ENDLESS.model_dump_json(), str(tmp_path / "data")]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    shards = tmp_path / "data" / "shards"
    try:
        assert wait_until(lambda: shards.exists() and any(shards.glob("*.arrow")))
        children = descendants(parent.pid)
        assert len(children) >= 2
        # As a terminal does it: the interrupt reaches the whole group.
        os.killpg(parent.pid, sent) if sent == signal.SIGINT else parent.kill()
        parent.wait(timeout=180)
        assert wait_until(lambda: not any(map(is_alive, children)), 30.0)
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_pixels": 128}, "unknown key 'image_pixels'"),
        ({"occluder_probability": 1.5}, "occluder_probability = 1.5"),
        ({"samples": {"training": 5}}, "unknown key 'samples.training'"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenDataConfig.from_mapping(values)


def test_a_later_range_of_people_overlaps_the_one_before_and_leaves_the_other_splits(
    tmp_path: Path,
) -> None:
    sizes = {"train": 4, "validation": 2, "gate": 0, "test": 0}
    hashes = {}
    for first in (0, 2):
        config = CONFIG.model_copy(
            update={"samples": SplitSizes(**sizes), "background_share": 0.0, "first": first}
        )
        build_open_data(config, tmp_path / str(first))
        rows = Annotations.read(tmp_path / str(first) / "annotations.parquet")
        hashes[first] = {
            split: list(rows.split(split).image_hash) for split in ("train", "validation")
        }
    assert hashes[2]["train"][:2] == hashes[0]["train"][2:]
    assert not set(hashes[2]["train"][2:]) & set(hashes[0]["train"])
    assert hashes[2]["validation"] == hashes[0]["validation"]
