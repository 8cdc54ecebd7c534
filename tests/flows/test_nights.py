"""Nights in a row with nobody's hand on it: new labels, nothing new, damage, worse; and a kill.

Prefect, MLflow, DVC, an S3 server, TorchServe and a webhook are real; sizes are small.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.registry import versions as registry
from flows.registry.lineage import models_of_sample, origin_of, version_of
from flows.tracking.mlflow_client import connect
from hemlets.core.workspace import Workspace
from hemlets.data.table import Annotations

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(3600)]

SMALL = (
    "data.samples.train=64", "data.samples.validation=8", "data.samples.gate=16",
    "data.samples.test=8", "promotion.min_gate_samples=16", "promotion.max_regression=0.1",
    "benchmark.bodies=0", "benchmark.resamples=100", "canary.samples=1",
)  # fmt: skip
SOURCE = 'sources=[{name="street", place="s3://uploads/street", max_damaged=0.3}]'


class Inbox(BaseHTTPRequestHandler):
    """Takes what the webhook posts."""

    received: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def inbox(prefect_url, monkeypatch) -> Iterator[list[dict[str, Any]]]:
    """Messages that arrive at a local webhook, which a Prefect block posts to."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import PREFECT_API_URL, temporary_settings

    Inbox.received.clear()
    server = HTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        CustomWebhookNotificationBlock(
            name="nights",
            url=f"http://127.0.0.1:{server.server_port}/",
            json_data={"subject": "{{subject}}", "text": "{{body}}"},
        ).save("nights", overwrite=True, _sync=True)  # a browser elsewhere may keep a loop running
    monkeypatch.setenv("HEMLETS_NOTIFY", "custom-webhook/nights")
    yield Inbox.received
    server.shutdown()


def overlay(folder: Path) -> str:
    """A user's own expectation about the uploaded labels."""
    path = folder / "ours.yaml"
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


def test_four_nights(retrain, workspace: Workspace, uploads, inbox, label, tmp_path) -> None:
    settings, place = (*SMALL, SOURCE, overlay(tmp_path)), uploads.folder
    inbox.clear()

    def told() -> dict[str, Any]:
        """The last message; exactly one came since the night before."""
        (message,) = inbox
        inbox.clear()
        return message

    # The first night: new labels arrive, and the first model becomes the champion.
    label(place, range(1, 9), name="train_a")
    first = retrain(workspace, *settings)
    assert first["state"] == "Promoted"
    message = told()
    assert message["subject"].endswith("→ promoted")
    assert "street: 8 new or changed of 8 rows" in message["text"]
    assert f"version: {first['version']}" in message["text"]
    champion = registry.champion(workspace)
    assert champion.version == first["version"]

    # The second: nothing is new.
    second = retrain(workspace, *settings)
    assert second["state"] == "NothingNew"
    assert second["reasons"][0].startswith("nothing to learn from")
    assert set(second["cached"]) >= {"sync", "ingest", "train pose", "train PoSh", "benchmark"}
    assert told()["subject"].endswith("→ nothing new")
    assert registry.champion(workspace).version == first["version"]

    # The third: damaged labels are stopped at validation.
    label(place, range(11, 15), name="train_b")
    damage(place / "annotations" / "train_b.json")
    with pytest.raises(Exception, match="boxes_large_enough"):
        retrain(workspace, *settings)
    message = told()
    assert message["subject"].endswith("→ failed")
    assert "boxes_large_enough" in message["text"]
    assert registry.champion(workspace).version == first["version"]
    assert [v.version for v in registry.versions(workspace)] == [first["version"]]

    # The fourth: the labels are corrected, but the model learns next to nothing from them.
    label(place, range(11, 15), name="train_b")
    worse = ("train_pose.steps=1", "train_posh.steps=1", "promotion.max_regression=0.0")
    fourth = retrain(workspace, *settings, *worse)
    assert fourth["state"] == "Rejected"
    message = told()
    assert message["subject"].endswith("→ rejected")
    assert all(reason in message["text"] for reason in fourth["reasons"])
    assert "street: 4 new or changed of 12 rows" in message["text"]
    assert registry.champion(workspace).version == first["version"]


def test_a_night_whose_worker_is_killed_is_resumed_and_told(
    start, workspace: Workspace, uploads, inbox, label, tmp_path, prefect_url
) -> None:
    label(uploads.folder, range(21, 29), name="train_c")
    profile = tmp_path / "nights.toml"
    write_profile(profile, (*SMALL, SOURCE, overlay(tmp_path)))
    inbox.clear()
    running = start(workspace, own_server=False, profile=profile)
    running.wait_for("stages/train-pose/*.partial/**/progress.json", 900)
    running.kill()
    assert running.left() == []
    assert inbox == []
    resumed = start(workspace, own_server=False, profile=profile).finish(900)
    assert resumed.code == 0, resumed.err
    assert {"sync", "ingest", "validate"} <= set(resumed.cached)
    first, last = inbox
    assert first["subject"].endswith("resumes")
    assert "was killed" in first["text"]
    assert last["subject"].endswith("→ promoted")
    assert any("train pose: validation MPJPE" in line for line in logged(prefect_url))

    # From an answer of the endpoint to all that it rests on.
    version = registry.champion(workspace)
    origin = origin_of(
        workspace, version_of(workspace, answered(workspace, version)["model_version"])
    )
    assert origin["model version"] == version.version
    assert origin["decision"] == "promoted"
    assert "s3://uploads/street" in origin["sources"][0]
    client = connect(workspace).client
    assert client.get_run(origin["run"]).data.tags["mlflow.parentRunId"]
    assert all(origin[key] for key in ("code", "configuration", "data version", "validation"))
    described = client.get_model_version(registry.MODEL_NAME, str(version.version)).description
    assert "source street: street-" in described

    # And back from one label to every model that learnt from it.
    rows = Annotations.read(workspace.home / "ingested" / "street" / "annotations.parquet")
    (model,) = models_of_sample(workspace, str(rows.sample_id[0]))
    assert (model["version"], model["use"]) == (version.version, "trained on it")


def logged(prefect_url: str) -> list[str]:
    """What Prefect's pages show as logs."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        found = client._client.post("/logs/filter", json={"limit": 200}).json()
    return [line["message"] for line in found]


def write_profile(path: Path, overrides: tuple[str, ...]) -> None:
    """The tiny profile with overrides as a file, for a process of its own."""
    from flows.profile import load_profile

    profile = load_profile(str(Path(__file__).with_name("tiny.toml")), overrides)
    values = profile.model_dump(mode="json", exclude_none=True)
    path.write_text("\n".join(_toml(values)))


def _toml(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    for key, value in plain.items():
        yield f"{key} = {_inline(value)}"
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"[{prefix}{key}]"
            yield from _toml(value, f"{prefix}{key}.")


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inner = (f"{key} = {_inline(one)}" for key, one in value.items() if one is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def answered(workspace: Workspace, version: registry.ModelVersion) -> dict[str, Any]:
    """An answer of the endpoint's handler that serves a version's archive."""
    from hemlets.data.table import encode_jpeg
    from serving.archive import read_archive
    from serving.handler import PoseHandler

    archive = registry.archive_of(workspace, version)
    folder = workspace.home / "unpacked"
    shutil.unpack_archive(archive, folder, "zip")

    made = read_archive(archive).version

    class Context:
        system_properties = {"model_dir": str(folder), "gpu_id": None}  # noqa: RUF012
        manifest = {"model": {"modelName": "m", "modelVersion": made}}  # noqa: RUF012

        def get_request_id(self, idx: int) -> str:
            return str(idx)

        def set_response_content_type(self, idx: int, value: str) -> None: ...

        def set_response_status(self, code: int, phrase: str, idx: int) -> None:
            raise AssertionError(phrase)

    import numpy as np

    jpeg = encode_jpeg(np.full((96, 96, 3), 90, np.uint8))
    handler = PoseHandler.load(Context())
    (answer,) = handler.handle([{"image": jpeg, "box": "[8, 8, 80, 90]"}], Context())
    found: dict[str, Any] = json.loads(answer)
    return found
