import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from hemlets.core.errors import AssetError, ConfigError, HemletsError
from hemlets.core.ports import BusyPortError, free_ports
from hemlets.inference.champion import Champion
from serving.cli import serve

app = typer.Typer()
app.command()(serve)


def error_of(*arguments: str) -> HemletsError:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, HemletsError), result.output
    return result.exception


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "home of hemlets"))
    return tmp_path / "home of hemlets"


def test_a_busy_port_is_refused_with_the_option_that_helps():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = error_of("--port", str(taken.getsockname()[1]))
    assert isinstance(error, BusyPortError)
    assert "--port" in (error.remedy or "")


@pytest.mark.parametrize("more", [[], ["--allow-remote", "--no-token"]])
def test_an_address_beyond_this_machine_is_refused(more: list[str]):
    error = error_of("--host", "0.0.0.0", *more)
    assert isinstance(error, ConfigError)
    assert "--allow-remote" in (error.remedy or "")


def test_a_model_that_does_not_exist_is_refused(tmp_path: Path):
    error = error_of("--port", "0", "--model", str(tmp_path / "absent.mar"))
    assert isinstance(error, AssetError)


def test_without_a_champion_the_way_to_one_is_told():
    error = error_of("--port", "0")
    assert "no champion" in error.what
    assert "make demo" in (error.remedy or "")


def test_an_archive_that_is_not_the_tested_one_is_not_served(tmp_path: Path, monkeypatch):
    archive = tmp_path / "hemlets-posh-1.mar"
    archive.write_bytes(b"swapped after the test")
    champion = Champion(
        version="1", folder=tmp_path, card_sha256="", archive=archive, archive_sha256="0" * 64
    )
    monkeypatch.setattr("hemlets.inference.champion.find_champion", lambda _: champion)
    error = error_of("--port", "0")
    assert isinstance(error, AssetError)
    assert "not the one that was tested" in error.what
    assert error.where == str(archive)


@pytest.mark.services
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP])
def test_the_printed_curl_command_works_and_ctrl_c_or_a_closed_terminal_ends_everything(
    model_folder: Path, pictures: list[bytes], tmp_path: Path, end: signal.Signals
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "photo.jpg").write_bytes(pictures[0])
    command = [sys.executable, "-m", "hemlets.cli", "serve", "--model", str(model_folder)]
    command += ["--bundled-java", "--port", str(free_ports(1)[0])]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            shown = []
            for line in process.stdout:
                shown.append(line)
                if "Ctrl-C" in line:
                    break
            curl = next(line.strip() for line in shown if line.strip().startswith("curl "))
            done = subprocess.run(
                ["sh", "-c", curl], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            answer = json.loads(done.stdout)
            assert isinstance(answer["people"], list)
            below = psutil.Process(process.pid).children(recursive=True)
            assert {"java"} < {p.name() for p in below}
            os.kill(process.pid, end)
            assert process.wait(timeout=120) == 0
            assert psutil.wait_procs(below, timeout=30)[1] == []
            assert process.stdout.read().strip() == "stopped"
            assert not list(scratch.glob("hemlets-*"))
        finally:
            process.kill()
