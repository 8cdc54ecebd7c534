"""The Prefect server that a command's flow runs against."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from flows.services.servers import prefect_server
from hemlets.core.environment import (
    MLFLOW_SERVER,
    PREFECT_SERVER,
    prepare_process,
    require_reachable,
)
from hemlets.core.workspace import Workspace


@contextlib.contextmanager
def prefect_session(workspace: Workspace) -> Iterator[None]:
    """Run the block against the server that ``PREFECT_API_URL`` names, else against our own.

    Our own server lives as long as the block and keeps its state in the workspace. Prefect is
    quiet on the terminal: its pages show what it logs.

    Raises:
        WorkspaceError: A server that the environment names does not answer, or our own does not
            start.
    """
    prepare_process()
    os.environ.setdefault("PREFECT_HOME", str(workspace.prefect))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    for kind in ("FLOW", "TASK"):
        os.environ.setdefault(f"PREFECT_LOGGING_LOGGERS_PREFECT_{kind}_RUNS_LEVEL", "INFO")
    # Tracebacks of a failed step would bury the message.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    require_reachable(MLFLOW_SERVER, health="/health")
    require_reachable(PREFECT_SERVER, health="/health")
    if os.environ.get(PREFECT_SERVER):
        yield
        return
    with prefect_server(workspace) as server:
        os.environ[PREFECT_SERVER] = f"{server.url}/api"
        try:
            yield
        finally:
            # What was logged goes to the server while there is one.
            from prefect.logging.handlers import APILogWorker

            APILogWorker.drain_all(timeout=5)
            del os.environ[PREFECT_SERVER]
