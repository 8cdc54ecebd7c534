"""A run whose worker is gone is marked as crashed by an automation of the project, and told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from flows.services.automations import apply_automations
from hemlets.core.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = [pytest.mark.services, pytest.mark.slow]

NAME = "2026-11-28 demo #12"

SCRIPT = f"""
import sys, time
from prefect import flow
from prefect.runtime import flow_run

@flow(name="retrain", flow_run_name="{NAME}", persist_result=False)
def hangs():
    print(flow_run.id, flush=True)
    time.sleep(600)

hangs()
"""


@pytest.fixture
def client(prefect_url) -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as asked:
        yield asked


@pytest.fixture
def applied(client, project) -> Iterator[Callable[[], list[str]]]:
    """Applies the project's automations, and returns their names."""
    yield lambda: apply_automations(project / "infra" / "automations.yaml")
    for automation in client.read_automations():
        client.delete_automation(automation.id)


def test_a_run_of_a_killed_worker_is_crashed_within_a_minute_and_told_at_once(
    client, prefect_url, applied, tmp_path, inbox
) -> None:
    assert applied() == applied() == ["hemlets-lost-runs", "hemlets-crashed-runs"]
    assert len(client.read_automations_by_name("hemlets-lost-runs")) == 1
    environment = os.environ | {
        "PREFECT_API_URL": prefect_url,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    run_id = worker.stdout.readline().strip()
    try:
        assert until(lambda: heartbeats(client, run_id), 120)
        assert client.read_flow_run(run_id).state_name == "Running"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert until(lambda: client.read_flow_run(run_id).state_name == "Crashed", 240)
    subject = f"hemlets: {NAME} → crashed"
    assert until(lambda: subject in [message["subject"] for message in inbox], 60)
    (message,) = [message for message in inbox if message["subject"] == subject]
    assert "gave no sign of life for a minute; the next run resumes" in message["text"]
    assert run_id in message["text"]


def test_nobody_to_notify_leaves_the_other_automation(client, applied, monkeypatch) -> None:
    monkeypatch.setenv("HEMLETS_NOTIFY", "")
    assert applied() == ["hemlets-lost-runs"]
    assert client.read_automations_by_name("hemlets-crashed-runs") == []
    monkeypatch.setenv("HEMLETS_NOTIFY", "custom-webhook/no-such-block")
    with pytest.raises(ConfigError, match="Prefect has no block 'custom-webhook/no-such-block'"):
        applied()


def heartbeats(client: SyncPrefectClient, run_id: str) -> int:
    asked = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
    found = client._client.post("/events/filter", json=asked).json()["events"]
    return sum(event["resource"]["prefect.resource.id"].endswith(run_id) for event in found)


def until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)
    return bool(condition())
