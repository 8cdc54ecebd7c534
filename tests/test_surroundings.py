"""Commands end to end in the surroundings that people have.

Each starts a process of its own, so that nothing of this one's environment helps it.
"""

from __future__ import annotations

import contextlib
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


def _home_in_other_letters(given: Surroundings, tmp_path: Path) -> None:
    given.folder = tmp_path / "josé 雪"
    given.folder.mkdir()
    given.environment["HOME"] = str(given.folder)


def _dead_proxies(given: Surroundings, tmp_path: Path) -> None:
    del tmp_path
    given.environment |= dict.fromkeys(PROXIES, "http://127.0.0.1:9")


def _latin_1(given: Surroundings, tmp_path: Path) -> None:
    del tmp_path
    given.encoding = "latin-1"
    given.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}


def _another_projects_settings(given: Surroundings, tmp_path: Path) -> None:
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


def _no_git_checkout(given: Surroundings, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for room in ("hemlets", "flows", "serving", "data_checks"):
        shutil.copytree(ROOT / room, source / room)
    given.environment["PYTHONPATH"] = str(source)


def _another_user(given: Surroundings, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may become another user")
    given.user = NOBODY
    # Folders of the test are for their owner alone; this one is outside them.
    given.folder = Path("/var/tmp") / f"hemlets-{tmp_path.name}-{os.getpid()}"
    given.folder.mkdir(mode=0o755)
    os.chown(given.folder, NOBODY, NOBODY)
    given.environment |= {"HOME": str(given.folder), "TMPDIR": str(given.folder)}
    packages = [path for path in sys.path if path.endswith("packages")]
    given.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *packages])
    given.python = _python_of(NOBODY, given.folder)
    if given.python != sys.executable:
        given.environment["LD_LIBRARY_PATH"] = str(Path(given.python).parents[1] / "lib")
    look = (
        f"open({str(PHOTO)!r}); from importlib.util import find_spec; "
        "[open(find_spec(name).origin) for name in ('pydantic', 'torch')]"
    )
    command = [given.python, "-c", look]
    if subprocess.run(command, env=given.environment, user=NOBODY, check=False).returncode:
        shutil.rmtree(given.folder)
        pytest.skip("another user can't read this checkout or its packages")


def _no_home(given: Surroundings, tmp_path: Path) -> None:
    del tmp_path
    del given.environment["HOME"]


KINDS = {
    "home named josé 雪": _home_in_other_letters,
    "dead proxies": _dead_proxies,
    "C locale with Latin-1 output": _latin_1,
    "settings of another project": _another_projects_settings,
    "no git checkout": _no_git_checkout,
    "another user and a read-only checkout": _another_user,
    "no HOME": _no_home,
}
# Commands take long to start, so that several surroundings are given to them at once.
TOGETHER = (
    ("home named josé 雪", "dead proxies", "settings of another project"),
    ("C locale with Latin-1 output", "no git checkout", "no HOME"),
    ("another user and a read-only checkout",),
)


@pytest.fixture(scope="module", params=TOGETHER, ids=" and ".join)
def surroundings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surroundings]:
    names: tuple[str, ...] = request.param
    tmp_path = tmp_path_factory.mktemp("surroundings")
    environment = {k: v for k, v in os.environ.items() if not k.startswith((*CLEARED, *PROXIES))}
    home = tmp_path / "home"
    home.mkdir()
    given = Surroundings(folder=home, environment=environment | {"HOME": str(home)})
    for name in names:
        KINDS[name](given, tmp_path)
    yield given
    assert not [path for path in given.forbidden if path.exists()]
    if given.user is not None:
        shutil.rmtree(given.folder)


def _python_of(user: int, folder: Path) -> str:
    """This Python, or a copy of it where its own folder is closed to a user."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", ""], user=user, check=True)
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    (folder / "python/bin").mkdir(parents=True)
    shutil.copy(base / "bin" / name, folder / "python/bin" / name)
    # With the compiled modules, which this user could not write.
    left_out = shutil.ignore_patterns("site-packages", "test", "config-*", "*.opt-*")
    shutil.copytree(base / "lib" / name, folder / "python/lib" / name, ignore=left_out)
    for library in (base / "lib").glob("libpython*"):
        shutil.copy(library, folder / "python/lib")
    return str(folder / "python/bin" / name)


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


def test_serve_and_ui_answer_and_end_on_ctrl_c(surroundings: Surroundings) -> None:
    port, mlflow, prefect = free_ports(3)
    model = str(ROOT / "hemlets/assets/starter")
    serve = surroundings.start(
        "serve", "--model", model, "--port", str(port), "--bundled-java", "--workers", "1"
    )
    ui = surroundings.start("ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect))
    with (
        running(serve, "Ctrl-C stops it", surroundings.encoding) as served,
        running(ui, "Ctrl-C", surroundings.encoding) as shown,
    ):
        assert "Traceback" not in served + shown
        assert json.loads(fetch(f"http://127.0.0.1:{port}/ping"))["status"] == "healthy"
        curl = next(line.strip() for line in served.splitlines() if "curl" in line)
        answer = subprocess.run(
            ["sh", "-c", curl.replace("photo.jpg", str(PHOTO)).replace("curl", "curl -s", 1)],
            env=surroundings.environment, capture_output=True, check=True,
        )  # fmt: skip
        assert len(json.loads(answer.stdout)["people"]) == 2
        assert b"html" in fetch(f"http://127.0.0.1:{mlflow}/").lower()
        assert json.loads(fetch(f"http://127.0.0.1:{prefect}/api/health")) is True
        assert b"html" in fetch(f"http://127.0.0.1:{prefect}/").lower()
