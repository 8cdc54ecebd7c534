"""Run a TorchServe process behind its front, and stop it with all child processes."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hemlets.core.errors import DataError, ServingError
from hemlets.core.files import atomic_path, lock, read_json, write_json
from hemlets.core.ports import free_ports, require_free_port
from hemlets.core.supervisor import SupervisedProcess, last_lines
from serving.archive import read_archive
from serving.handler import BUDGET_VARIABLE, THREADS_VARIABLE
from serving.java import find_java
from serving.management import Management, ModelStatus
from serving.settings import (
    FrontSettings,
    Ports,
    ServerSettings,
    log_configuration,
    render_properties,
)
from serving.tokens import KeyFile

if TYPE_CHECKING:
    from serving.client import Client

_STATE = "instance.json"
_LOG_TAIL = 15
_MAX_SOCKET_FOLDER = 60
_SCRATCH_PREFIX = "hemlets-ts-"


class TorchServe:
    """One TorchServe instance with its own front, ports, model store, tokens and logs.

    As a context manager it runs for the block, and never outlives this process, even if that is
    killed. With ``keep=True`` it continues after this process; :meth:`attach` returns it and
    :meth:`stop` ends it.

    Args:
        folder: Folder of the instance, readable by its owner only.
        settings: Settings of the server.
        keep: Whether it may outlive this process.

    Example::

        with TorchServe(folder) as server:
            server.register(build_archive(model_folder, scratch))
            people = server.client("hemlets-posh").predict_people(image_bytes)
    """

    def __init__(
        self, folder: Path, settings: ServerSettings | None = None, *, keep: bool = False
    ) -> None:
        self.folder = folder.resolve()
        self.settings = (settings or ServerSettings()).checked()
        self.keep = keep
        self._ports: Ports | None = None
        self._process: SupervisedProcess | None = None

    @classmethod
    def attach(cls, folder: Path) -> TorchServe:
        """Return the running instance of a folder.

        Raises:
            ServingError: No instance runs in the folder.
        """
        found = cls._running(folder.resolve())
        if found is None:
            raise ServingError(
                "no TorchServe runs in this folder", where=folder, remedy="start one first"
            )
        return found

    @classmethod
    def _running(cls, folder: Path) -> TorchServe | None:
        try:
            state: dict[str, Any] = read_json(folder / _STATE)
            process = SupervisedProcess(**state["supervisor"])
            if not process.alive:
                return None
            settings = ServerSettings.from_mapping(state["settings"], where=str(folder / _STATE))
            server = cls(folder, keep=True)
            # The settings that the instance was started with.
            server.settings = settings
            # An instance started by a version without a front answers directly.
            ports = {"endpoint": state["ports"]["inference"]} | state["ports"]
            server._ports = Ports.from_mapping(ports, where=str(folder / _STATE))
        except (DataError, KeyError, TypeError):
            return None
        server._process = process
        return server

    @property
    def ports(self) -> Ports:
        """Ports that it listens on."""
        if self._ports is None:
            raise ServingError("TorchServe is not started", where=self.folder)
        return self._ports

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{_reachable(host)}:{self.ports.endpoint}"

    @property
    def management_url(self) -> str:
        """Address of the management API, on loopback."""
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics, on loopback, without tokens."""
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"

    @property
    def store(self) -> Path:
        """The model store."""
        return self.folder / "store"

    @property
    def token_file(self) -> Path:
        """File with the endpoint's token only, readable by its owner."""
        return self.folder / "inference_token"

    @property
    def token(self) -> str | None:
        """The endpoint's token of 256 bits; None if no token is needed.

        Raises:
            ServingError: The file with it can't be read.
        """
        if not self.settings.token_auth:
            return None
        try:
            return self.token_file.read_text(encoding="utf-8")
        except OSError as error:
            raise ServingError(
                f"the token can't be read: {error.strerror}",
                where=self.token_file,
                remedy="start the server again: it writes a new one",
            ) from error

    @property
    def management(self) -> Management:
        """The management API."""
        timeout_s = self.settings.startup_timeout_s + 30.0
        return Management(self.management_url, self._keys, timeout_s=timeout_s)

    @property
    def alive(self) -> bool:
        """Whether its processes run."""
        return self._process is not None and self._process.alive

    @property
    def _keys(self) -> KeyFile | None:
        if not self.settings.token_auth:
            return None
        return KeyFile(path=self.folder / "key_file.json", management_url=self.management_url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            BusyPortError: A port is busy.
            ServingError: No Java, another instance in the folder, or the server did not become
                ready.
        """
        java = find_java(bundled_only=self.settings.bundled_java)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        with lock(self.folder / "start.lock", "a start of this TorchServe", timeout_s=5):
            if self._running(self.folder) is not None:
                raise ServingError(
                    "TorchServe is already running in this folder",
                    where=self.folder,
                    remedy="use it through TorchServe.attach, or stop it first",
                )
            self._sweep()
            # Files of an earlier instance: nothing is served yet.
            shutil.rmtree(self.store, ignore_errors=True)
            for attempt in (1, 2, 3):
                self._ports = self._choose_ports()
                try:
                    self._launch(java)
                    self._await_ready()
                    return
                except BaseException as error:
                    self._stop(at_once=True)
                    # Another program may take a free port between its choice and its use.
                    if attempt == 3 or not isinstance(error, _PortTakenError):
                        raise

    def stop(self, *, timeout_s: float = 45.0) -> None:
        """Finish running requests, end Java and all workers, and wait for their end."""
        self._stop(timeout_s=timeout_s)

    def _stop(self, *, at_once: bool = False, timeout_s: float = 45.0) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(at_once=at_once, timeout_s=timeout_s)
        self._sweep()

    def register(self, archive: Path, *, workers: int | None = None) -> ModelStatus:
        """Copy an archive into the model store and serve it.

        Args:
            archive: File from :func:`serving.archive.build_archive`; each version needs another
                name.
            workers: Number of workers; by default from the settings.

        Raises:
            ServingError: Workers don't start; the message includes the end of the model's log.
            AssetError: The file is not a model archive.
        """
        info = read_archive(archive)
        stored = self.store / archive.name
        if stored.resolve() != archive.resolve():
            with atomic_path(stored) as part:
                shutil.copyfile(archive, part)
        settings = self.settings
        try:
            self.management.register(
                archive.name,
                workers=settings.workers if workers is None else workers,
                batch_size=settings.batch_size,
                max_batch_delay_ms=settings.max_batch_delay_ms,
                response_timeout_s=settings.response_timeout_s,
                startup_timeout_s=settings.startup_timeout_s,
            )
        except ServingError as error:
            if "409" not in error.what:
                self._forget(info.name, info.version, stored)
            raise ServingError(
                f"the model could not be served: {error.what}\n{self._tail('model_log.log')}",
                where=archive,
                remedy=f"see {self.folder / 'logs' / 'model_log.log'}",
            ) from error
        return self.management.describe(info.name, info.version)

    def unregister(self, name: str, version: str) -> None:
        """Stop serving a version and remove its archive from the store."""
        archive = self.management.describe(name, version).archive
        self.management.unregister(name, version)
        (self.store / Path(archive).name).unlink(missing_ok=True)

    def client(self, name: str, version: str | None = None, *, timeout_s: float = 60.0) -> Client:
        """Return a client for a model of this server."""
        from serving.client import Client

        return Client(self.url, self.token, model=name, version=version, timeout_s=timeout_s)

    def _forget(self, name: str, version: str, stored: Path) -> None:
        try:
            self.management.unregister(name, version)
        except ServingError:
            return
        finally:
            stored.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove files left by an instance whose supervisor was killed."""
        try:
            scratch = Path(read_json(self.folder / _STATE)["scratch"])
        except (DataError, KeyError, TypeError):
            scratch = None
        if scratch is not None and scratch.name.startswith(_SCRATCH_PREFIX):
            shutil.rmtree(scratch, ignore_errors=True)
        for name in (_STATE, "key_file.json", self.token_file.name):
            (self.folder / name).unlink(missing_ok=True)

    def _choose_ports(self) -> Ports:
        settings = self.settings
        options = {"--port": settings.port, "management_port": settings.management_port,
                   "metrics_port": settings.metrics_port}  # fmt: skip
        for option, port in options.items():
            if port:
                host = settings.host if option == "--port" else "127.0.0.1"
                require_free_port(port, needed_by="TorchServe", host=host, option=option)
        free = free_ports(7)
        endpoint, management, metrics = (
            wanted or chosen for wanted, chosen in zip(options.values(), free, strict=False)
        )
        return Ports(
            endpoint=endpoint,
            inference=free[6],
            management=management,
            metrics=metrics,
            grpc_inference=free[3],
            grpc_management=free[4],
            worker=free[5],
        )

    def _launch(self, java: Path) -> None:
        import ts

        folder = self.folder
        for name in ("store", "logs"):
            (folder / name).mkdir(exist_ok=True)
        for name in ("ts_log.log", "model_log.log", "access_log.log"):
            (folder / "logs" / name).unlink(missing_ok=True)
        properties = folder / "config.properties"
        properties.write_text(
            render_properties(self.settings, self.ports, self.store), encoding="utf-8"
        )
        logs = folder / "log4j2.xml"
        logs.write_text(log_configuration(), encoding="utf-8")
        scratch = _socket_folder()
        library = Path(ts.__file__).parent
        command = [
            str(java),
            f"-Xmx{self.settings.heap_mb}m",
            f"-Dmodel_server_home={library.parent}",
            f"-Dlog4j.configurationFile={logs.as_uri()}",
            f"-Djava.io.tmpdir={scratch}",
            "-cp", f"{library / 'frontend'}/*",
            "org.pytorch.serve.ModelServer",
            "--python", sys.executable,
            "-f", str(properties),
            "-s", str(self.store),
            "-ncs",
        ]  # fmt: skip
        front = folder / "front.json"
        write_json(front, self._front().model_dump(mode="json"))
        output = folder / "logs" / "server.out"
        output.unlink(missing_ok=True)
        process = self._process = SupervisedProcess.start(
            [sys.executable, "-P", "-m", "serving.front", str(front), *command],
            log=output,
            environment=self._environment(java, scratch),
            cwd=folder,
            tied=not self.keep,
            scratch=scratch,
            pid_file=scratch / ".model_server.pid",
        )
        state = {
            "supervisor": {"pid": process.pid, "started": process.started},
            "settings": self.settings.model_dump(mode="json"),
            "ports": self.ports.model_dump(mode="json"),
            "scratch": str(scratch),
        }
        write_json(folder / _STATE, state)

    def _front(self) -> FrontSettings:
        settings, keys = self.settings, self._keys
        if keys is not None:
            with atomic_path(self.token_file) as scratch:
                # Created with its mode, so that it is never readable by others.
                scratch.touch(mode=0o600)
                scratch.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        return FrontSettings(
            host=settings.host,
            port=self.ports.endpoint,
            backend=f"http://127.0.0.1:{self.ports.inference}",
            management=self.management_url,
            key_file=None if keys is None else keys.path,
            token_file=None if keys is None else self.token_file,
            max_request_bytes=settings.max_request_bytes,
            most_requests=settings.queue_size + settings.workers * settings.batch_size,
            request_timeout_s=settings.request_timeout_s,
            answer_timeout_s=settings.answer_timeout_s,
        )

    def _environment(self, java: Path, scratch: Path) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TS_")}
        threads = str(self.settings.threads)
        return {
            **inherited,
            "JAVA_HOME": str(java.parent.parent),
            "TMPDIR": str(scratch),
            "TEMP": str(scratch),
            "OMP_NUM_THREADS": threads,
            THREADS_VARIABLE: threads,
            BUDGET_VARIABLE: str(self.settings.batch_budget_s),
        }

    def _await_ready(self) -> None:
        import requests

        deadline = time.monotonic() + self.settings.startup_timeout_s
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() < deadline:
                # Java takes seconds to end after it could not listen.
                ended = self._process is not None and self._process.exit_status() is not None
                if ended or self._port_was_taken():
                    raise self._startup_error("TorchServe ended while it started")
                try:
                    # Without a model, TorchServe reports that it is healthy.
                    if session.get(f"{self.url}/ping", timeout=5).status_code == 200:
                        return
                except requests.RequestException:
                    pass
                time.sleep(0.05)
        raise self._startup_error(
            f"TorchServe was not ready after {self.settings.startup_timeout_s} s"
        )

    def _startup_error(self, what: str) -> ServingError:
        tail = "\n".join(filter(None, (self._tail("server.out"), self._tail("ts_log.log"))))
        if self._port_was_taken():
            return _PortTakenError(
                f"{what}: another program took one of its ports\n{tail}",
                where=", ".join(f"{k} {v}" for k, v in self.ports.model_dump().items()),
                remedy="start it again, or choose other ports",
            )
        return ServingError(
            f"{what}\n{tail}",
            where=self.folder / "logs",
            remedy="free some memory or raise startup_timeout_s, then start it again",
        )

    def _port_was_taken(self) -> bool:
        logs = (self.folder / "logs" / name for name in ("server.out", "ts_log.log"))
        return any(
            log.exists()
            and "address already in use"
            in log.read_text(encoding="utf-8", errors="replace").lower()
            for log in logs
        )

    def _tail(self, name: str) -> str:
        lines = last_lines(self.folder / "logs" / name, _LOG_TAIL)
        return "\n".join(f"  {name}: {line}" for line in lines)


class _PortTakenError(ServingError):
    """Another program took a port between its choice and its use."""


def _socket_folder() -> Path:
    """Create a scratch folder whose path is short enough for Unix sockets (107 bytes)."""
    default = Path(tempfile.gettempdir())
    base = default if len(str(default)) <= _MAX_SOCKET_FOLDER else Path("/tmp")
    return Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=base))


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
