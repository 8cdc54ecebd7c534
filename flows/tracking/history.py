"""Send a training's history to MLflow, during the training and at its end."""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Self

from flows.tracking.run import Point, Run
from hemlets.core.errors import DataError


def read_history(path: Path) -> list[Point]:
    """Read a training history: JSON lines of ``{"step": …, "time_s": …, metric: number, …}``.

    Values that are not numbers are skipped, and so is an incomplete last line of a killed trainer.

    Raises:
        DataError: The file is absent, or a line is not such an object.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the training history can't be read: {error}", where=path) from None
    points = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            step = row.pop("step")
            if isinstance(step, bool) or not isinstance(step, int):
                raise TypeError("step")
            time_s = row.pop("time_s", None)
            time_ms = None if time_s is None else round(1000 * time_s)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise DataError(
                f"line {number} of the training history can't be used: {line[:80]!r}",
                where=f"{path}:{number}",
                expected='a JSON object with a whole number "step"',
                remedy="delete the file and run the step again",
            ) from None
        points += [
            Point(name, float(value), step, time_ms)
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
    return points


class LiveHistory:
    """Sends new points of a growing history to its run, at most once per interval.

    As a context manager, it sends the remaining points if the block raises.
    """

    def __init__(self, run: Run, path: Path, *, every_s: float = 20.0) -> None:
        self._run, self._path, self._every_s = run, path, every_s
        self._sent_at, self._step = -math.inf, -1
        self._logged: set[tuple[str, int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._try_to_send()

    def send(self) -> None:
        """Send new points if it is time to. A failing tracker does not disturb the training."""
        if time.monotonic() - self._sent_at >= self._every_s:
            self._try_to_send()
            # After the call: a tracker that is slow to fail is not asked again at once.
            self._sent_at = time.monotonic()

    def _try_to_send(self) -> None:
        with contextlib.suppress(Exception):
            self.send_all()

    def send_all(self) -> None:
        """Send all points that were not sent before.

        Raises:
            DataError: The history is damaged.
        """
        new = [point for point in read_history(self._path) if point.step > self._step]
        if not new:
            return
        if self._logged is None:
            # A killed training repeats the steps after its checkpoint, at another time.
            self._logged = self._run.logged_steps({point.name for point in new})
        points = [point for point in new if (point.name, point.step) not in self._logged]
        self._run.log_points(points)
        self._step = new[-1].step
