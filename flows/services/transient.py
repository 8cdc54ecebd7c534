"""Distinguish transient errors, which are worth a retry, from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prefect import State, Task
    from prefect.client.schemas.objects import TaskRun

# Compared by name, so that none of these packages is imported.
_TRANSIENT: Final = frozenset(
    {
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ConnectionClosedError",
        "botocore.exceptions.EndpointConnectionError",
        "botocore.exceptions.ReadTimeoutError",
        "httpx.TransportError",
        "psycopg2.OperationalError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "sqlalchemy.exc.OperationalError",
        "urllib3.exceptions.HTTPError",
    }
)

# A step that reached its time limit is not retried.
_FINAL: Final = frozenset({"prefect.task_engine.TaskRunTimeoutError"})


def is_transient(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a lost connection to a network, S3 or database."""
    while error is not None:
        names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        if names & _FINAL:
            return False
        if isinstance(error, ConnectionError | TimeoutError) or names & _TRANSIENT:
            return True
        error = error.__cause__ or error.__context__
    return False


def retry_transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition of a task."""
    error = state.data if isinstance(state.data, BaseException) else None
    if error is None:
        try:
            state.result()
        except BaseException as raised:
            error = raised
    return is_transient(error)
