"""Worker pools: no worker is left when a pool is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hemlets.core.errors import WorkspaceError
from hemlets.core.worker_pool import WorkerPool


def prepare() -> Callable[[int], bytes]:
    return bytes


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
