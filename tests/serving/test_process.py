"""Nothing that TorchServe starts outlives its owner, however the owner ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from hemlets.core.errors import ServingError
from hemlets.core.ports import BusyPortError
from serving.java import find_java
from serving.settings import ServerSettings
from serving.torchserve import TorchServe

pytestmark = pytest.mark.services

OWNER = """
import sys, time
from pathlib import Path
from serving.java import find_java
from serving.settings import ServerSettings
from serving.torchserve import TorchServe

settings = ServerSettings(bundled_java=True)
server = TorchServe(Path(sys.argv[1]), settings, keep=sys.argv[3] == "keep")
server.start()
server.register(Path(sys.argv[2]))
print("ready", flush=True)
time.sleep(0 if server.keep else 600)
"""

Find = Callable[[int], list[psutil.Process]]


@pytest.fixture(scope="module")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose model is nothing but an echo, so that its worker starts soon."""
    path = tmp_path_factory.mktemp("echo") / "echo-1.mar"
    model = {"modelName": "echo", "modelVersion": "1", "handler": "echo.py"}
    manifest = {"runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.writestr("echo.py", "def handle(data, context):\n    return ['ok'] * len(data or [])\n")
    return path


def start_owner(folder: Path, archive: Path, mode: str) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), str(archive), mode],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "ready\n"
    return owner


def supervisor_of(folder: Path) -> int:
    return int(json.loads((folder / "instance.json").read_text())["supervisor"]["pid"])


def is_java(process: psutil.Process) -> bool:
    return process.name() == "java"


def is_worker(process: psutil.Process) -> bool:
    return any("model_service_worker" in part for part in process.cmdline())


def await_end(processes: list[psutil.Process], within_s: float = 60.0) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=within_s)[1]


@pytest.mark.parametrize("victim", ["owner", "supervisor", "java"])
def test_kill_9_leaves_neither_java_nor_worker(
    tmp_path: Path, small_archive: Path, processes_below: Find, victim: str
):
    folder = tmp_path / "instance"
    owner = start_owner(folder, small_archive, "tied")
    try:
        supervisor = supervisor_of(folder)
        below = processes_below(supervisor)
        java = next(p for p in below if is_java(p))
        assert any(is_worker(p) for p in below)
        target = {"owner": owner.pid, "supervisor": supervisor, "java": java.pid}[victim]
        os.kill(target, signal.SIGKILL)
        if victim == "owner":
            owner.wait()
        assert await_end([*below, psutil.Process(supervisor)] if victim == "owner" else below) == []
        if victim == "supervisor":
            scratch = Path(json.loads((folder / "instance.json").read_text())["scratch"])
            TorchServe(folder).stop()
            assert not scratch.exists()
    finally:
        owner.kill()
        owner.wait()


def test_a_kept_server_outlives_its_owner_and_is_found_used_and_stopped_again(
    tmp_path: Path, small_archive: Path, processes_below: Find
):
    folder = tmp_path / "instance"
    owner = start_owner(folder, small_archive, "keep")
    assert owner.wait(timeout=120) == 0
    server = TorchServe.attach(folder)
    below = processes_below(supervisor_of(folder))
    try:
        time.sleep(0.5)
        assert server.alive
        assert [w.status for w in server.management.describe("echo").workers] == ["READY"]
        with pytest.raises(ServingError, match="already running"):
            TorchServe(folder).start()
        assert server.alive
    finally:
        server.stop()
    assert await_end(below, 10) == []
    assert not list(folder.glob("*token*"))
    with pytest.raises(ServingError, match="no TorchServe runs"):
        TorchServe.attach(folder)


def test_a_server_outlives_the_thread_that_started_it_and_renews_torchserves_tokens(
    tmp_path: Path,
):
    settings = ServerSettings(bundled_java=True, token_minutes=3)
    server = TorchServe(tmp_path / "instance", settings)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.5)
        assert server.alive
        before = (tmp_path / "instance" / "key_file.json").read_text()
        assert server.management.models() == []
        assert (tmp_path / "instance" / "key_file.json").read_text() != before
        assert requests.get(f"{server.url}/ping", timeout=60).status_code == 200
    finally:
        server.stop()
    assert not server.alive


def test_a_start_clears_the_archives_of_an_earlier_server(tmp_path: Path):
    stale = tmp_path / "instance" / "store" / "hemlets-posh-1.mar"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"left by a killed server")
    with TorchServe(tmp_path / "instance", ServerSettings(bundled_java=True)) as server:
        assert list(server.store.iterdir()) == []


def test_a_busy_port_is_named_before_anything_starts(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyPortError) as caught:
            TorchServe(tmp_path / "instance", ServerSettings(port=port)).start()
    assert f"port {port}" in caught.value.what
    assert "choose another" in (caught.value.remedy or "")
    assert not (tmp_path / "instance" / "instance.json").exists()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("serving.torchserve._MAX_SOCKET_FOLDER", 200)
    return folder


def fake_java(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_port_that_is_taken_meanwhile_is_replaced_and_no_scratch_folder_is_left(
    tmp_path: Path, scratch: Path, monkeypatch
):
    tried = tmp_path / "tried"
    java = fake_java(
        tmp_path / "java",
        f'test -e {tried} && exec {find_java()} "$@"\n'
        f"touch {tried}; echo 'bind(..) failed: Address already in use'; sleep 600",
    )
    monkeypatch.setattr("serving.torchserve.find_java", lambda **_: java)
    with TorchServe(tmp_path / "instance", ServerSettings(token_auth=False)) as server:
        assert server.alive
        assert server.token is None
        (made,) = scratch.glob("hemlets-ts-*")
        assert (made / ".model_server.pid").exists()
    assert tried.exists()
    assert list(scratch.iterdir()) == []


def test_a_java_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path, monkeypatch):
    java = fake_java(tmp_path / "java", "echo 'not enough memory'; exit 1")
    monkeypatch.setattr("serving.torchserve.find_java", lambda **_: java)
    with pytest.raises(ServingError, match=r"(?s)ended while it started.*not enough memory"):
        TorchServe(tmp_path / "instance").start()


def test_a_java_that_never_answers_is_ended_when_time_is_up(
    tmp_path: Path, monkeypatch, processes_below: Find
):
    java = fake_java(tmp_path / "java", "exec sleep 600")
    monkeypatch.setattr("serving.torchserve.find_java", lambda **_: java)
    before = set(processes_below(os.getpid()))  # other tests' servers may be running
    with pytest.raises(ServingError, match="not ready after 1 s"):
        TorchServe(tmp_path / "instance", ServerSettings(startup_timeout_s=1)).start()
    left = [p.cmdline() for p in processes_below(os.getpid()) if p not in before]
    assert not [c for c in left if "600" in c or "serving.front" in c]
