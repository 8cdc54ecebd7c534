"""What a stage's result is found by, and when it is not good enough to be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.profile import Profile, load_profile
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.package import Package, package
from flows.steps.train import train_pose, train_posh
from flows.storage.stage_cache import StageResult, StageStore
from hemlets.core.errors import DataError
from hemlets.core.files import write_json
from hemlets.core.workspace import Workspace


@pytest.fixture
def profile(tiny: Path) -> Profile:
    return load_profile(str(tiny))


@pytest.fixture
def store(workspace: Workspace) -> StageStore:
    return StageStore(workspace)


def result(stage: str, folder: Path) -> StageResult:
    return StageResult(stage=stage, key="k", folder=folder, content="content", cached=True)


def annotated(folder: Path, *, knows_body: bool) -> None:
    row = {"split": ["train"], "source": ["open"], "smpl_valid": [knows_body]}
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(row), folder / "annotations.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    annotated(tmp_path / "data", knows_body=True)
    return Data(result=result("ingest", tmp_path / "data"), version="open-rendered-1")


def model_folder(folder: Path, card: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    write_json(folder / "model.json", card)
    return folder


class TestTheCanary:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
        """What the endpoint answers wrongly each time that it is asked; None where nothing."""
        wrong: list[str | None] = []

        def archive(model: Path, folder: Path) -> Path:
            (folder / "hemlets-posh-1.mar").write_bytes(b"archive")
            return folder / "hemlets-posh-1.mar"

        def ask(*_: object, **__: object) -> dict[str, Any]:
            summary = wrong.pop(0)
            return {"passed": summary is None, "summary": summary or "all answers agree"}

        monkeypatch.setattr("serving.archive.build_archive", archive)
        monkeypatch.setattr("flows.steps.canary.try_endpoint", ask)
        return wrong

    @pytest.fixture
    def package(self, store, profile, data, tmp_path) -> Callable[[], Package]:
        model = model_folder(tmp_path / "model", {})
        scored = Benchmark(result=result("benchmark", tmp_path / "scored"))
        scored.predictions("test").parent.mkdir(parents=True)
        scored.predictions("test").write_bytes(b"predictions")
        return lambda: package(store, profile, data, model, scored)

    def test_a_failure_is_not_taken_from_the_cache(self, package, answers) -> None:
        answers += ["status 500", "status 500 again", None]
        assert [package().passed for _ in range(3)] == [False, False, True]
        assert answers == []

    def test_a_pass_is(self, package, answers) -> None:
        answers += [None]
        assert not package().result.cached
        again = package()
        assert again.passed
        assert again.result.cached

    def test_the_try_that_passes_is_known_under_another_key_than_the_one_that_failed(
        self, package, answers
    ) -> None:
        answers += ["status 500", None]
        failed, passed = package(), package()
        assert failed.result.key != passed.result.key
        assert failed.result.folder == passed.result.folder
        assert package().result.key == passed.result.key


class TestTraining:
    @pytest.fixture(autouse=True)
    def _trained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def train(job: Any, **_: object) -> None:
            model_folder(job.out / "model", {})

        monkeypatch.setattr("flows.steps.train.run_training", train)

    def test_runs_again_when_the_card_of_the_weights_that_it_starts_from_changes(
        self, store, profile, data, tmp_path, monkeypatch
    ) -> None:
        starter = model_folder(tmp_path / "starter", {"training": {"families": ["walk"]}})
        monkeypatch.setattr(
            "flows.steps.train.starter_weights", lambda: starter / "model.safetensors"
        )
        profile = profile.model_copy(update={"start": "starter"})
        assert not train_pose(store, profile, data).cached
        assert train_pose(store, profile, data).cached
        model_folder(starter, {"training": {"families": ["walk", "dance"]}})
        assert not train_pose(store, profile, data).cached

    def test_of_the_shape_runs_again_when_the_card_of_the_pose_network_changes(
        self, store, profile, data, tmp_path
    ) -> None:
        model_folder(tmp_path / "pose" / "model", {"person": {"threshold": 0.5}})
        pose = result("train-pose", tmp_path / "pose")
        assert not train_posh(store, profile, data, pose).cached
        assert train_posh(store, profile, data, pose).cached
        model_folder(tmp_path / "pose" / "model", {"person": {"threshold": 0.6}})
        assert not train_posh(store, profile, data, pose).cached

    def test_does_not_begin_where_nobody_knows_the_body_that_the_next_stage_learns(
        self, store, profile, data
    ) -> None:
        annotated(data.folder, knows_body=False)
        with pytest.raises(DataError, match="too few training people know their body"):
            train_pose(store, profile, data)
        assert not list(store.workspace.stages.glob("train-pose/*"))

    def test_loads_what_comes_after_it_before_it_begins(
        self, store, profile, data, monkeypatch
    ) -> None:
        loaded: list[str] = []
        monkeypatch.setattr("flows.steps.train.import_module", loaded.append)
        monkeypatch.setattr(
            "flows.steps.train.run_training", lambda *_, **__: loaded.append("training")
        )
        train_pose(store, profile, data)
        assert loaded[-1] == "training"
        assert set(loaded[:-1]) >= {
            "flows.steps.scoring",
            "flows.steps.open_benchmark",
            "flows.steps.canary",
        }
