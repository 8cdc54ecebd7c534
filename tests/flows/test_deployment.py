"""The scheduled deployment on a real Prefect server, with a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.services

POOL = "hemlets"


@pytest.fixture(scope="module")
def prefect(prefect_url, project, finished, tmp_path_factory):
    """Runs the ``prefect`` command in the project's root, as the file's head says."""
    home = tmp_path_factory.mktemp("worker")
    environment = os.environ | {
        "PREFECT_API_URL": prefect_url,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # A worker hands its own environment on to the flows that it starts.
        "HEMLETS_HOME": str(finished.workspace.home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*arguments: str, seconds: float = 240.0) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    return run


@pytest.fixture(scope="module")
def deployed(prefect) -> str:
    """The deployment's full name; the commands are those that the file itself gives."""
    prefect("work-pool", "create", "--type", "process", POOL)
    prefect("deploy", "--prefect-file", "infra/prefect.yaml", "--all")
    return "retrain/nightly"


@pytest.fixture
def ask(prefect_url):
    """Asks the server's API."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def run(question):
        async def inside():
            async with get_client() as client:
                return await question(client)

        def call():
            with temporary_settings({PREFECT_API_URL: prefect_url}):
                return asyncio.run(inside())

        # Another test's browser may keep a loop running in this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(call).result()

    return run


def test_the_server_knows_its_nightly_schedule(deployed, ask) -> None:
    deployment = ask(lambda client: client.read_deployment_by_name(deployed))
    (schedule,) = deployment.schedules
    assert schedule.active
    assert schedule.schedule.cron == "0 2 * * *"
    assert schedule.schedule.timezone == "UTC"
    assert deployment.work_pool_name == POOL
    assert deployment.parameters == {"profile": "demo", "number": "date"}


def test_its_page_checks_the_parameters(deployed, ask) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    deployment = ask(lambda client: client.read_deployment_by_name(deployed))
    properties = deployment.parameter_openapi_schema["properties"]
    assert "demo" in properties["profile"]["anyOf"][0]["enum"]
    assert properties["number"]["anyOf"][0]["minimum"] == 0
    for wrong in ({"profile": "dmeo"}, {"number": -1}, {"overrides": ["steps"]}):
        with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
            ask(
                lambda client, wrong=wrong: client.create_flow_run_from_deployment(
                    deployment.id, parameters=wrong
                )
            )


def test_new_files_start_it_once_and_further_events_queue(
    deployed, ask, prefect_url, tmp_path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.services.events import emit, send_now

    deployment = ask(lambda client: client.read_deployment_by_name(deployed))
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"

    def runs():
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        return ask(
            lambda client: client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            )
        )

    started = {run.id for run in runs()}
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        emit("data.arrived", {"source": "street"})
        emit("drift.alarm", {"of": "images"})
        send_now()
    deadline = time.monotonic() + 300
    while len(new := [run for run in runs() if run.id not in started and run.created_by
                      and run.created_by.type == "AUTOMATION"]) < 2:  # fmt: skip
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert all(run.parameters == {"profile": "demo", "number": "date"} for run in new)
    for run in new:
        ask(lambda client, run=run: client.delete_flow_run(run.id))


def test_a_worker_runs_it_to_its_end(deployed, prefect, ask, tiny) -> None:
    parameters = json.dumps({"profile": str(tiny), "number": 0})
    deployment = ask(lambda client: client.read_deployment_by_name(deployed))
    run = ask(
        lambda client: client.create_flow_run_from_deployment(
            deployment.id, parameters=json.loads(parameters)
        )
    )
    said = prefect("worker", "start", "--pool", POOL, "--type", "process", "--run-once")
    ended = ask(lambda client: client.read_flow_run(run.id))
    assert ended.state is not None
    assert ended.state.type.value == "COMPLETED", said
    assert ended.state.name == "NothingNew"
    assert ended.name.endswith(" → nothing new")
