"""A stage's result is whole or absent, and is found by what it was made from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.storage import stage_cache
from flows.storage.stage_cache import RUNS, StageStore
from hemlets.core.errors import WorkspaceError
from hemlets.core.files import read_json
from hemlets.core.workspace import Workspace


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(Workspace(home=tmp_path))


class Builds:
    """A stage that counts how often it was built."""

    def __init__(self, text: str = "weights") -> None:
        self.text, self.times = text, 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "a.bin").write_text(self.text)
        (folder / "log.txt").write_text(f"attempt {self.times}")


def test_a_result_is_built_once(store) -> None:
    build = Builds()
    first, second = store.run("train", "k", build), store.run("train", "k", build)
    assert build.times == 1
    assert (first.cached, second.cached) == (False, True)
    assert first.content == second.content
    assert first.folder == second.folder == store.folder("train", "k")


def test_any_other_ingredient_gives_another_key() -> None:
    key = StageStore.key("train", data="a", config="b")
    assert key == StageStore.key("train", config="b", data="a")
    others = {
        StageStore.key("bench", data="a", config="b"),
        StageStore.key("train", data="b", config="a"),
        StageStore.key("train", data="a"),
        StageStore.key("train", data="a", config=None),
    }
    assert key not in others
    assert len(others) == 4


def test_a_build_that_failed_is_not_taken_for_whole_and_is_gone_on_from(store) -> None:
    def stops(folder: Path) -> None:
        (folder / "shard-0").write_text("whole")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        store.run("ingest", "k", stops)
    assert store.find("ingest", "k") is None
    assert not store.folder("ingest", "k").exists()
    seen: list[str] = []
    store.run("ingest", "k", lambda folder: seen.extend(p.name for p in folder.iterdir()))
    assert seen == ["shard-0"]


def test_a_half_written_partial_of_a_killed_process_is_not_taken_for_whole(store) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from flows.storage.stage_cache import StageStore\n"
        "from hemlets.core.workspace import Workspace\n"
        "def build(folder):\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "StageStore(Workspace(home=Path(sys.argv[1]))).run('ingest', 'k', build)\n"
    )
    home = str(store.workspace.home)
    ended = subprocess.run([sys.executable, "-c", script, home], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.find("ingest", "k") is None
    # The dead process's lock is no obstacle.
    result = store.run("ingest", "k", Builds())
    assert not result.cached
    assert store.find("ingest", "k") is not None


@pytest.mark.parametrize("damage", ["changed", "shortened", "missing", "manifest"])
def test_a_damaged_result_is_noticed_and_built_again(store, damage) -> None:
    build = Builds()
    result = store.run("train", "k", build, counts="model/")
    file = result.folder / "model" / "a.bin"
    if damage == "changed":
        file.write_text("Weights")
    elif damage == "shortened":
        os.truncate(file, 3)
    elif damage == "missing":
        file.unlink()
    else:
        (result.folder / "manifest.json").write_text('{"stage": "tr')
    assert store.find("train", "k") is None
    again = store.run("train", "k", build, counts="model/")
    assert build.times == 2
    assert not again.cached
    assert again.content == result.content
    assert file.read_text() == "weights"


def test_only_what_counts_decides_whether_later_stages_run_again(tmp_path) -> None:
    one, two = (StageStore(Workspace(home=tmp_path / name)) for name in "ab")
    talkative = Builds()
    talkative.times = 7
    counted = [one.run("train", "k", Builds(), counts="model/"),
               two.run("train", "k", talkative, counts="model/")]  # fmt: skip
    assert counted[0].content == counted[1].content
    changed = StageStore(Workspace(home=tmp_path / "c"))
    assert changed.run("train", "k", Builds("other"), counts="model/").content != counted[0].content


def test_a_whole_result_is_found_by_its_content_whatever_it_was_made_from(store) -> None:
    one, other = store.run("ingest", "a", Builds("one")), store.run("ingest", "b", Builds("other"))
    found = store.holding("ingest", other.content)
    assert found is not None
    assert found.folder == other.folder
    assert store.holding("train", other.content) is None
    (one.folder / "model" / "a.bin").write_text("changed")
    assert store.holding("ingest", one.content) is None
    # Nor is it taken for whole under the name that it was put aside by.
    assert store.holding("ingest", one.content) is None


@pytest.mark.parametrize("left", [False, True])
def test_a_result_that_is_removed_while_it_is_verified_is_absent(store, monkeypatch, left) -> None:
    one = store.run("ingest", "a", Builds())
    digest = stage_cache.sha256_file

    def removed_first(path: Path) -> str:
        shutil.rmtree(one.folder)
        if left:
            one.folder.mkdir()
        return digest(path)

    monkeypatch.setattr(stage_cache, "sha256_file", removed_first)
    assert store.holding("ingest", one.content) is None


def test_a_stage_that_runs_elsewhere_is_not_built_at_the_same_time(store) -> None:
    def build(folder: Path) -> None:
        with pytest.raises(WorkspaceError, match=rf"already running \(process {os.getpid()}\)"):
            StageStore(store.workspace).run("train", "other", Builds())

    store.run("train", "k", build, counts="model/")


def test_a_result_that_is_not_good_enough_is_built_again_and_replaced(store) -> None:
    def is_good(folder: Path) -> bool:
        return (folder / "model" / "a.bin").read_text() == "good"

    poor, good = Builds("poor"), Builds("good")
    store.run("package", "k", poor, reusable=is_good)
    assert not store.run("package", "k", good, reusable=is_good).cached
    assert store.run("package", "k", poor, reusable=is_good).cached
    assert (poor.times, good.times) == (1, 1)


def test_a_run_notes_what_it_asked_for_built_or_found(store) -> None:
    store.run("train", "a", Builds())
    again = StageStore(store.workspace)
    again.run("train", "a", Builds())
    again.run("bench", "b", Builds())
    again.run("bench", "b", Builds())
    first, second = sorted((store.workspace.stages / RUNS).iterdir())
    assert read_json(first) == [["train", "a"]]
    assert read_json(second) == [["train", "a"], ["bench", "b"]]
