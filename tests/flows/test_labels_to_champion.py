"""The wheel turned once: what the endpoint saw is labelled in a browser and becomes a champion.

TorchServe, Chromium, DVC, MLflow, and a Prefect server with a worker are real; sizes are small.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemlets.core.ports import free_port
from hemlets.core.skeleton import PARTS
from hemlets.core.workspace import Workspace
from hemlets.data.table import Annotations, ShardReader

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES, ASKED = 20, 4
POOL = "labels-to-champion"

BROWSER = """
import json, sys, time
from playwright.sync_api import sync_playwright

program, address, answers = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with sync_playwright() as playwright:
    opened = playwright.chromium.launch(
        executable_path=program, args=["--no-sandbox", "--disable-gpu"])
    page = opened.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.fill("#name", "anna")
    page.keyboard.press("Enter")
    for position, keys in enumerate(answers):
        page.wait_for_selector(f"body[data-position='{position}']")
        for number, key in enumerate(keys, 1):
            page.wait_for_selector(f"#place:text-is('{number} of 14')")
            time.sleep(0.25)  # Quicker answers than a person's are refused by the export.
            page.keyboard.press(key.lower())
        page.wait_for_selector(f"#place:text-is('{len(keys) + 1} of 14')")
        page.keyboard.press("Enter")
    page.wait_for_selector("text=Everything is labelled")
    opened.close()
"""


@pytest.fixture
def chromium() -> str:
    pytest.importorskip("playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return program


@pytest.fixture
def deployment(prefect_url: str) -> Iterator[Callable[..., Any]]:
    """Makes a deployment of the flow that a committed data version starts."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.types.entrypoint import EntrypointType

    from flows.retrain import retrain
    from flows.services.events import MODEL

    made = []
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:

        def make(parameters: dict[str, Any]) -> Any:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
            trigger = DeploymentEventTrigger(
                expect={"hemlets.data.committed"},
                match={"prefect.resource.id": f"hemlets.model.{MODEL}"},
                parameters=parameters,
            )
            deployed = retrain.to_deployment(
                POOL,
                work_pool_name=POOL,
                triggers=[trigger],
                parameters=parameters,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            made.append(deployed.apply())
            return made[-1]

        yield make
        for one in made:
            client.delete_deployment(one)


def runs_of(prefect_url: str, deployment: Any) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.settings import PREFECT_API_URL, temporary_settings

    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        return client.read_flow_runs(deployment_filter=wanted)


def serve_and_ask(archive: Path, rows: Annotations, shards: Path, folder: Path, log: Path) -> None:
    """Send each row's image with its box to a TorchServe that keeps a log of all requests."""
    from serving.settings import ServerSettings
    from serving.torchserve import TorchServe

    reader = ShardReader(shards)
    settings = ServerSettings(bundled_java=True, startup_timeout_s=600)
    with TorchServe(folder, settings) as server:
        server.register(archive)
        with server.client("hemlets-posh") as client:
            for row in range(len(rows)):
                name = str(rows.sample_id[row])
                jpeg = reader.jpeg(str(rows.shard[row]), int(rows.shard_row[row]), name)
                client.predict(jpeg, tuple(map(float, rows.box_xyxy[row])))
        until = time.monotonic() + 60
        while logged(log) < len(rows):
            assert time.monotonic() < until, "the endpoint does not write its log"
            time.sleep(0.1)


def logged(log: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in log.glob("*/*/*.parquet"))


@contextlib.contextmanager
def annotation_page(source: Path, home: Path, *options: str) -> Iterator[str]:
    """The address of `hemlets annotate`, a process of its own."""
    port = free_port()
    words = [sys.executable, "-m", "hemlets.cli", "annotate", str(source), "--port", str(port)]
    process = subprocess.Popen(
        [*words, "--no-opinions", *options], env=os.environ | {"HEMLETS_HOME": str(home)}
    )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/setup", timeout=5).close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def test_labels_of_what_the_endpoint_saw_become_a_champion(
    retrain, finished, lend, command, deployment, prefect_url, chromium, workspace: Workspace,
    tmp_path: Path, monkeypatch, project,
) -> None:  # fmt: skip
    from flows.registry import versions as registry
    from flows.registry.lineage import models_of_sample, origin_of

    # A champion, from the results of the session's retraining.
    stages = [f.name for f in finished.workspace.stages.iterdir() if not f.name.startswith(".")]
    lend(finished, workspace, *stages)
    assert retrain(workspace)["state"] == "Promoted"
    champion = registry.champion(workspace)

    # It is served, and logs what it is asked.
    log = tmp_path / "prediction-log"
    monkeypatch.setenv("HEMLETS_PREDICTION_LOG", str(log))
    for name, value in (("SHARE", "1"), ("IMAGES", "1"), ("SECONDS", "1")):
        monkeypatch.setenv(f"HEMLETS_PREDICTION_LOG_{name}", value)
    data = finished.stage("ingest")
    people = Annotations.read(data / "annotations.parquet").split("train")
    people = people.take(np.arange(IMAGES + 4))
    archive = registry.archive_of(workspace, champion)
    assert archive is not None
    serve_and_ask(archive, people, data / "shards", tmp_path / "torchserve", log)

    # The model chooses 20 of them.
    answers, queue = tmp_path / "answers.sqlite", tmp_path / "queue.txt"
    chosen = command(
        workspace, "annotate", "next", str(log), "--count", str(IMAGES), "--store", str(answers),
        "--out", str(queue),
    )  # fmt: skip
    assert chosen.code == 0, chosen.err
    names = queue.read_text().split()
    assert len(set(names)) == IMAGES

    # They are labelled in a browser, with the true relations. The log's rows are in the order of
    # the requests.
    first = sorted(path.relative_to(log).as_posix() for path in log.glob("*/*/*.parquet"))
    before = np.cumsum([0] + [logged_in(log / path) for path in first])
    keys = []
    for name in names:
        file, row, _ = name.removeprefix("photos/").rsplit("/", 2)
        relation = people.relations[before[first.index(file)] + int(row)]
        keys.append(["BUF"[int(value) + 1] for value in relation[:ASKED]])
    with annotation_page(
        log, workspace.home, "--store", str(answers), "--queue", str(queue)
    ) as address:
        subprocess.run(
            [sys.executable, "-c", BROWSER, chromium, address, json.dumps(keys)],
            check=True, timeout=600,
        )  # fmt: skip

    # A data version is made of the labels and committed, and its event starts the flow.
    exports = tmp_path / "exports"
    source = {"name": "street", "place": str(exports), "dataset": "open_rendered"}
    overrides = [
        f"sources=[{{{', '.join(f'{key}={json.dumps(value)}' for key, value in source.items())}}}]",
        "train_pose.steps=24", "promotion.max_regression=0.1",
        "benchmark.bodies=0", "canary.samples=1",
    ]  # fmt: skip
    profile = str(Path(__file__).with_name("tiny.toml"))
    started_by = deployment(
        {"profile": profile, "overrides": overrides, "home": str(workspace.home)}
    )
    exported = command(
        workspace, "annotate", "export", str(log), "--store", str(answers), "--out", str(exports),
        "--commit", "labels",
    )  # fmt: skip
    assert exported.code == 0, exported.err
    assert "committed labels-" in exported.out
    until = time.monotonic() + 120
    while not (runs := runs_of(prefect_url, started_by)):
        assert time.monotonic() < until, "the event has started nothing"
        time.sleep(0.5)
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--pool", POOL,
         "--type", "process", "--run-once"],
        cwd=project, check=True, timeout=900,
        env=os.environ | {"PREFECT_API_URL": prefect_url, "PREFECT_HOME": str(tmp_path / "worker"),
                          "HEMLETS_HOME": str(workspace.home), "DO_NOT_TRACK": "1"},
    )  # fmt: skip
    (run,) = runs_of(prefect_url, started_by)
    assert run.id == runs[0].id
    assert (run.state.type.value, run.state.name) == ("COMPLETED", "Promoted")

    # The challenger has passed the gate and is the champion, and its lineage leads to each answer.
    now = registry.champion(workspace)
    assert now.version == champion.version + 1
    origin = origin_of(workspace, now)
    assert origin["decision"] == "promoted"
    assert "champion" in origin["aliases"]
    (origin_of_labels,) = origin["sources"]
    assert str(exports) in origin_of_labels
    stored = json.loads((exports / "labels" / "answers.json").read_text())["labels"]
    given = [label for label in stored if label["elapsed_ms"]]
    assert len(given) == IMAGES * ASKED
    assert {label["annotator"] for label in given} == {"anna"}
    trained = Annotations.read(workspace.home / "ingested" / "street" / "annotations.parquet")
    for name, answered in zip(names, keys, strict=True):
        row = trained.row_of.get(name)
        if row is None:
            assert set(answered) == {"U"}
            continue
        for number, (part, key) in enumerate(zip(PARTS, answered, strict=False)):
            # An unknown relation is 0.
            assert "BUF"[int(trained.relations[row, number]) + 1] == key, (name, part.name)
    labelled = next(name for name in names if name in trained.row_of)
    (model,) = models_of_sample(workspace, labelled)
    assert (model["version"], model["use"]) == (now.version, "trained on it")


def logged_in(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)
