"""The wheel holds the library alone, and predicts where nothing of the checkout can be imported."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from hemlets import __version__

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: setuptools writes build/ and an egg-info beside what it builds.
    folder = tmp_path_factory.mktemp("build")
    (folder / "source").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    for name in ("hemlets", "flows", "serving", "data_checks", "annotate"):
        shutil.copytree(
            ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *options, "--wheel-dir", str(folder), str(folder / "source"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files as pip installs them, in a folder of their own."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel))
    return folder


def test_it_holds_one_top_level_package(wheel: Path) -> None:
    names = {name.split("/")[0] for name in ZipFile(wheel).namelist()}
    assert names == {"hemlets", f"hemlets-{__version__}.dist-info"}


def test_it_has_no_command_whose_code_it_lacks(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info")
    lines = (metadata / "entry_points.txt").read_text().splitlines()
    modules = [line.split("=")[1].strip().split(":")[0] for line in lines if "=" in line]
    assert modules
    for module in modules:
        path = installed.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), module


def test_it_leaves_out_what_rebuilds_the_assets(installed: Path) -> None:
    assert (installed / "hemlets/assets/manifest.json").exists()
    assert not (installed / "hemlets/assets/rebuild").exists()


def test_it_predicts_everybody_in_a_photo(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/models/golden/two_people.png", tmp_path / "photo.png")
    # -P: the current folder stays off the path. The checkout's editable install comes after it.
    code = (
        "import sys, hemlets.cli as cli, hemlets\n"
        f"assert hemlets.__file__.startswith({str(installed)!r}), hemlets.__file__\n"
        "sys.exit(cli.main(['predict', 'photo.png', '--json', '--quiet']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    people = json.loads(done.stdout)["people"]
    assert [len(person["joints3d_mm"]) for person in people] == [18, 18]


@pytest.mark.services
def test_a_registered_model_is_served_where_only_its_own_wheel_brings_the_library(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = registered(wheel, tmp_path, monkeypatch)
    # Third parties are shared, to spare gigabytes; hemlets is installed from the model's files.
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    (site,) = fresh.glob("lib/python*/site-packages")
    shared = site / "third-parties.pth"
    shared.write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    first = (model / "requirements.txt").read_text().splitlines()[0]
    python = str(fresh / "bin" / "python")
    # The script that pip would have made for this environment.
    (fresh / "bin" / "uvicorn").write_text(f"#!{python}\nfrom uvicorn import main\nmain()\n")
    (fresh / "bin" / "uvicorn").chmod(0o755)
    pip("--python", python, "install", "--no-deps", "--no-index", str(model / first))
    assert (site / "hemlets" / "__init__.py").exists()
    port = free_port()
    server = subprocess.Popen(
        [python, "-P", "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager",
         "local", "--port", str(port), "--host", "127.0.0.1"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{fresh}/bin{os.pathsep}/usr/bin:/bin"},
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        answer = ask(port, (model / "serving_input_example.json").read_bytes(), server)
        (person,) = answer["predictions"]
        assert len(person["joints3d_mm"]) == 18
    except AssertionError as error:
        raise AssertionError((tmp_path / "log").read_text()[-3000:]) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def registered(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of the bundled model as the registry stores them, with the wheel."""
    from flows.registry import versions as registry
    from flows.tracking.mlflow_client import connect
    from hemlets.core.workspace import Workspace

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HEMLETS_WHEEL", str(wheel))
    tags = dict.fromkeys(registry.REQUIRED_TAGS, "x")
    workspace = Workspace(home=folder / "home")
    with connect(workspace).run("wheel", "wheel") as run:
        made = registry.register(
            workspace, ROOT / "hemlets" / "assets" / "starter", run_id=run.run_id, tags=tags
        )
    return Path(urllib.parse.urlsplit(made.source).path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, body: bytes, server: subprocess.Popen[bytes]) -> Any:
    """The answer of MLflow's scoring server, once it is up."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 600
    while True:
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.5)
