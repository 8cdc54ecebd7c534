"""MLflow and Prefect servers on loopback, as child processes that never outlive their parent."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

from hemlets.core.environment import without_foreign_settings
from hemlets.core.errors import WorkspaceError
from hemlets.core.ports import LOOPBACK, free_port, require_free_port
from hemlets.core.redaction import redact_url
from hemlets.core.supervisor import SupervisedProcess, last_lines
from hemlets.core.workspace import Workspace

_GRACE_S = 8.0
_POLL_S = 0.2
_DAMAGED = (
    "its database is damaged",
    "hemlets doctor names the file and what is lost with it; move it away, or restore a backup",
)
_FULL = ("no space is left", "free space, or choose another folder with HEMLETS_HOME")
_REASONS = {
    "file is not a database": _DAMAGED,
    "disk image is malformed": _DAMAGED,
    "No space left on device": _FULL,
    "database or disk is full": _FULL,
    "disk I/O error": _FULL,
}
"""What SQLite and the system say in a server's log, and what it means."""


@dataclass(kw_only=True)
class Service:
    """Server as a context manager: ready inside the block, stopped after it.

    Attributes:
        name: Name for messages.
        command: Program and arguments; must listen on ``LOOPBACK`` and ``port``.
        port: Port to listen on.
        ready_path: Path that answers 200 when the server is ready.
        log: File that its output is appended to.
        environment: Environment variables to set; None removes one.
        timeout_s: Longest time until it is ready, seconds.
        port_option: Command-line option for another port.
    """

    name: str
    command: Sequence[str]
    port: int
    ready_path: str
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    timeout_s: float = 180.0
    port_option: str = "--port"
    _process: SupervisedProcess | None = field(default=None, init=False, repr=False)
    _log_start: int = field(default=0, init=False, repr=False)

    @property
    def url(self) -> str:
        """Address of its pages."""
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it is ready; it is stopped on failure.

        Raises:
            BusyPortError: The port is busy.
            WorkspaceError: The server ended or was not ready in time; the message holds the end
                of its log.
        """
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting, so that several can start in parallel.

        Raises:
            BusyPortError: The port is busy.
        """
        require_free_port(self.port, needed_by=self.name, option=self.port_option)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = without_foreign_settings(os.environ)
        for name, value in self.environment.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = SupervisedProcess.start(
            self.command, log=self.log, environment=environment, grace_s=_GRACE_S
        )

    def wait_until_ready(self) -> None:
        """Wait until a launched server is ready; it is stopped on failure.

        Raises:
            WorkspaceError: It ended or was not ready in time.
        """
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it with all child processes. Idempotent."""
        if self._process is not None:
            self._process.stop(timeout_s=_GRACE_S + 2)
            self._process = None

    def check(self) -> None:
        """Raise an error if the server has ended.

        Raises:
            WorkspaceError: With the end of its log.
        """
        code = None if self._process is None else self._process.exit_status()
        if code is not None:
            raise self._failure(f"{self.name} ended by itself with exit status {code}")

    def _wait(self) -> None:
        # Loopback requests must bypass a proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            self.check()
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                opener.open(f"{self.url}{self.ready_path}", timeout=2) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(_POLL_S)
        raise self._failure(f"{self.name} did not answer within {self.timeout_s:.0f} s")

    def _failure(self, what: str) -> WorkspaceError:
        last = last_lines(self.log, 8, start=self._log_start)
        for sign, (reason, remedy) in _REASONS.items():
            if any(sign in line for line in last_lines(self.log, 400, start=self._log_start)):
                return WorkspaceError(f"{what}: {reason}", where=self.log, remedy=remedy)
        return WorkspaceError(
            what + "".join(f"\n    {line}" for line in last),
            where=self.log,
            remedy="read the log; another process may have taken the port, or the package is "
            "not installed whole",
        )


def mlflow_server(workspace: Workspace, port: int | None = None) -> Service:
    """MLflow server for the workspace's database and artifacts, not started.

    Args:
        workspace: Workspace with the runs and models.
        port: Port to listen on; a free one by default.
    """
    port = port or free_port()
    artifacts = (workspace.mlflow / "artifacts").as_uri()
    workspace.mlflow.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri"]
    command += [f"sqlite:///{workspace.mlflow / 'mlflow.db'}"]
    # Without an artifact root, experiments created through the server could be read through this
    # server only, not from the database.
    command += ["--default-artifact-root", artifacts, "--artifacts-destination", artifacts]
    return Service(
        name="the MLflow server",
        command=command,
        port=port,
        ready_path="/health",
        log=workspace.logs / "mlflow-server.log",
        environment={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            # The server must use its own database, not ask another server.
            "MLFLOW_TRACKING_URI": None,
            "MLFLOW_REGISTRY_URI": None,
        },
        port_option="--mlflow-port",
    )


def prefect_server(workspace: Workspace, port: int | None = None) -> Service:
    """Prefect server with its state in the workspace, not started.

    Flows use it if ``PREFECT_API_URL`` is its ``url`` followed by ``/api``.

    Args:
        workspace: Workspace with ``PREFECT_HOME``.
        port: Port to listen on; a free one by default.
    """
    port = port or free_port()
    workspace.prefect.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "server", "start"]
    command += ["--host", LOOPBACK, "--port", str(port), "--analytics-off", "--workers", "1"]
    return Service(
        name="the Prefect server",
        command=command,
        port=port,
        ready_path="/api/health",
        log=workspace.logs / "prefect-server.log",
        environment={
            "PREFECT_HOME": str(workspace.prefect),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
            "PREFECT_UI_API_URL": None,
            "PREFECT_PROFILE": None,
            "PREFECT_UI_STATIC_DIRECTORY": _own_pages(workspace),
        },
        port_option="--prefect-port",
    )


def _own_pages(workspace: Workspace) -> str | None:
    """Folder for Prefect's pages where this user can't write into its package.

    A server copies them there, readable for its own user alone.
    """
    found = importlib.util.find_spec("prefect")
    folders = (found.submodule_search_locations if found else None) or []
    if all(os.access(Path(folder) / "server", os.W_OK) for folder in folders):
        return None
    return str(workspace.prefect / "pages")


def run_ui(
    workspace: Workspace,
    mlflow_port: int = 5000,
    prefect_port: int = 4200,
    *,
    say: Callable[[str], None] = print,
) -> None:
    """Show the MLflow and Prefect pages until Ctrl-C, then stop both.

    If the environment names an MLflow or Prefect server (``MLFLOW_TRACKING_URI``,
    ``PREFECT_API_URL``), print its address instead of starting one.

    Args:
        workspace: Workspace with the runs.
        mlflow_port: Port of the MLflow pages.
        prefect_port: Port of the Prefect pages.
        say: Prints a line.

    Raises:
        BusyPortError: A port is busy.
        WorkspaceError: A server can't be started.
    """
    pages: list[tuple[str, str, Service | None]] = []
    tracking, prefect = (os.environ.get(n, "") for n in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"))
    mlflow_own = not tracking.startswith("http")
    prefect_own = not prefect.startswith("http")
    runs = mlflow_server(workspace, mlflow_port) if mlflow_own else None
    flows = prefect_server(workspace, prefect_port) if prefect_own else None
    pages.append(("MLflow (runs and models)", runs.url if runs else redact_url(tracking), runs))
    pages.append(
        (
            "Prefect (flows and schedules)",
            flows.url if flows else redact_url(prefect.removesuffix("/").removesuffix("/api")),
            flows,
        )
    )
    services = [service for _, _, service in pages if service is not None]
    # Check both ports before starting either server, which takes seconds.
    for service in services:
        require_free_port(service.port, needed_by=service.name, option=service.port_option)
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt), _sigterm():
        say("starting the pages; this takes some seconds")
        for service in services:
            stack.callback(service.stop)
            service.launch()
        for title, url, own in pages:
            if own is not None:
                own.wait_until_ready()
            say(f"{title}: {url}")
        say("press Ctrl-C to stop")
        while True:
            for service in services:
                service.check()
            time.sleep(0.5)
    say("stopped")


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the servers are stopped first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
