"""A run whose worker is gone is marked as crashed by the automation that ships with the project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.services, pytest.mark.slow]

SCRIPT = """
import sys, time
from prefect import flow
from prefect.runtime import flow_run

@flow(name="hangs", persist_result=False)
def hangs():
    print(flow_run.id, flush=True)
    time.sleep(600)

hangs()
"""


def automations(project: Path) -> list[dict]:
    return yaml.safe_load((project / "infra" / "automations.yaml").read_text())["automations"]


def test_a_run_of_a_killed_worker_is_crashed_about_a_minute_later(
    prefect_url, project, tmp_path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore
    from prefect.settings import PREFECT_API_URL, temporary_settings

    environment = os.environ | {
        "PREFECT_API_URL": prefect_url,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        for values in automations(project):
            core = AutomationCore.model_validate(values).model_dump(mode="json")
            client._client.post("/automations/", json=core).raise_for_status()
        worker = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        run_id = worker.stdout.readline().strip()

        def heartbeats() -> int:
            found = client._client.post(
                "/events/filter",
                json={"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}},
            ).json()["events"]
            return sum(e["resource"]["prefect.resource.id"].endswith(run_id) for e in found)

        def until(condition, seconds: float) -> bool:
            deadline = time.monotonic() + seconds
            while not condition() and time.monotonic() < deadline:
                time.sleep(0.5)
            return condition()

        try:
            assert until(heartbeats, 120)
            assert client.read_flow_run(run_id).state_name == "Running"
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        assert until(lambda: client.read_flow_run(run_id).state_name == "Crashed", 240)
