"""Print tables of readable width, JSON, and progress bars."""

from __future__ import annotations

from typing import Any, Final, Self

import typer

_PIPE_WIDTH: Final = 160


def console() -> Any:
    """Make a console of the terminal's width; in a pipe, paths are not wrapped."""
    found = plain_console(soft_wrap=False)
    return found if found.is_terminal else plain_console(soft_wrap=False, width=_PIPE_WIDTH)


def plain_console(*, stderr: bool = False, soft_wrap: bool = True, width: int | None = None) -> Any:
    """Make a console that prints names as they are, with brackets and colons; it wraps no line."""
    from rich.console import Console

    return Console(
        stderr=stderr, soft_wrap=soft_wrap, width=width, highlight=False, markup=False, emoji=False
    )


def print_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON; without an indent on one line."""
    import json

    typer.echo(json.dumps(value, indent=indent))


class ProgressBars:
    """Progress bars by name on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        stderr = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show progress; a total of 0 means unknown."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total or None)
        self._progress.update(self._tasks[name], completed=done, total=total or None)
