"""What the doctor says of the environment that a shell hands down."""

import sys

import pytest

from flows.services.checks import Status
from flows.services.surroundings import (
    check_encodings,
    check_foreign_settings,
    check_proxies,
    check_server,
)
from hemlets.core.ports import free_port


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_a_server_that_does_not_answer_fails_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    check = check_server(variable)
    assert check.status is Status.FAIL
    assert variable in check.found
    assert variable in check.remedy


def test_without_a_server_the_workspaces_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert check_server("PREFECT_API_URL").status is Status.OK


def test_a_proxys_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy:3128")
    found = check_proxies().found
    assert "HTTP_PROXY" in found
    assert "secret" not in found


def test_settings_of_another_project_are_named_as_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_API_KEY", "foreign")
    check = check_foreign_settings()
    assert check.status is Status.WARN
    assert "PREFECT_API_KEY" in check.found
    assert "foreign" not in check.found


def test_names_that_cannot_hold_every_letter_are_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert check_encodings().status is Status.OK
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    check = check_encodings()
    assert check.status is Status.WARN
    assert "PYTHONUTF8" in check.remedy
