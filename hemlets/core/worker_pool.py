"""Worker processes that take tasks one at a time, and none of which outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

from hemlets.core.errors import WorkspaceError
from hemlets.core.processes import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


class Crew(Generic[Task, Result]):
    """Processes that each prepare themselves once and then answer tasks.

    Start it from a thread that outlives it: Linux ends the workers with that thread.

    Args:
        prepare: Called once in each worker; what it returns answers the tasks. Both travel to
            the workers by pickle.
        workers: Processes.
        what: What a worker is called in the message about its death.
    """

    def __init__(
        self, prepare: Callable[[], Callable[[Task], Result]], workers: int, *, what: str = "worker"
    ) -> None:
        self._prepare, self._workers, self._what = prepare, workers, what
        self._crew: dict[Connection, SpawnProcess] = {}
        self._idle: deque[Connection] = deque()
        self._waiting: deque[Task] = deque()
        self._under_way: dict[Connection, Task] = {}

    def __enter__(self) -> Self:
        # Spawned, since a forked copy of PyTorch's thread pools can hang. Started by hand, since
        # a pool neither notices a worker that the kernel killed nor hands its own death on.
        context = multiprocessing.get_context("spawn")
        try:
            for _ in range(self._workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(self._prepare, theirs, os.getpid()), daemon=True
                )
                process.start()
                theirs.close()
                self._crew[ours] = process
                self._idle.append(ours)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, whatever they do, and wait for them."""
        for connection, process in self._crew.items():
            connection.close()
            process.terminate()
        for process in self._crew.values():
            process.join()
        self._crew.clear()

    @property
    def open_tasks(self) -> int:
        """Tasks that were given and are not answered."""
        return len(self._waiting) + len(self._under_way)

    def give(self, task: Task) -> None:
        """Hand out a task, or keep it until a worker is idle."""
        self._waiting.append(task)
        self._hand_out()

    def answer(self) -> tuple[Task, Result]:
        """Wait for any task's result.

        Raises:
            WorkspaceError: A worker died.
            Exception: What the task raised.
        """
        ready = wait(list(self._under_way))[0]
        assert isinstance(ready, Connection)
        task = self._under_way.pop(ready)
        try:
            error, result = ready.recv()
        except (EOFError, OSError):
            raise self._death(ready) from None
        if error is not None:
            raise error
        self._idle.append(ready)
        self._hand_out()
        return task, result

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            worker = self._idle.popleft()
            self._under_way[worker] = self._waiting.popleft()
            try:
                worker.send(self._under_way[worker])
            except OSError:
                raise self._death(worker) from None

    def _death(self, worker: Connection) -> WorkspaceError:
        process = self._crew[worker]
        process.join()
        return WorkspaceError(
            f"a {self._what} ended with exit code {process.exitcode}",
            remedy="run the command again, it goes on where it stopped; "
            "fewer workers need less memory",
        )


def work_through(
    prepare: Callable[[], Callable[[Task], Result]],
    tasks: Sequence[Task],
    workers: int,
    *,
    what: str = "worker",
) -> Iterator[tuple[Task, Result]]:
    """Answer all tasks in any order, in this process where one worker is enough."""
    if workers <= 1 or len(tasks) <= 1:
        answer = prepare() if tasks else None
        for task in tasks:
            assert answer is not None
            yield task, answer(task)
        return
    with Crew(prepare, min(workers, len(tasks)), what=what) as crew:
        for task in tasks:
            crew.give(task)
        while crew.open_tasks:
            yield crew.answer()


def _work(
    prepare: Callable[[], Callable[[Task], Result]], tasks: Connection, parent_pid: int
) -> None:
    die_with_parent(signal.SIGTERM, parent_pid=parent_pid)
    # Ctrl-C reaches the whole process group; only the parent answers it, by ending the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: Callable[[Task], Result] | None = None
    while True:
        try:
            task = tasks.recv()
        except (EOFError, OSError):
            return
        try:
            answer = answer or _prepared(prepare)
            outcome = None, answer(task)
        except Exception as error:  # handed on to the parent, which raises it
            tasks.send((error, None))
        else:
            tasks.send(outcome)


def _prepared(prepare: Callable[[], Callable[[Task], Result]]) -> Callable[[Task], Result]:
    answer = prepare()
    # There are as many workers as cores, and sums over several threads may round otherwise.
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(1)
    return answer
