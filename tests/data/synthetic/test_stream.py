"""The endless stream: the same people whoever renders them, and never more than are wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, Studio
from hemlets.data.synthetic.people import BLOCK
from hemlets.data.synthetic.stream import RenderStream, StreamConfig

CONFIG = StreamConfig(data=OpenDataConfig(image_px=64, seed=5), window=2 * BLOCK, ahead=1)


def hashes(config: StreamConfig, workers: int, count: int, start: int = 0) -> list[list[str]]:
    with RenderStream(config, workers=workers) as stream:
        found = list(islice(stream.windows(start), count))
    return [list(window.annotations.image_hash) for window in found]


@pytest.fixture(scope="module")
def three() -> list[list[str]]:
    return hashes(CONFIG, 0, 3)


def test_any_number_of_workers_gives_the_same_people(three, own_children) -> None:
    assert hashes(CONFIG, 1, 3) == three
    assert hashes(CONFIG, 3, 3) == three
    assert not own_children()


def test_a_stream_can_begin_at_any_window(three) -> None:
    assert hashes(CONFIG, 0, 2, start=1) == three[1:]


def test_people_are_those_of_a_data_version_with_the_same_settings(three, library, body) -> None:
    studio = Studio(CONFIG.data, library, body)
    assert studio.person("train", 70).row["image_hash"] == three[0][70]
    assert studio.person("train", 2 * BLOCK + 3).row["image_hash"] == three[1][3]


def test_scenes_without_a_person_come_as_often_as_in_a_data_version(three, library, body) -> None:
    plans = CONFIG.data.model_copy(update={"samples": SplitSizes(train=CONFIG.window)})
    assert CONFIG.scenes == plans.count("train-background") == 4
    with RenderStream(CONFIG, workers=0) as stream:
        rows = next(stream.windows()).annotations
    assert rows.shows_person.tolist() == [True] * CONFIG.window + [False] * 4
    studio = Studio(CONFIG.data, library, body)
    for window in (0, 2):
        scenes = [studio.scene("train-background", 4 * window + i) for i in range(4)]
        assert [scene.row["image_hash"] for scene in scenes] == three[window][CONFIG.window :]


def test_scenes_can_fill_blocks_of_their_own(library, body) -> None:
    data = CONFIG.data.model_copy(update={"background_share": 1.0})
    config = StreamConfig(data=data, window=2 * BLOCK)
    wanted = np.array([0, 2 * BLOCK - 1, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK - 1])
    with RenderStream(config, workers=0) as stream:
        names = next(stream.windows(1, lambda _: wanted)).annotations.sample_id.tolist()
    assert names == [
        "open-train-000128", "open-train-000255", "open-train-background-000128",
        "open-train-background-000192", "open-train-background-000255",
    ]  # fmt: skip


def test_a_split_without_scenes_streams_people_alone() -> None:
    assert StreamConfig(split="gate").size == StreamConfig().window


def test_nobody_comes_twice(three) -> None:
    everyone = [name for window in three for name in window]
    assert len(set(everyone)) == 3 * CONFIG.size


def test_a_share_holds_the_same_people_in_their_slots(three) -> None:
    wanted = np.array([5, 64, 100, 5])
    with RenderStream(CONFIG, workers=0) as stream:
        window = next(stream.windows(1, lambda number: wanted + number))
    assert window.slots.tolist() == [6, 65, 101]
    assert list(window.annotations.image_hash) == [three[1][slot] for slot in (6, 65, 101)]
    name = window.annotations.sample_id[1]
    assert window.jpeg("stream", 1, name).startswith(b"\xff\xd8")
    with pytest.raises(DataError, match="another sample"):
        window.jpeg("stream", 0, name)


def test_an_iteration_can_be_left_for_another(three) -> None:
    with RenderStream(CONFIG, workers=2) as stream:
        next(stream.windows(2))
        first = next(stream.windows(0))
    assert list(first.annotations.image_hash) == three[0]


def test_no_more_is_rendered_than_may_lie_ahead() -> None:
    config = CONFIG.model_copy(update={"window": BLOCK, "ahead": 2})
    with RenderStream(config, workers=1) as stream:
        windows = stream.windows()
        next(windows)
        assert stream._pool is not None
        assert stream._pool.pending <= 2
        time.sleep(1.0)
        assert stream._pool.pending <= 2
        next(windows)
        assert stream._pool.pending <= 2


def test_a_worker_that_dies_is_reported(own_children) -> None:
    with RenderStream(CONFIG, workers=2) as stream:
        windows = stream.windows()
        next(windows)
        for child in own_children():
            child.kill()
        with pytest.raises(WorkspaceError, match="a render worker died"):
            list(islice(windows, 4))
    assert not own_children()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and needs Linux' prctl")
def test_no_worker_outlives_its_parent(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from hemlets.data.synthetic import OpenDataConfig\n"
        "from hemlets.data.synthetic.stream import RenderStream, StreamConfig\n"
        "config = StreamConfig(data=OpenDataConfig(image_px=64), window=64)\n"
        "with RenderStream(config, workers=2) as stream:\n"
        "    for window in stream.windows(): Path(sys.argv[1]).touch()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path / "running"])
    end = time.monotonic() + 300
    try:
        while not (tmp_path / "running").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while any(is_alive(int(pid)) for pid in listed):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        if parent.poll() is None:
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()


@pytest.mark.parametrize(
    ("values", "message"), [({"window": 100}, "multiple of 64"), ({"reuse": 0}, "reuse = 0")]
)
def test_wrong_settings_are_named(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamConfig.from_mapping(values)
