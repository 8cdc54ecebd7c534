"""Worker processes for independent tasks. No worker outlives its parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import wait as wait_for_sentinels
from multiprocessing.process import BaseProcess
from typing import Any, Final, Generic, Self, TypeVar

from hemlets.core.errors import WorkspaceError
from hemlets.core.process_setup import paused_collection, prepare_process
from hemlets.core.processes import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")
Prepare = Callable[[], Callable[[Task], Result]]

_NOTICED_S: Final = 5.0
"""Longest time in which the executor notices that a worker died."""


class WorkerPool(Generic[Task, Result]):
    """A process pool whose workers each prepare themselves once.

    Submit from a thread that outlives the pool: Linux ends the workers together with the thread
    that started them.

    Args:
        prepare: Called once in each worker, at its first task. Returns the function that computes
            results. Both are sent to the workers by pickle.
        workers: Number of processes.
        what: Name of a worker in the message about its death.
    """

    def __init__(
        self, prepare: Prepare[Task, Result], workers: int, *, what: str = "worker"
    ) -> None:
        self._what = what
        self._tasks: dict[Future[Result], Task] = {}
        # Spawned, because a forked copy of PyTorch's thread pools can hang.
        self._executor = ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_start, initargs=(prepare, os.getpid())
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers without waiting for their tasks."""
        if not self._tasks:
            # By themselves: a library's semaphores are then cleaned up.
            self._executor.shutdown()
            return
        # `terminate_workers` exists from Python 3.14 on.
        workers, results = self._workers, self._executor._result_queue
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        # The executor's thread would wait for the rest of a result that a worker was writing, and
        # the interpreter's end for that thread, as long as this process could write to the pipe.
        results._writer.close()  # type: ignore[attr-defined]
        self._tasks.clear()

    @property
    def _workers(self) -> list[BaseProcess]:
        return list((self._executor._processes or {}).values())

    @property
    def pending(self) -> int:
        """Tasks that were submitted and whose results were not taken."""
        return len(self._tasks)

    def submit(self, task: Task) -> None:
        """Hand a task to a worker, as soon as one is idle.

        Raises:
            WorkspaceError: A worker died.
        """
        try:
            self._tasks[self._executor.submit(_compute, task)] = task
        except BrokenProcessPool:
            raise self._death() from None

    def next_result(self) -> tuple[Task, Result]:
        """Wait for any pending task; its result is taken.

        Raises:
            WorkspaceError: A worker died.
            Exception: What the task raised.
        """
        done: set[Future[Result]] = set()
        while not done:
            # Half a result of a killed worker keeps the executor from noticing its death.
            died = wait_for_sentinels([worker.sentinel for worker in self._workers], timeout=0)
            done = wait(self._tasks, timeout=_NOTICED_S, return_when=FIRST_COMPLETED).done
            if died and not done:
                raise self._death()
        finished = next(iter(done))
        task = self._tasks.pop(finished)
        try:
            return task, finished.result()
        except BrokenProcessPool:
            raise self._death() from None

    def _death(self) -> WorkspaceError:
        return WorkspaceError(
            f"a {self._what} died",
            expected="a worker that is not killed, as the kernel does when memory runs out",
            remedy="run the command again, it continues where it stopped; "
            "fewer workers need less memory",
        )


def map_unordered(
    prepare: Prepare[Task, Result],
    tasks: Sequence[Task],
    workers: int,
    *,
    what: str = "worker",
) -> Iterator[tuple[Task, Result]]:
    """Compute the results of all tasks in any order, in this process if one worker suffices."""
    if workers <= 1 or len(tasks) <= 1:
        compute = prepare() if tasks else None
        for task in tasks:
            assert compute is not None
            yield task, compute(task)
        return
    with WorkerPool(prepare, min(workers, len(tasks)), what=what) as pool:
        for task in tasks:
            pool.submit(task)
        while pool.pending:
            yield pool.next_result()


class _Worker:
    """State of a worker process."""

    prepare: Prepare[Any, Any]
    compute: Callable[[Any], Any] | None = None


def _start(prepare: Prepare[Any, Any], parent_pid: int) -> None:
    die_with_parent(signal.SIGTERM, parent_pid=parent_pid)
    prepare_process()
    # Ctrl-C reaches the whole process group; only the parent handles it, by closing the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Worker.prepare = staticmethod(prepare)


def _compute(task: Any) -> Any:
    if _Worker.compute is None:
        # Not in the initializer, whose exceptions would break the pool without a cause.
        with paused_collection():
            _Worker.compute = staticmethod(_Worker.prepare())
        _use_one_thread()
    return _Worker.compute(task)


def _use_one_thread() -> None:
    """There are as many workers as cores, and sums over several threads may round otherwise."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(1)
