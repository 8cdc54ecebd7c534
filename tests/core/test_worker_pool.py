"""Worker pools: no worker is left when a pool is closed or broken."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from hemlets.core.errors import WorkspaceError
from hemlets.core.worker_pool import WorkerPool


def prepare() -> Callable[[int], bytes]:
    return bytes


def prepare_to_die() -> Callable[[float], None]:
    return sleep_or_die


def sleep_or_die(seconds: float) -> None:
    if not seconds:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)


def test_all_workers_are_ended_before_a_death_is_reported(own_children) -> None:
    pool = WorkerPool(prepare_to_die, 3)
    for _ in range(3):
        pool.submit(0.01)
    while pool.pending:
        pool.next_result()
    assert own_children()
    pool.submit(0.0)
    pool.submit(600.0)
    with pytest.raises(WorkspaceError, match="a worker died"):
        pool.next_result()
    assert not own_children()
    with pytest.raises(WorkspaceError, match="a worker died"):
        pool.submit(1.0)
    pool.close()


def test_a_half_sent_result_does_not_hold_up_the_end(own_children) -> None:
    with WorkerPool(prepare, 2) as pool:
        for _ in range(8):
            pool.submit(300_000_000)
        pool.next_result()
    assert not own_children()


def test_a_pool_without_tasks_can_be_closed_twice() -> None:
    with WorkerPool(prepare, 2) as pool:
        pool.close()
