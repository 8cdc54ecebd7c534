"""Prefect server for the flow of a command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from flows.services.servers import prefect_server
from hemlets.core.environment import (
    MLFLOW_SERVER,
    PREFECT_SERVER,
    clean_environment,
    require_reachable,
)
from hemlets.core.workspace import Workspace


@contextlib.contextmanager
def prefect_session(
    workspace: Workspace, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Run the block with the server of ``PREFECT_API_URL``, or with a temporary server.

    A temporary server runs for the block and stores its state in the workspace. Prefect's logs go
    to its pages, not to the terminal.

    Args:
        workspace: Where the temporary server stores its state.
        meanwhile: Called while the temporary server starts, which takes seconds: imports.

    Raises:
        WorkspaceError: The environment's server does not answer, or the temporary one does not
            start.
    """
    clean_environment()
    os.environ.setdefault("PREFECT_HOME", str(workspace.prefect))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    for kind in ("FLOW", "TASK"):
        os.environ.setdefault(f"PREFECT_LOGGING_LOGGERS_PREFECT_{kind}_RUNS_LEVEL", "INFO")
    # Tracebacks of a failed step would hide the message.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    require_reachable(MLFLOW_SERVER, health="/health")
    require_reachable(PREFECT_SERVER, health="/health")
    if os.environ.get(PREFECT_SERVER):
        meanwhile()
        yield
        return
    server = prefect_server(workspace)
    # Prefect reads it once, when it is imported.
    os.environ[PREFECT_SERVER] = f"{server.url}/api"
    try:
        server.launch()
        meanwhile()
        server.wait_until_ready()
        try:
            yield
        finally:
            # Send pending logs before the server stops.
            from prefect.logging.handlers import APILogWorker

            APILogWorker.drain_all(timeout=5)
    finally:
        del os.environ[PREFECT_SERVER]
        server.stop()
