"""Five nights with nobody's hand on it: new labels, nothing new, damage, worse, a killed worker.

Prefect, MLflow, DVC, an S3 server, TorchServe and a webhook are real; sizes are small.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flows.registry import versions as registry
from flows.registry.lineage import models_of_sample, origin_of, version_of
from flows.services.servers import mlflow_server
from flows.storage import data_versions
from flows.tracking.mlflow_client import connect
from hemlets.core.workspace import Workspace
from hemlets.data.table import Annotations, encode_jpeg

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(3600)]

SMALL = (
    "data.samples.train=32", "data.samples.validation=8", "data.samples.gate=16",
    "data.samples.test=8", "promotion.min_gate_samples=16", "promotion.max_regression=0.1",
    "benchmark.bodies=0", "benchmark.resamples=100", "canary.samples=1",
    "train_pose.log_every=1", "train_pose.validate_every=12", "train_pose.checkpoint_every=6",
    "train_pose.validation_samples=8",
    "train_posh.steps=2", "train_posh.validation_samples=8",
    'sources=[{name="street", place="s3://uploads/street", max_damaged=0.3}]',
)  # fmt: skip
WORSE = ("train_pose.steps=1", "train_posh.steps=1", "promotion.max_regression=0.0")


@pytest.fixture
def mlflow_url(tmp_path, monkeypatch) -> Iterator[str]:
    with mlflow_server(Workspace(home=tmp_path / "mlflow")) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        yield server.url


@pytest.fixture
def overlay(tmp_path) -> str:
    """A user's own expectation about the uploaded labels."""
    path = tmp_path / "ours.yaml"
    path.write_text(
        "add:\n  boxes_large_enough:\n    column: box_xyxy.bottom\n    at_least: 100\n"
        "    where: {source: coco}\n    reason: Our cameras see people from near.\n"
    )
    return f'overlay="{path}"'


def damage(file: Path) -> None:
    """Boxes as a faulty export writes them: all in the upper corner, smaller than the people."""
    content = json.loads(file.read_text())
    for person in content["annotations"]:
        person["bbox"] = [40, 40, 60, 50]
    file.write_text(json.dumps(content))


def test_five_nights(
    retrain, start, workspace: Workspace, uploads, inbox, label, overlay, mlflow_url, prefect,
    automations, in_notebook, monkeypatch,
) -> None:  # fmt: skip
    settings, place = (*SMALL, overlay), uploads.folder
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    automations()

    def night(*more: str) -> dict[str, Any]:
        return retrain(workspace, *settings, *more, tracker=mlflow_url)

    def message() -> dict[str, Any]:
        """The last message; exactly one came since the night before."""
        (found,) = inbox
        inbox.clear()
        return found

    # The first night: new labels arrive, and the first model becomes the champion. It is started
    # in a notebook, whose event loop runs in this thread.
    label(place, range(1, 9), name="train_a")
    first = in_notebook(night)
    assert first["state"] == "Promoted"
    told = message()
    assert told["subject"].endswith("→ promoted")
    assert "street: 8 new or changed of 8 rows" in told["text"]
    assert f"version: {first['version']}" in told["text"]

    # The second: nothing is new.
    second = night()
    assert second["state"] == "NothingNew"
    assert second["reasons"][0].startswith("nothing to learn from")
    assert set(second["cached"]) >= {"sync", "ingest", "train pose", "train PoSh", "benchmark"}
    assert message()["subject"].endswith("→ nothing new")

    # The third: damaged labels are stopped at validation.
    label(place, range(11, 15), name="train_b")
    damage(place / "annotations" / "train_b.json")
    with pytest.raises(Exception, match="boxes_large_enough"):
        night()
    told = message()
    assert told["subject"].endswith("→ failed")
    assert "boxes_large_enough" in told["text"]
    assert [v.version for v in registry.versions(workspace)] == [first["version"]]

    # The fourth: the labels are corrected, but the model learns next to nothing from them.
    label(place, range(11, 15), name="train_b")
    fourth = night(*WORSE)
    assert fourth["state"] == "Rejected"
    told = message()
    assert told["subject"].endswith("→ rejected")
    assert all(reason in told["text"] for reason in fourth["reasons"])
    assert "street: 4 new or changed of 12 rows" in told["text"]
    assert registry.champion(workspace).version == first["version"]

    # The fifth: the worker is killed in the training, and the next run resumes it.
    label(place, range(21, 25), name="train_c")
    killed = start(workspace, *settings, own_server=False, tracker=mlflow_url)
    killed.wait_for("stages/train-pose/*.partial/**/progress.json", 900)
    killed.kill()
    fifth = night()
    assert {"sync", "ingest", "validate"} <= set(fifth["cached"])
    assert fifth["state"] == "Promoted"
    assert until(lambda: len(inbox) == 3, 180), inbox
    by_end = {one["subject"].rsplit(maxsplit=1)[-1]: one["text"] for one in inbox}
    assert by_end.keys() == {"crashed", "resumes", "promoted"}
    assert "gave no sign of life" in by_end["crashed"]
    assert "was killed" in by_end["resumes"]

    check_registry(workspace, first, fourth, fifth)
    check_prefect(prefect, workspace)
    check_mlflow(workspace)
    check_lineage(workspace, answer_of_the_endpoint(workspace))


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)
    return condition()


def check_registry(workspace: Workspace, *judged: dict[str, Any]) -> None:
    """Three versions, of the nights that had a decision; the last is the champion."""
    versions = registry.versions(workspace)
    assert [v.version for v in versions] == [night["version"] for night in judged]
    assert [v.tags["decision"] for v in versions] == ["promoted", "rejected", "promoted"]
    assert registry.champion(workspace).version == versions[-1].version
    client = connect(workspace).client
    for version, night in zip(versions, judged, strict=True):
        text = client.get_model_version(registry.MODEL_NAME, str(version.version)).description
        assert text.startswith(f"{night['decision'].capitalize()}, gate MPJPE ")
        assert all(reason in text for reason in night["reasons"])
        assert "source street: street-" in text
        assert "from s3://uploads/street" in text
        made_by = client.get_run(version.run_id).data.tags["mlflow.parentRunId"]
        assert text.endswith(f"/runs/{made_by})")
    model = client.get_registered_model(registry.MODEL_NAME)
    assert f"champion: version {versions[-1].version}. Promoted" in model.description


def check_prefect(prefect: SyncPrefectClient, workspace: Workspace) -> None:
    """A run a night by name and state, the killed one among them, each with its summary."""
    home = str(workspace.home)
    every = sorted(prefect.read_flow_runs(), key=lambda run: run.expected_start_time)
    runs = [run for run in every if run.parameters.get("home") == home]
    assert [run.state_name for run in runs] == [
        "Promoted", "NothingNew", "Failed", "Rejected", "Crashed", "Promoted",
    ]  # fmt: skip
    assert [run.name.partition(" → ")[2] for run in runs] == [
        "promoted", "nothing new", "failed", "rejected", "", "promoted",
    ]  # fmt: skip
    assert all(" tiny" in run.name for run in runs)
    damaged = runs[2]
    assert "boxes_large_enough" in damaged.state.message
    asked = {"artifacts": {"key": {"any_": ["retraining"]}}, "limit": 200}
    artifacts = prefect._client.post("/artifacts/filter", json=asked).json()
    pages = {artifact["flow_run_id"]: artifact["data"] for artifact in artifacts}
    heads = [pages.get(str(run.id), "").partition("\n")[0] for run in runs]
    assert heads == [
        "# Promoted: version 1", "# Nothing new: version 1", "# Failed", "# Rejected: version 2",
        "", "# Promoted: version 3",
    ]  # fmt: skip
    first, second, third, _, _, last = (pages.get(str(run.id), "") for run in runs)
    assert "- street: 8 new or changed of 8 rows" in first
    assert "- nothing to learn from" in second
    assert "boxes_large_enough" in third
    assert "an earlier run was killed" in last
    assert "gave no sign of life" in runs[4].state.message
    asked = {"logs": {"flow_run_id": {"any_": [str(runs[4].id)]}}, "limit": 200}
    logs = [line["message"] for line in prefect._client.post("/logs/filter", json=asked).json()]
    assert any("expectations: passed" in line for line in logs), logs


def check_mlflow(workspace: Workspace) -> None:
    """A run for each night that computed something, with its decision, data and protocol."""
    tracking = connect(workspace)
    nights = tracking.client.search_runs(
        [tracking.experiment_id],
        filter_string="tags.profile = 'tiny'",
        order_by=["attributes.start_time ASC"],
    )
    assert [run.info.run_name.partition(": ")[0] for run in nights] == [
        "promoted", "failed", "rejected", "promoted",
    ]  # fmt: skip
    assert [run.info.status for run in nights] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    decisions = [run.data.tags.get("decision", "") for run in nights]
    assert decisions == ["promoted", "", "rejected", "promoted"]
    errors = [run.data.tags.get("hemlets.error", "") for run in nights]
    assert "boxes_large_enough" in errors[1]
    assert errors[0] == errors[2] == errors[3] == "", "resumed and promoted is no error"
    described = [run.data.tags["mlflow.note.content"] for run in nights]
    assert described[0].startswith("Promoted: version 1\n")
    assert "boxes_large_enough" in described[1]
    assert described[2].startswith("Rejected: version 2\n")
    assert described[3].startswith("Promoted: version 3\n")
    for run in nights:
        contexts = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
        assert "s3://uploads/street" in contexts["source"].source
        assert contexts["source"].name == "street"
    for run in (nights[0], nights[2], nights[3]):
        assert run.data.params["protocol"] == run.data.tags["protocol"] != ""
        assert {"rows.gate", "rows.test"} <= run.data.params.keys()
        assert {"gate/mpjpe_mm", "test/mpjpe_mm"} <= run.data.metrics.keys()


def check_lineage(workspace: Workspace, answer: str) -> None:
    """From an answer to all that it rests on, and from a label to the models that learnt it."""
    version = registry.champion(workspace)
    origin = origin_of(workspace, version_of(workspace, answer))
    assert origin["model version"] == version.version
    assert origin["decision"] == "promoted"
    client = connect(workspace).client
    step = client.get_run(origin["run"])
    night = client.get_run(step.data.tags["mlflow.parentRunId"])
    assert night.data.tags["code_version"] == origin["code"]
    assert night.data.tags["data_version"] == origin["data version"]
    assert night.data.tags["decision"] == origin["decision"]
    assert night.data.params["train_pose.log_every"] == "1"
    validated = client.get_run(night.data.tags["hemlets.run.validate"])
    assert validated.data.tags["validation"] == origin["validation"].split()[0] == "passed"
    assert validated.data.tags["data_version"] == origin["data version"]
    data = data_versions.export(workspace, origin["data version"])
    learnt = Annotations.read(data / "annotations.parquet")
    (source,) = origin["sources"]
    name, _, place = source.removeprefix("street: ").partition(" from ")
    assert place.startswith("s3://uploads/street, listing ")
    uploaded = Annotations.read(data_versions.export(workspace, name) / "annotations.parquet")
    assert len(uploaded) == 16
    assert set(map(str, uploaded.sample_id)) < set(map(str, learnt.sample_id))

    early, late = str(uploaded.sample_id[0]), str(uploaded.sample_id[-1])
    used = {"version", "use"}
    (last,) = ({key: one[key] for key in used} for one in models_of_sample(workspace, late))
    assert last == {"version": version.version, "use": "trained on it"}
    assert [one["version"] for one in models_of_sample(workspace, early)] == [1, 2, 3]


def answer_of_the_endpoint(workspace: Workspace) -> str:
    """The model's version in an answer of the champion's archive, served on loopback."""
    from serving.archive import read_archive
    from serving.settings import ServerSettings
    from serving.torchserve import TorchServe

    archive = registry.archive_of(workspace, registry.champion(workspace))
    settings = ServerSettings(bundled_java=True, threads=1, startup_timeout_s=600)
    with TorchServe(workspace.serving / "nights", settings) as server:
        server.register(archive)
        with server.client(read_archive(archive).name) as client:
            jpeg = encode_jpeg(np.full((96, 96, 3), 90, np.uint8))
            return client.predict(jpeg, (8.0, 8.0, 80.0, 90.0)).model_version
