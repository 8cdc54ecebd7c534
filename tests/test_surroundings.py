"""Commands end to end in the surroundings that people have.

Each starts a process of its own, so that nothing of this one's environment helps it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hemlets.core.ports import free_ports

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "tests/models/golden/two_people.png"
NOBODY = 65534
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
CLEARED = ("HEMLETS_", "PREFECT_", "MLFLOW_", "DVC_", "GIT_", "PYTHON", "NO_PROXY", "no_proxy")
NAMES = (
    "home named josé 雪",
    "dead proxies",
    "C locale with Latin-1 output",
    "settings of another project",
    "no git checkout",
    "another user and a read-only checkout",
    "no HOME",
)


@dataclass
class Surroundings:
    """Where and how a command is run."""

    folder: Path
    environment: dict[str, str]
    user: int | None = None
    python: str = sys.executable
    encoding: str = "utf-8"
    forbidden: list[Path] = field(default_factory=list)
    """Files that must not be there afterwards."""

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.python, "-m", "hemlets.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(params=NAMES)
def surroundings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Surroundings]:
    name: str = request.param
    environment = {k: v for k, v in os.environ.items() if not k.startswith((*CLEARED, *PROXIES))}
    home = tmp_path / ("josé 雪" if name == NAMES[0] else "home")
    home.mkdir()
    given = Surroundings(folder=home, environment=environment | {"HOME": str(home)})
    if name == "dead proxies":
        given.environment |= dict.fromkeys(PROXIES, "http://127.0.0.1:9")
    elif name == "C locale with Latin-1 output":
        given.encoding = "latin-1"
        given.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    elif name == "settings of another project":
        other = tmp_path / "other.db"
        given.forbidden = [other, tmp_path / "other-runs"]
        given.environment |= {
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{other}",
            "PREFECT_SERVER_API_AUTH_STRING": "admin:pass",
            "PREFECT_HOME": str(tmp_path / "other-runs"),
            "MLFLOW_RUN_ID": "0" * 32,
            "MLFLOW_REGISTRY_URI": f"sqlite:///{other}",
            "MLFLOW_TRACKING_USERNAME": "someone",
        }
    elif name == "no git checkout":
        source = tmp_path / "source"
        for room in ("hemlets", "flows", "serving", "data_checks"):
            shutil.copytree(ROOT / room, source / room)
        given.environment["PYTHONPATH"] = str(source)
    elif name == "another user and a read-only checkout":
        if os.getuid() != 0:
            pytest.skip("only root may become another user")
        given.user = NOBODY
        # Folders of the test are for their owner alone; this one is outside them.
        given.folder = home = Path("/var/tmp") / f"hemlets-{tmp_path.name}-{os.getpid()}"
        home.mkdir(mode=0o755)
        os.chown(home, NOBODY, NOBODY)
        given.environment |= {"HOME": str(home), "TMPDIR": str(home)}
        python = _python_of(NOBODY)
        if python is None:
            shutil.rmtree(home)
            pytest.skip("another user can't read this checkout or its Python")
        given.python = python
        packages = [path for path in sys.path if path.endswith("packages")]
        given.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *packages])
    elif name == "no HOME":
        del given.environment["HOME"]
    yield given
    assert not [path for path in given.forbidden if path.exists()]
    if given.user is not None:
        shutil.rmtree(given.folder)


def _python_of(user: int) -> str | None:
    """This Python, or the system's of the same version, if a user can run it and read the test.

    Packages are installed for a Python's third number, too: redis needs another one before 3.11.3.
    """
    system = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    look = f"open({str(PHOTO)!r}); import sys; assert sys.version_info >= (3, 11, 3)"
    for python in (sys.executable, system):
        try:
            subprocess.run([str(python), "-c", look], user=user, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


@contextmanager
def running(started: subprocess.Popen[bytes], until: str, encoding: str) -> Iterator[str]:
    """What a server prints until a line; it is ended as by Ctrl-C, and must end well."""
    try:
        assert started.stdout is not None
        shown = ""
        for line in started.stdout:
            shown += line.decode(encoding)
            if until in shown:
                break
        assert until in shown, shown
        yield shown
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 0
    finally:
        started.kill()
        started.wait()


def fetch(url: str, **headers: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 300
    while True:
        try:
            with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_predict_finds_the_people_of_a_photo(surroundings: Surroundings) -> None:
    process = surroundings.start("predict", str(PHOTO), "--out", "result", "--page")
    shown = process.communicate(timeout=800)[0].decode(surroundings.encoding)
    assert process.returncode == 0, shown
    assert "Traceback" not in shown
    people = json.loads((surroundings.folder / "result/two_people.json").read_text())["people"]
    assert len(people) == 2
    assert (surroundings.folder / "result/two_people.html").stat().st_size > 10_000


def test_serve_answers_and_ends_on_ctrl_c(surroundings: Surroundings) -> None:
    (port,) = free_ports(1)
    model = str(ROOT / "hemlets/assets/starter")
    process = surroundings.start(
        "serve", "--model", model, "--port", str(port), "--bundled-java", "--workers", "1"
    )
    with running(process, "Ctrl-C stops it", surroundings.encoding) as shown:
        assert "Traceback" not in shown
        assert json.loads(fetch(f"http://127.0.0.1:{port}/ping"))["status"] == "healthy"
        curl = next(line.strip() for line in shown.splitlines() if "curl" in line)
        answer = subprocess.run(
            ["sh", "-c", curl.replace("photo.jpg", str(PHOTO)).replace("curl", "curl -s", 1)],
            env={"PATH": os.environ["PATH"]}, capture_output=True, check=True,
        )  # fmt: skip
        assert len(json.loads(answer.stdout)["people"]) == 2


def test_ui_shows_both_pages_and_ends_on_ctrl_c(surroundings: Surroundings) -> None:
    mlflow, prefect = free_ports(2)
    process = surroundings.start("ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect))
    with running(process, "Ctrl-C", surroundings.encoding) as shown:
        assert "Traceback" not in shown
        assert b"html" in fetch(f"http://127.0.0.1:{mlflow}/").lower()
        assert json.loads(fetch(f"http://127.0.0.1:{prefect}/api/health")) is True
