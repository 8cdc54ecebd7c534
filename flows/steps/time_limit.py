"""Time limits of the flow's steps, from the profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task

from hemlets.core.errors import WorkspaceError

P = ParamSpec("P")
R = TypeVar("R")


def limited(task: Task[P, R], hours: float) -> Callable[P, R]:
    """Wrap a task so that it fails after ``hours``.

    Raises:
        WorkspaceError: On a call that takes longer; it is not retried.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return task.with_options(timeout_seconds=3600 * hours)(*args, **kwargs)
        except TimeoutError as error:
            if type(error).__name__ != "TaskRunTimeoutError":
                raise
            raise WorkspaceError(
                f"the step {task.name} took longer than {hours:g} hours",
                where="timeouts_h",
                remedy="find out what it waits for in its log, or allow more in the profile; "
                "finished work is reused by the next run",
            ) from None

    return call
