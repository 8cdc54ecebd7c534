"""What a challenger is held against, and what keeps it from being judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.profile import load_profile
from flows.registry import versions as registry
from flows.registry.champion import resolve_champion
from flows.steps import promote as judging
from flows.steps.benchmark import Benchmark
from flows.steps.package import Package
from flows.steps.promote import judge
from flows.steps.split_fingerprint import SplitFingerprint, write_split_fingerprint
from flows.storage.stage_cache import StageResult
from flows.tracking.mlflow_client import connect
from hemlets.core.errors import CheckpointError, PromotionError, WorkspaceError
from hemlets.core.files import sha256_folder
from hemlets.core.workspace import Workspace
from hemlets.evaluation import (
    PredictionsInfo,
    SampleScores,
    Truth,
    split_protocol,
    summarise,
    write_results,
)
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.scoring.truth import Facet
from hemlets.inference.champion import find_champion

CHAMPION = registry.ModelVersion(
    version=4, run_id="r", source="s", model_hash="h", stage_key="k", tags={"gate_hash": "g"}
)


def held_against(tmp_path: Path, tiny: Path, error: Exception):
    def score(folder: Path) -> Benchmark:
        raise error

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    own = StageResult(stage="benchmark", key="k", folder=tmp_path, content="c", cached=True)
    return judging._compare_with_champion(
        Workspace(home=tmp_path), CHAMPION, Benchmark(result=own), model=model,
        profile=load_profile(str(tiny)), score=score,
    )  # fmt: skip


@pytest.fixture
def _found(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(registry, "model_folder_of", lambda *_: tmp_path)


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize(
    "error", [CheckpointError("weights do not fit"), RuntimeError("weights do not fit")]
)
def test_a_model_that_can_t_be_loaded_is_the_comparison_s_problem(tmp_path, tiny, error) -> None:
    comparison, other = held_against(tmp_path, tiny, error)
    assert other is None
    assert "the champion can't be scored" in comparison.problem
    assert "weights do not fit" in comparison.problem
    assert comparison.champion_version == 4
    assert comparison.champion_gate == "g"


@pytest.mark.usefixtures("_found")
def test_a_full_disk_is_no_fault_of_the_champion(tmp_path, tiny) -> None:
    with pytest.raises(WorkspaceError, match="full"):
        held_against(tmp_path, tiny, WorkspaceError("the disk is full"))


NAME = MetricName(
    key="mpjpe_mm", split="gate", over="18j", root="pelvis", align="none", box="ground-truth",
    depth="bone-length-prior", flip="no",
)  # fmt: skip
N = 40
TRUTH = Truth(
    ids=pa.array([f"s{i:03d}" for i in range(N)]),
    facets={
        field: Facet(codes=np.zeros(N, np.int32), words=("walk",))
        for field in ("source", "subject", "action", "camera_id", "family", "clip")
    },
    frame=np.arange(N, dtype=np.int32),
    columns={
        "truncated": np.zeros((N, 18), bool), "visible": np.ones((N, 18), bool),
        "box_xyxy": np.tile([0.0, 0.0, 9.0, 9.0], (N, 1)),
    },
    other={},
    sequence_frames=1,
)  # fmt: skip


def benchmark(folder: Path, error_mm: float, name: MetricName = NAME) -> Benchmark:
    """The stored benchmark of a model with about the same error on every gate sample."""
    rng = np.random.default_rng(0)
    values = error_mm * rng.uniform(0.9, 1.1, (N, 1))
    info = PredictionsInfo(
        model_version=folder.name, data_version="d", split="gate", precision="float32",
        depth_source=name.depth, box_source=name.box, flip_test=name.flip == "yes",
        code_version="c",
    )  # fmt: skip
    scores = SampleScores(
        protocol=split_protocol("gate"), info=info, truth=TRUTH, names=(name,), values=values,
        left_out={}, joint_errors_mm=np.ones((N, 18), np.float32),
        tilt_errors_mm=np.full((N, 3), np.nan, np.float32), pixel_counts=None, calibration=None,
    )  # fmt: skip
    write_results(folder / "gate" / "model", scores, summarise(scores, resamples=100))
    mean = {"name": name.full, "mean": float(values.mean()), "samples": N}
    predictors = {who: {"mpjpe_mm": mean} for who in ("model", "mean-pose", "linear-lifter")}
    (folder / "figures.json").write_text(json.dumps({"gate": predictors}))
    write_split_fingerprint(folder, {"gate": SplitFingerprint(hash="rows", samples=N)})
    return Benchmark(
        result=StageResult(stage="benchmark", key="k", folder=folder, content="c", cached=False)
    )


class TestAgainstAChampion:
    """Real registry and comparison; the benchmarks are written by hand."""

    @pytest.fixture(scope="class")
    def arena(self, tmp_path_factory, tiny):
        folder = tmp_path_factory.mktemp("judging")
        workspace = Workspace(home=folder / "home")
        profile = load_profile(str(tiny))
        scored: dict[str, Benchmark] = {}

        def send(name: str, error_mm: float, metric: MetricName = NAME):
            model = folder / name
            if not model.exists():
                model.mkdir()
                (model / "model.safetensors").write_bytes(name.encode())
                (model / "model.json").write_text("{}")
                archive = folder / f"{name}.mar"
                archive.write_text(f"archive of {name}")
                made = benchmark(folder / f"{name}-scored", error_mm, metric)
                scored[sha256_folder(model)] = made
            own = scored[sha256_folder(model)]
            tags = dict.fromkeys(registry.REQUIRED_TAGS, "given") | {"stage_key": name}
            with connect(workspace).run(f"train {name}", "train") as run:
                version = registry.register(workspace, model, run_id=run.run_id, tags=tags)
            verdict = judge(
                workspace, profile, challenger=version, model=model, scored=own,
                packaged=Package(
                    result=own.result, archive=folder / f"{name}.mar", passed=True, summary="",
                ),
                score=lambda champion: scored[sha256_folder(champion)],
            )  # fmt: skip
            return version.version, verdict.decision

        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield workspace, send

    @pytest.fixture(autouse=True)
    def _no_champion(self, arena, monkeypatch) -> None:
        """Every test starts without the champion of another."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace, _ = arena
        if registry.champion(workspace) is not None:
            client = connect(workspace).client
            client.delete_registered_model_alias(registry.MODEL_NAME, registry.CHAMPION)

    def test_a_better_model_with_another_flip_test_replaces_it_and_the_reasons_say_so(
        self, arena
    ) -> None:
        _, send = arena
        assert send("mirrored", 100.0, replace(NAME, flip="yes"))[1].promote
        decision = send("plain", 80.0)[1]
        assert decision.promote, decision.reasons
        assert any("the champion averages with" in reason for reason in decision.reasons)
        decision = send("mirrored and better", 70.0, replace(NAME, flip="yes"))[1]
        assert decision.promote, decision.reasons
        assert any("the challenger averages with" in reason for reason in decision.reasons)

    @pytest.mark.parametrize("field", ["depth", "box", "align", "root", "over", "split"])
    def test_one_that_was_measured_otherwise_is_rejected(self, arena, field) -> None:
        _, send = arena
        send("measured as usual", 80.0)
        decision = send(f"other {field}", 10.0, replace(NAME, **{field: "another"}))[1]
        assert not decision.promote
        assert any("can't be compared" in reason for reason in decision.reasons)

    def test_one_that_was_withdrawn_stays_out_and_what_was_gone_back_to_is_served(
        self, arena
    ) -> None:
        from flows.registry.rollback import rollback

        workspace, send = arena
        good, _ = send("good", 60.0)
        bad, decision = send("bad in production", 50.0)
        assert decision.promote
        rollback(workspace, because="wrists are mirrored")
        again, decision = send("bad in production", 50.0)
        assert again == bad
        assert not decision.promote
        assert f"this model was withdrawn: wrists are mirrored (version {bad})" in decision.reasons
        assert registry.champion(workspace).version == good
        assert find_champion(workspace, ask=resolve_champion).version == str(good)
        assert send("a better one", 45.0)[1].promote

    def test_a_champion_without_a_tested_archive_is_not_served_and_the_reasons_say_so(
        self, arena
    ) -> None:
        workspace, send = arena
        first, _ = send("archived", 40.0)
        worse, _ = send("never packaged", 400.0)
        registry.set_champion(workspace, registry.version_by_number(workspace, worse))
        decision = send("collapsed", 4000.0)[1]
        assert (
            f"the champion can't be served: version {worse} has no archive" in decision.reasons[-1]
        )
        with pytest.raises(PromotionError, match="no archive"):
            find_champion(workspace, ask=resolve_champion)
        registry.set_champion(workspace, registry.version_by_number(workspace, first))
