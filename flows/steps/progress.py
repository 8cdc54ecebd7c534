"""Show progress of a flow: one line per stage, with a bar on a terminal.

Prefect's pages show the same: the lines in the step's log, the bar as an artifact.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

_QUIET_S = 15.0


class StageBar:
    """Progress of one stage."""

    def __init__(self, owner: Progress, name: str, bar: RichProgress | None, task: TaskID) -> None:
        self._owner, self._name, self._bar, self._task = owner, name, bar, task
        self._spoke = self._sent = time.monotonic()
        self._artifact: Any = None
        self.cached = False
        self.summary = ""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show the number of finished items."""
        if total and time.monotonic() - self._sent > _QUIET_S:
            self._sent = time.monotonic()
            self._show_in_prefect(100 * done / total)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif time.monotonic() - self._spoke > _QUIET_S:
            self._spoke = time.monotonic()
            self._owner.console.print(f"  {self._name}: {done:,} of {total:,} {note}".rstrip())

    def training(self, row: dict[str, Any]) -> None:
        """Show a row of a training history."""
        if "predicted" in row:
            self.update(int(row["predicted"]), int(row["predictions"]), "images looked at")
            return
        if "encoded" in row:
            self.update(int(row["encoded"]), int(row["crops"]), "crops encoded")
            return
        note = f"loss {row['loss/total']:.0f}, {row['samples_per_s']:.0f} images/s"
        if "validation/mpjpe_mm" in row:
            note += f", validation MPJPE {row['validation/mpjpe_mm']:.0f} mm"
        self.update(int(row["step"]), int(row["steps"]), note)

    def result(self, cached: bool, summary: str) -> None:
        """Show the result of the stage."""
        self.cached, self.summary = cached, summary
        if self._artifact is not None:
            self._show_in_prefect(100.0)
        with contextlib.suppress(Exception):  # Outside a run of Prefect there is no log.
            from prefect import get_run_logger

            get_run_logger().info("%s%s: %s", self._name, " (cached)" if cached else "", summary)

    def _show_in_prefect(self, percent: float) -> None:
        """Update the bar on the run's page; server errors are ignored."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        with contextlib.suppress(Exception):
            if self._artifact is None:
                key = "".join(c if c.isalnum() else "-" for c in self._name.lower())
                self._artifact = create_progress_artifact(
                    percent, key=f"progress-{key}", description=self._name
                )
            else:
                update_progress_artifact(self._artifact, percent)


class Progress:
    """Stages of a flow run and their durations.

    Attributes:
        timings: Seconds by stage.
        cached: Stages whose results came from the cache.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.timings: dict[str, float] = {}
        self.cached: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[StageBar]:
        """Show a stage while its block runs."""
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            bar = None
            task = TaskID(0)
            if self.console.is_terminal:
                columns = (
                    TextColumn("  {task.description}"),
                    BarColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[note]}"),
                )
                bar = stack.enter_context(
                    RichProgress(*columns, console=self.console, transient=True)
                )
                task = bar.add_task(name, total=None, note="")
            shown = StageBar(self, name, bar, task)
            yield shown
        took = time.perf_counter() - start
        self.timings[name] = took
        if shown.cached:
            self.cached.append(name)
        when = "cached" if shown.cached else f"{took:.0f} s"
        line = Text.assemble((f"{name:<12}", "bold"), f" {when:>7}  {shown.summary}")
        self.console.print(line, soft_wrap=True)
