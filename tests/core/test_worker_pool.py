"""Worker pools: no worker is left when a pool is closed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hemlets.core.errors import WorkspaceError
from hemlets.core.worker_pool import WorkerPool


def prepare() -> Callable[[int], bytes]:
    return bytes


def prepare_slow() -> Callable[[int], None]:
    return time.sleep


LOCKED = """
import multiprocessing
from hemlets.core.worker_pool import WorkerPool

def prepare():
    prepare.lock = multiprocessing.get_context("spawn").RLock()  # as tqdm's, until the worker ends
    return bytes

if __name__ == "__main__":
    with WorkerPool(prepare, 1) as pool:
        pool.submit(1)
        pool.next_result()
"""


def _work_for_ever(pool: WorkerPool[int, bytes]) -> None:
    while True:
        pool.submit(1)
        pool.next_result()


def test_no_worker_is_left_when_a_pool_is_closed(own_children) -> None:
    with WorkerPool(prepare, 2) as pool:
        pool.submit(1)
        assert pool.next_result() == (1, bytes(1))
        assert own_children()
    assert not own_children()


def test_a_dead_worker_is_reported_and_none_is_left(own_children) -> None:
    with WorkerPool(prepare, 2) as pool:
        pool.submit(1)
        pool.next_result()
        for child in own_children():
            child.kill()
        with pytest.raises(WorkspaceError, match="a worker died"):
            _work_for_ever(pool)
    assert not own_children()


def test_a_pool_can_be_closed_twice() -> None:
    with WorkerPool(prepare, 2) as pool:
        pool.close()


def test_closing_does_not_wait_for_tasks(own_children) -> None:
    with WorkerPool(prepare_slow, 1) as pool:
        pool.submit(0)
        pool.next_result()
        pool.submit(600)
        start = time.monotonic()
    assert not own_children()
    assert time.monotonic() - start < 300


def test_an_idle_worker_cleans_up_its_semaphores(tmp_path: Path) -> None:
    script = tmp_path / "locked.py"
    script.write_text(LOCKED)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


HALF_A_RESULT = """
import os, signal, struct, sys, time
from hemlets.core.worker_pool import WorkerPool

def prepare():
    return write_half

def write_half(killed):
    frame = sys._getframe()
    while frame.f_code.co_name != "_process_worker":
        frame = frame.f_back
    pipe = frame.f_locals["result_queue"]._writer.fileno()
    os.write(pipe, struct.pack("!i", 1000) + b"half")
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    open(sys.argv[1], "w").close()
    time.sleep(600)

if __name__ == "__main__":
    killed = len(sys.argv) < 2
    with WorkerPool(prepare, 1, what="painter") as pool:
        pool.submit(killed)
        if killed:
            pool.next_result()
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
"""


def test_a_worker_that_is_ended_while_it_writes_a_result_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    script = tmp_path / "half.py"
    script.write_text(HALF_A_RESULT)
    subprocess.run([sys.executable, script, tmp_path / "written"], check=True, timeout=60)


def test_a_worker_that_is_killed_while_it_writes_a_result_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "half.py"
    script.write_text(HALF_A_RESULT)
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60
    )
    assert "a painter died" in ended.stderr
