"""Leases: two annotators who work at once do not get the same image at the same moment.

A lease is advice, kept in memory: an answer without one is stored like any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

LEASE_S: Final = 120.0
"""Seconds without a request after which an annotator's leases expire."""
_MOST: Final = 4
"""Largest number of leases of an annotator, one per open tab; the oldest expires first."""


class Leases:
    """Tracks which annotator has which task on screen.

    Args:
        clock: Monotonic, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._holders: dict[str, str] = {}
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, task: str, annotator: str) -> bool:
        """Take or renew the lease of a task; False if another annotator has it."""
        with self._lock:
            self._seen[annotator] = self._clock()
            if self._is_held(task, annotator):
                return False
            self._holders.pop(task, None)
            self._holders[task] = annotator
            own = [name for name, holder in self._holders.items() if holder == annotator]
            for name in own[:-_MOST]:
                del self._holders[name]
            return True

    def is_held(self, task: str, annotator: str) -> bool:
        """Return whether another annotator holds the task."""
        with self._lock:
            return self._is_held(task, annotator)

    def _is_held(self, task: str, annotator: str) -> bool:
        holder = self._holders.get(task, annotator)
        return holder != annotator and self._clock() - self._seen[holder] < LEASE_S

    def release(self, task: str, annotator: str) -> None:
        """End an annotator's lease of a task."""
        with self._lock:
            if self._holders.get(task) == annotator:
                del self._holders[task]
