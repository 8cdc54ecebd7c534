"""A training's history in the tracker while the training runs."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.tracking.run import Run
from flows.tracking.training_history import read_history

__all__ = ["LiveHistory"]


class LiveHistory:
    """Sends what is new in a history, now and then and all of it in one call.

    A tracker that can't be reached holds up no training: the whole history is sent once more
    when the stage is whole, and what is there already is not doubled. As a context manager it
    sends the rest where its block is left by an exception: nothing else does then.

    Args:
        run: The stage's run.
        path: The history that its training appends to.
        every_s: Least seconds between two calls.
    """

    def __init__(self, run: Run, path: Path, *, every_s: float = 20.0) -> None:
        self._run, self._path, self._every_s = run, path, every_s
        self._sent_at, self._step = -math.inf, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._send_new()

    def send(self) -> None:
        """Send what is new, if it is time to."""
        if time.monotonic() - self._sent_at >= self._every_s:
            self._send_new()

    def _send_new(self) -> None:
        # Whatever a tracker or its network may raise.
        with contextlib.suppress(Exception):
            new = [row for row in read_history(self._path) if row[0] > self._step]
            if new:
                self._run.rows(new)
                self._step = new[-1][0]
        # A tracker that took long to say no is not asked again at once.
        self._sent_at = time.monotonic()
