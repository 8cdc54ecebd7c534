"""The watch announces new files once; a step has a time limit; both on a real Prefect server."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from flows.services.transient import is_transient
from hemlets.core.errors import DataError, WorkspaceError
from hemlets.core.workspace import Workspace

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _server(prefect_url):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield


@pytest.fixture
def looks(tmp_path, tiny, label, monkeypatch):
    """Looks at two sources, and returns the events of this look."""
    from flows import watch as module

    label(tmp_path / "street", range(1, 4))
    label(tmp_path / "studio", range(1, 3))
    sources = ", ".join(
        f"{{name={json.dumps(name)}, place={json.dumps(str(tmp_path / name))}, wake_at={count}}}"
        for name, count in (("street", 4), ("studio", 10))
    )

    def look() -> list[tuple[str, dict]]:
        events: list[tuple[str, dict]] = []
        monkeypatch.setattr(module, "emit", lambda name, what: events.append((name, what)))
        look.events = events  # type: ignore[attr-defined]
        module.watch(str(tiny), [f"sources=[{sources}]"], str(tmp_path / "home"))
        return events

    return look


def test_enough_new_files_are_announced_once(looks, tmp_path, label) -> None:
    ((name, what),) = looks()
    assert name == "data.arrived"
    assert (what["source"], what["files"]) == ("street", 4)
    assert looks() == []
    label(tmp_path / "street", range(11, 13), name="train_b")
    ((_, again),) = looks()
    assert again["files"] == 7


def test_files_that_were_taken_in_are_not_new(looks, tmp_path) -> None:
    from flows.sources import Source
    from flows.steps.sync import sync

    source = Source(name="street", place=str(tmp_path / "street"))
    sync(Workspace(home=tmp_path / "home"), [source])
    assert looks() == []


def test_a_source_that_is_gone_fails_the_watch_after_the_others(looks, tmp_path, label) -> None:
    shutil.rmtree(tmp_path / "street")
    label(tmp_path / "studio", range(11, 30), name="train_b")
    with pytest.raises(DataError, match="street is not there"):
        looks()
    ((_, what),) = looks.events
    assert what["source"] == "studio"


def test_a_step_that_takes_too_long_is_ended_and_not_tried_again() -> None:
    from prefect import flow, task

    from flows.services.transient import retry_transient
    from flows.steps.time_limit import limited

    tries = []

    @task(name="slow", retries=2, retry_condition_fn=retry_transient, persist_result=False)
    def slow() -> None:
        tries.append(1)
        for _ in range(600):
            time.sleep(0.1)

    @flow(name="limits", persist_result=False)
    def limits() -> None:
        limited(slow, 2 / 3600)()

    with pytest.raises(WorkspaceError, match="the step slow took longer than 0") as caught:
        limits()
    assert "timeouts_h" in str(caught.value)
    assert len(tries) == 1


def test_a_lost_connection_is_tried_again_and_a_time_limit_is_not() -> None:
    from prefect.task_engine import TaskRunTimeoutError

    assert is_transient(TimeoutError("the server did not answer"))
    assert not is_transient(TaskRunTimeoutError("too long"))
