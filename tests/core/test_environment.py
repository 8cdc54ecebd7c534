"""What of a shell's environment reaches hemlets, its libraries and its children."""

import ast
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from hemlets.core.environment import (
    clean_environment,
    require_reachable,
    without_foreign_settings,
)
from hemlets.core.errors import WorkspaceError
from hemlets.core.ports import free_port


@pytest.mark.parametrize(
    "name",
    [
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_API_KEY",
        "PREFECT_PROFILE",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_RUN_ID",
        "MLFLOW_EXPERIMENT_NAME",
        "GIT_DIR",
        "GIT_WORK_TREE",
        "DVC_ROOT",
    ],
)
def test_settings_of_another_project_are_left_out(name: str) -> None:
    assert name not in without_foreign_settings({name: "foreign", "PATH": "/bin"})


def test_settings_of_a_server_that_is_named_are_kept() -> None:
    given = {
        "PREFECT_API_URL": "http://prefect:4200/api",
        "PREFECT_API_AUTH_STRING": "me:secret",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_TOKEN": "secret",
    }
    assert given.items() <= without_foreign_settings(given).items()


def test_a_run_that_another_program_is_in_is_never_ours() -> None:
    given = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_RUN_ID": "abc"}
    assert "MLFLOW_RUN_ID" not in without_foreign_settings(given)


def test_logging_of_prefect_may_be_set_without_a_server() -> None:
    given = {"PREFECT_LOGGING_LEVEL": "DEBUG"}
    assert given.items() <= without_foreign_settings(given).items()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "intra.example"}, "intra.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "intra.example"}, "intra.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "localhost, .corp"}, "localhost,.corp,127.0.0.1,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_no_proxy_is_asked_for_this_machine(given: dict[str, str], expected: str) -> None:
    found = without_foreign_settings({"HTTP_PROXY": "http://proxy:3128", **given})
    assert found["NO_PROXY"] == expected
    assert found["HTTP_PROXY"] == "http://proxy:3128"


def test_a_process_is_prepared_once_and_stays_so() -> None:
    environment = {"PREFECT_API_KEY": "foreign", "PATH": "/bin"}
    clean_environment(environment)
    first = dict(environment)
    clean_environment(environment)
    assert environment == first
    assert "PREFECT_API_KEY" not in environment
    assert environment["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
def test_a_loopback_server_is_reached_past_a_dead_proxy(variable: str, proxy: str) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    program = (
        "from hemlets.core.environment import clean_environment; clean_environment(); "
        f"import httpx, requests; httpx.get({url!r}); requests.get({url!r})"
    )
    clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, variable: proxy},
        capture_output=True,
        text=True,
        check=False,
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr


class TestReachable:
    def test_a_dead_address_is_named_with_its_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFECT_API_URL", f"http://me:secret@127.0.0.1:{free_port()}/api")
        before = time.monotonic()
        with pytest.raises(WorkspaceError, match="PREFECT_API_URL") as caught:
            require_reachable("PREFECT_API_URL", health="/health")
        assert time.monotonic() - before < 60
        assert "secret" not in str(caught.value)

    def test_what_answers_with_an_error_is_reachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Refuses(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(401)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Refuses)
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        require_reachable("MLFLOW_TRACKING_URI")
        server.shutdown()
        server.server_close()

    @pytest.mark.parametrize("value", ["", "sqlite:///x.db", "/some/folder"])
    def test_what_is_no_http_address_is_not_asked(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
        require_reachable("MLFLOW_TRACKING_URI")


ROOMS = ("hemlets", "flows", "serving", "annotate", "data_checks")


def _without_encoding(source: Path) -> list[str]:
    """Calls that read or write text in the locale's encoding."""
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        known = {keyword.arg for keyword in node.keywords}
        mode = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        text = node.func.attr == "write_text" or (node.func.attr == "read_text" and not node.args)
        opened = node.func.attr == "open" and mode in ("r", "w", "a", "x")
        if (text or opened) and "encoding" not in known:
            found.append(f"{source}:{node.lineno}")
    return found


def test_text_is_read_and_written_in_utf_8_whatever_the_locale() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = [file for room in ROOMS for file in (root / room).rglob("*.py")]
    assert len(sources) > 300
    assert [place for source in sources for place in _without_encoding(source)] == []
