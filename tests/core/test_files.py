"""Files are whole or absent, and locks die with their owner."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.files import (
    atomic_folder,
    atomic_path,
    content_hash,
    lock,
    read_json,
    remove_leftovers,
    require_free_space,
    sha256_folder,
    write_json,
)
from hemlets.core.processes import die_with_parent


@pytest.fixture
def script() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start Python code that prints a line when it is in the middle of something."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        head = "import time\nfrom pathlib import Path\nfrom hemlets.core.files import *\n"
        process = subprocess.Popen(
            [sys.executable, "-c", head + code],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_path(path) as scratch:
        scratch.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert _names(path.parent) == ["a.txt"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as scratch:
            scratch.write_text("half")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_a_kill_leaves_the_old_file(
    tmp_path: Path, script: Callable[[str], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    process = script(
        f"with atomic_path(Path({str(path)!r})) as p:\n"
        "    p.write_text('half')\n    print('there', flush=True)\n    time.sleep(60)\n"
    )
    process.kill()
    process.wait()
    assert path.read_text() == "old"


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for number in range(2):
        with atomic_folder(path) as scratch:
            (scratch / f"{number}.txt").write_text("x")
    assert _names(path) == ["1.txt"]
    assert _names(tmp_path) == ["model"]


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()

    def fail() -> None:
        with atomic_folder(path) as scratch:
            (scratch / "half").touch()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert _names(path) == ["old"]
    assert _names(tmp_path) == ["model"]


def test_a_kill_leaves_the_old_folder(
    tmp_path: Path, script: Callable[[str], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    process = script(
        f"with atomic_folder(Path({str(path)!r})) as p:\n"
        "    (p / 'half').touch()\n    print('there', flush=True)\n    time.sleep(60)\n"
    )
    process.kill()
    process.wait()
    assert _names(path) == ["old"]


def test_a_folder_is_never_half_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is left if the process is killed while it removes the old folder.
    path = tmp_path / "model"
    path.mkdir()
    for name in "abc":
        (path / name).write_text("old")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def replace() -> None:
        with atomic_folder(path) as scratch:
            (scratch / "new").touch()
            monkeypatch.setattr(shutil, "rmtree", killed)

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert _names(path) in (["a", "b", "c"], ["new"])


def test_folders_are_replaced_without_the_exchanging_system_call_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    test_a_folder_replaces_the_old_one_as_a_whole(tmp_path)


def test_old_leftovers_of_dead_processes_are_removed_and_others_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old, young, living = (
        tmp_path / f".a.txt.{pid}.part" for pid in (dead.pid, dead.pid * 10 + 1, os.getppid())
    )
    for leftover in (old, young, living):
        leftover.touch()
    for leftover in (old, living):
        os.utime(leftover, (time.time() - 10_000,) * 2)
    with atomic_path(tmp_path / "a.txt") as scratch:
        scratch.touch()
    assert _names(tmp_path) == sorted(["a.txt", young.name, living.name])


def test_a_full_disk_is_told_with_the_file_and_a_remedy(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkspaceError, match=r"No space left[\s\S]*a\.txt[\s\S]*free some space"):
        write()


def test_an_absent_file_that_is_read_meanwhile_is_not_blamed_on_the_written_one(
    tmp_path: Path,
) -> None:
    def copy() -> None:
        with atomic_path(tmp_path / "a.txt") as scratch:
            scratch.write_text((tmp_path / "source").read_text())

    with pytest.raises(FileNotFoundError, match="source"):
        copy()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="could not write"):
        write_json(tmp_path / "file" / "a.json", {})
    with pytest.raises(WorkspaceError, match="lock"), lock(tmp_path / "file" / "a.lock", "it"):
        pass


def test_too_little_space_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"are needed[\s\S]*HEMLETS_HOME"):
        require_free_space(tmp_path, 10**18)
    require_free_space(tmp_path, 1)


def test_json_survives_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "θ"})
    assert read_json(path) == {"b": 1, "a": "θ"}
    path.write_text('{"a": ')
    with pytest.raises(DataError, match=r"not JSON[\s\S]*a\.json"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"too deeply[\s\S]*a\.json"):
        read_json(path)
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "b.json")
    with pytest.raises(DataError, match="can't be read"):
        read_json(tmp_path)


def test_a_hash_of_values_ignores_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})


def test_a_hash_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = sha256_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = sha256_folder(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({before, renamed, sha256_folder(tmp_path)}) == 3


def test_a_busy_lock_names_the_process_that_holds_it(
    tmp_path: Path, script: Callable[[str], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "train.lock"
    holder = script(
        f"with lock(Path({str(path)!r}), 'training'):\n"
        "    print('there', flush=True)\n    time.sleep(60)\n"
    )
    with (
        pytest.raises(
            WorkspaceError, match=rf"training is already running \(process {holder.pid}\)"
        ),
        lock(path, "training"),
    ):
        pass


def test_a_killed_process_lets_go_of_its_lock(
    tmp_path: Path, script: Callable[[str], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "train.lock"
    holder = script(
        f"with lock(Path({str(path)!r}), 'training'):\n"
        "    print('there', flush=True)\n    time.sleep(60)\n"
    )
    holder.kill()
    holder.wait()
    with lock(path, "training"):
        assert path.with_suffix(".owner").read_text() == str(os.getpid())


def test_a_lock_is_free_again_after_an_exception(tmp_path: Path) -> None:
    def fail() -> None:
        with lock(tmp_path / "a.lock", "it"):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()


def test_a_process_that_holds_a_lock_may_be_let_in_again_and_holds_it_to_the_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.lock"
    with lock(path, "it"):
        with lock(path, "it", again=True):
            pass
        with pytest.raises(WorkspaceError), lock(path, "it"):
            pass
    with lock(path, "it"):
        pass


def test_written_json_is_the_same_for_the_same_values(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert list(json.loads((tmp_path / "a").read_text())) == ["a", "b"]


def test_the_only_writer_of_a_folder_removes_what_was_left_a_moment_ago(tmp_path: Path) -> None:
    left = tmp_path / "shards" / ".train-00003.arrow.7640.part"
    folder = tmp_path / ".version.1234.part"
    kept = [tmp_path / "shards" / "train-00003.arrow", tmp_path / ".hidden.part"]
    folder.mkdir()
    left.parent.mkdir()
    for path in (left, folder / "inside", *kept):
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_a_name_that_is_too_long_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"too long[\s\S]*shorter name"):
        write_json(tmp_path / ("n" * 300), {})
