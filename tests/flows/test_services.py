"""Servers are ready inside their block, and nothing of them is left after it, however it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

from flows.services import servers as services
from hemlets.core.errors import WorkspaceError
from hemlets.core.ports import LOOPBACK, BusyPortError, free_port
from hemlets.core.workspace import Workspace


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        ("sqlite3.DatabaseError: file is not a database", "its database is damaged"),
        ("sqlite3.OperationalError: database or disk is full", "no space is left"),
        ("OSError: [Errno 28] No space left on device", "no space is left"),
    ],
)
def test_why_a_server_ended_is_said_without_its_traceback(tmp_path, logged, reason):
    code = f"raise SystemExit('Traceback\\n{logged}')"
    server = services.Service(
        name="the trial server", command=[sys.executable, "-c", code], port=free_port(),
        ready_path="/", log=tmp_path / "trial.log",
    )  # fmt: skip
    with pytest.raises(WorkspaceError, match=f"ended by itself .*: {reason}") as raised:
        server.start()
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("writable", [True, False])
def test_prefects_pages_are_copied_to_the_workspace_where_its_package_is_read_only(
    tmp_path, monkeypatch, writable
):
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    server = services.prefect_server(Workspace(home=tmp_path))
    pages = server.environment["PREFECT_UI_STATIC_DIRECTORY"]
    assert pages == (None if writable else str(tmp_path / "prefect/pages"))


def _answers(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _eventually(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def _alive(processes):
    # A zombie has ended: it only waits for whoever inherits it.
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _gone(processes, seconds=60.0):
    def none_alive():
        try:
            return not _alive(processes)
        except psutil.NoSuchProcess:
            return False

    return _eventually(none_alive, seconds)


def _children():
    """Processes below this one that this test started; other tests' servers may run beside."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if process not in _BEFORE]


_BEFORE: list[psutil.Process] = []


@pytest.fixture(autouse=True)
def _before():
    _BEFORE[:] = psutil.Process().children(recursive=True)


def _small(tmp_path, port, script=None):
    """A server whose process is the child of a launcher, as MLflow's is."""
    server = [sys.executable, "-m", "http.server", "--bind", LOOPBACK, str(port)]
    launcher = script or f"import subprocess; subprocess.run({server!r})"
    return services.Service(
        name="the small server",
        command=[sys.executable, "-c", launcher],
        port=port,
        ready_path="/",
        log=tmp_path / "logs" / "small.log",
        timeout_s=120,
    )


def test_a_server_answers_inside_its_block_and_is_gone_with_all_its_children(tmp_path):
    with _small(tmp_path, free_port()) as service:
        assert _answers(service.url)
        family = _children()
        assert len(family) == 3
    assert not _answers(service.url)
    assert _gone(family, 10)
    assert "GET / HTTP" in service.log.read_text()


def test_stopping_twice_is_harmless(tmp_path):
    service = _small(tmp_path, free_port())
    service.start()
    service.stop()
    service.stop()


def test_a_busy_port_is_named_before_anything_is_started(tmp_path):
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BusyPortError, match=f"port {port}") as caught:
            services.mlflow_server(Workspace(home=tmp_path), port).start()
    assert "--mlflow-port" in caught.value.remedy
    assert not _children()


def test_a_server_that_ends_by_itself_is_reported_with_the_end_of_its_log(tmp_path):
    script = "import sys; print('no such database'); sys.exit(3)"
    service = _small(tmp_path, free_port(), script)
    with pytest.raises(WorkspaceError, match="exit status 3") as caught:
        service.start()
    assert "no such database" in caught.value.what
    assert caught.value.where == str(service.log)


def test_a_server_that_is_never_ready_is_stopped_and_reported(tmp_path):
    service = _small(tmp_path, free_port(), "import time; time.sleep(60)")
    service.timeout_s = 1.0
    with pytest.raises(WorkspaceError, match="did not answer within 1 s"):
        service.start()
    assert not _children()


def test_a_server_that_ignores_the_polite_signal_is_stopped_all_the_same(tmp_path, monkeypatch):
    port = free_port()
    script = (
        "import signal, http.server as h; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"h.HTTPServer(('{LOOPBACK}', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    monkeypatch.setattr(services, "_GRACE_S", -1.0)
    with _small(tmp_path, port, script):
        family = _children()
    assert _gone(family, 10)


def test_a_server_outlives_the_thread_that_started_it(tmp_path):
    import threading

    service = _small(tmp_path, free_port())
    thread = threading.Thread(target=service.start)
    thread.start()
    thread.join()
    time.sleep(0.6)
    try:
        assert _answers(service.url)
    finally:
        service.stop()


def _start_in_another_process(tmp_path, body):
    script = (
        "import sys; from pathlib import Path; from flows.services import servers as services\n"
        "from hemlets.core.workspace import Workspace\n" + body
    )
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
    }
    return subprocess.Popen(
        [sys.executable, "-u", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )


def test_kill_9_of_the_parent_leaves_no_server(tmp_path):
    port = free_port()
    server = [sys.executable, "-m", "http.server", "--bind", LOOPBACK, str(port)]
    launcher = f"import subprocess; subprocess.run({server!r})"
    parent = _start_in_another_process(
        tmp_path,
        f"""
with services.Service(name="small", command=[sys.executable, "-c", {launcher!r}], port={port},
                      ready_path="/", log=Path("small.log")):
    print("ready")
    sys.stdin.read()
    import time; time.sleep(60)
""",
    )
    with parent:
        assert parent.stdout.readline() == "ready\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 3
        parent.send_signal(signal.SIGKILL)
        assert _gone(family, 12)
    assert not _answers(f"http://{LOOPBACK}:{port}/")


@pytest.mark.services
@pytest.mark.slow
def test_the_pages_of_mlflow_and_prefect_are_shown_until_ctrl_c(tmp_path):
    ports = free_port(), free_port()
    parent = _start_in_another_process(
        tmp_path, f"services.run_ui(Workspace(home=Path('work space').resolve()), *{ports})"
    )
    with parent:
        told = []
        while not told or "Ctrl-C" not in told[-1]:
            told.append(parent.stdout.readline())
            assert told[-1], "ended early"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 5
        for port in ports:
            assert any(f"http://127.0.0.1:{port}" in line for line in told)
            assert _answers(f"http://127.0.0.1:{port}/")
        listening = {
            c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == "LISTEN"
        }
        assert listening == {"127.0.0.1"}
        parent.send_signal(signal.SIGINT)
        assert parent.wait(120) == 0
        assert parent.stdout.read() == "stopped\n"
    assert _gone(family, 10)
    assert (tmp_path / "work space" / "prefect").is_dir()
    assert (tmp_path / "work space" / "logs" / "mlflow-server.log").is_file()


def test_servers_that_run_elsewhere_are_pointed_to_and_not_started(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    monkeypatch.setenv("PREFECT_API_URL", "http://orchestrator:4200/api")
    lines = []

    def say(line):
        lines.append(line)
        if "Ctrl-C" in line:
            raise KeyboardInterrupt

    services.run_ui(Workspace(home=tmp_path), say=say)
    assert lines[1:3] == [
        "MLflow (runs and models): http://tracker:5000",
        "Prefect (flows and schedules): http://orchestrator:4200",
    ]
    assert lines[-1] == "stopped"
