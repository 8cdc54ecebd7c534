"""A sign of life in each run that this process writes, which other machines can read.

A process on another machine can't be looked at. What it leaves is the time of its last sign of
life, and a run whose owner has given none for a while may be taken over.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from flows.tracking.run_owner import HEARTBEAT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["INTERVAL_S", "Heartbeat", "begin", "end"]

INTERVAL_S: Final = 60.0
"""Seconds between two calls to the tracker, however many runs are open."""


class Heartbeat:
    """A thread that renews one run's sign of life at a time, the oldest first.

    It lives as long as there is a run to renew, and whatever the tracker does to it is nothing
    to the runs.

    Args:
        interval_s: Seconds between two calls.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._guard = threading.Lock()
        self._clients: dict[str, MlflowClient] = {}
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def begin(self, client: MlflowClient, run_id: str) -> None:
        """Renew a run's sign of life from now on; its first was written with its owner."""
        with self._guard:
            self._clients[run_id] = client
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._ended,), name="heartbeat", daemon=True
                )
                self._thread.start()

    def end(self, run_id: str) -> None:
        """Leave a run alone; the thread ends with the last one."""
        with self._guard:
            self._clients.pop(run_id, None)
            if not self._clients:
                self._ended.set()
                self._thread = None

    def _work(self, ended: threading.Event) -> None:
        while not ended.wait(self._interval_s):
            with self._guard:
                if not self._clients:
                    return
                # Dictionaries keep their order: the run goes from the front to the back.
                run_id = next(iter(self._clients))
                client = self._clients[run_id] = self._clients.pop(run_id)
            with contextlib.suppress(Exception):
                client.set_tag(run_id, HEARTBEAT_TAG, str(int(time.time())))


_PROCESS: Final = Heartbeat()
begin = _PROCESS.begin
end = _PROCESS.end
