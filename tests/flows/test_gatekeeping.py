"""What must not pass: damaged data stops before training, worse models before users."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flows.registry import versions as registry
from hemlets.core.skeleton import Joint, depth_relations
from hemlets.core.workspace import Workspace
from hemlets.data.table import FIELDS, Annotations
from hemlets.evaluation.metrics.definitions import metric_label
from hemlets.inference.champion import find_champion

pytestmark = pytest.mark.services

ROW = 7


def swap_knees(columns) -> None:
    pair = [Joint.LEFT_KNEE, Joint.RIGHT_KNEE]
    for field in ("joints2d_px", "joints3d_mm", "visible", "truncated"):
        columns[field][ROW, pair] = columns[field][ROW, pair[::-1]]
    columns["relations"][ROW] = depth_relations(columns["joints3d_mm"][ROW])[0]


def put_nan(columns) -> None:
    columns["joints3d_mm"][ROW, Joint.NOSE, 2] = np.nan


def move_box_out(columns) -> None:
    columns["box_xyxy"][ROW] = (10, 10, 400, 90)


def duplicate(columns) -> None:
    for values in columns.values():
        values[ROW] = values[ROW + 1]


def in_metres(columns) -> None:
    columns["joints3d_mm"][ROW] /= 1000


def lose_shard_row(columns) -> None:
    columns["shard_row"][ROW] = 4000


class TestDamagedData:
    @pytest.fixture
    def damaged(self, finished, monkeypatch) -> Callable[[Callable[..., None]], None]:
        """Ingest that makes the session's data version, but for one fault."""

        def arrange(damage: Callable[..., None]) -> None:
            def build(config, folder: Path, **_) -> None:
                shutil.copytree(finished.stage("ingest"), folder, dirs_exist_ok=True)
                (folder / "manifest.json").unlink()
                path = folder / "annotations.parquet"
                table = Annotations.read(path)
                columns = {field.name: table.column(field.name).copy() for field in FIELDS}
                damage(columns)
                Annotations.from_columns(columns).write(path)

            monkeypatch.setattr("hemlets.data.synthetic.build_open_data", build)

        return arrange

    @pytest.mark.parametrize(
        ("damage", "field", "says"),
        [
            (swap_knees, "joints3d_mm", "knee"),
            (put_nan, "joints3d_mm", "nose is nan"),
            (move_box_out, "box_xyxy", "box"),
            (duplicate, "sample_id", "unique"),
            (in_metres, "joints3d_mm", "metres"),
            (lose_shard_row, "shard", "4000"),
        ],
        ids=["swapped pair", "NaN", "box outside", "duplicate", "metres", "unreadable shard row"],
    )
    def test_it_stops_the_flow_with_row_and_field_named_and_nothing_trained(
        self, damaged, workspace, command, tiny, damage, field, says
    ) -> None:
        damaged(damage)
        printed = command(workspace, "retrain", "--profile", str(tiny))
        assert printed.code == 3
        said = printed.err
        assert f"row {ROW}" in said
        assert field in said
        assert says in said
        assert "annotations.parquet" in said
        assert "nothing was trained" in said
        assert "index.html" in said
        assert "Traceback" not in said
        assert not (workspace.stages / "train-pose").exists()
        assert registry.versions(workspace) == []

    def test_a_shard_that_can_t_be_read_stops_it_too(
        self, finished, workspace, command, tiny, monkeypatch
    ) -> None:
        def build(config, folder: Path, **_) -> None:
            shutil.copytree(finished.stage("ingest"), folder, dirs_exist_ok=True)
            (folder / "manifest.json").unlink()
            shard = folder / "shards" / "train-00000.arrow"
            shard.write_bytes(shard.read_bytes()[:500])

        monkeypatch.setattr("hemlets.data.synthetic.build_open_data", build)
        printed = command(workspace, "retrain", "--profile", str(tiny))
        assert printed.code == 3
        assert "train-00000.arrow" in printed.err
        assert "row 0" in printed.err
        assert not (workspace.stages / "train-pose").exists()


class TestWorseModels:
    """Challengers against a champion, with real MLflow and bootstrap."""

    @pytest.fixture(scope="class")
    def arena(self, finished, retrain, lend, tmp_path_factory):
        """A workspace with a champion, and a way to send a model folder through the flow."""
        workspace = Workspace(home=tmp_path_factory.mktemp("arena") / "workspace")
        lend(finished, workspace, "ingest", "validate", "train-pose")
        models = tmp_path_factory.mktemp("models")
        base = finished.stage("train-posh")
        champion = scaled(base, models / "champion", 3.0)
        error = gate_error(finished, champion)
        floor = 1.1 * error

        def challenge(model: Path, *overrides: str):
            def trained(store, profile, data, pose, begins=None):
                key = store.key("train-posh", model=model.name)

                def build(folder: Path) -> None:
                    shutil.copytree(model, folder / "model")
                    shutil.copy(base / "history.jsonl", folder)

                return store.run("train-posh", key, build, counts="model/")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("flows.steps.train.train_posh", trained)
                floors = f"promotion.floors.mpjpe_mm.max={floor!r}"
                return retrain(workspace, floors, *overrides)

        assert challenge(champion)["decision"] == "promoted"
        yield SimpleNamespace(
            workspace=workspace, models=models, base=base, champion=champion, error=error,
            floor=floor, challenge=challenge,
        )  # fmt: skip
        shutil.rmtree(workspace.home, ignore_errors=True)
        shutil.rmtree(models, ignore_errors=True)

    @pytest.fixture(autouse=True)
    def _the_champion_keeps_serving(self, request):
        """Whatever a test of this class sends in."""
        arena = request.getfixturevalue("arena")
        yield
        champion = find_champion(arena.workspace)
        assert champion is not None
        assert champion.version == "1"
        served = champion.folder / "model.safetensors"
        assert served.read_bytes() == (arena.champion / "model.safetensors").read_bytes()

    @pytest.fixture
    def untried(self, monkeypatch) -> None:
        """No endpoint is started where the model is rejected for another reason."""
        outcome = {"passed": True, "summary": "not tried"}
        monkeypatch.setattr("flows.steps.canary.try_endpoint", lambda *_, **__: outcome)

    def rejected(self, arena, outcome) -> str:
        """The reasons in the rejected version's tags."""
        assert outcome["decision"] == "rejected"
        version = registry.version_by_number(arena.workspace, outcome["version"])
        assert version.tags["decision"] == "rejected"
        assert version.tags["decision_reasons"] == "; ".join(outcome["reasons"])
        assert "challenger" in version.aliases
        assert version.version > 1
        return version.tags["decision_reasons"]

    @pytest.mark.usefixtures("untried")
    def test_one_below_the_floors_is_rejected(self, arena, finished) -> None:
        model = scaled(arena.base, arena.models / "collapsed", 0.0)
        assert gate_error(finished, model) > arena.floor
        reasons = self.rejected(arena, arena.challenge(model))
        assert "the mean joint error (MPJPE) is" in reasons
        assert "but must be at most" in reasons

    @pytest.mark.usefixtures("untried")
    def test_one_that_is_five_percent_worse_is_rejected_though_it_passes_the_floors(
        self, arena, finished
    ) -> None:
        model = worse_by(0.05, arena, finished)
        error = gate_error(finished, model)
        assert error < arena.floor
        outcome = arena.challenge(model)
        reason, note = outcome["reasons"]
        assert self.rejected(arena, outcome) == f"{reason}; {note}"
        assert "promotion.min_gate_samples" in note
        assert re.search(r"\(MPJPE\) is [45]\.\d % larger than that of champion version 1", reason)
        assert "but may be larger by 1.0 % at most" in reason

    @pytest.mark.usefixtures("untried")
    @pytest.mark.parametrize("metric", ["pa_mpjpe_mm", "mpjpe_mm"])
    def test_one_with_a_missing_metric_is_rejected(self, arena, monkeypatch, metric) -> None:
        from hemlets import evaluation

        def score(*predictions, **options):
            scores = evaluation.score(*predictions, **options)
            values = scores.values.copy()
            values[:, scores.keys.index(metric)] = np.nan
            return dataclasses.replace(scores, values=values)

        monkeypatch.setattr("flows.steps.scoring.score", score)
        # All that is known of it is as good as the champion.
        factor = 3.0 + 1e-3 * len(metric)
        model = scaled(arena.base, arena.models / f"without-{metric}", factor)
        reasons = self.rejected(arena, arena.challenge(model))
        assert f"{metric_label(metric)} has no value" in reasons

    @pytest.mark.usefixtures("untried")
    def test_one_whose_metric_is_missing_on_a_few_samples_is_rejected(
        self, arena, monkeypatch
    ) -> None:
        from hemlets import evaluation

        def score(*predictions, **options):
            scores = evaluation.score(*predictions, **options)
            if scores.info.model_version.startswith(("mean-pose", "linear-lifter")):
                return scores
            values = scores.values.copy()
            values[:3] = np.nan
            return dataclasses.replace(scores, values=values)

        monkeypatch.setattr("flows.steps.scoring.score", score)
        model = scaled(arena.base, arena.models / "gappy", 3.002)
        reasons = self.rejected(arena, arena.challenge(model))
        assert f"{metric_label('mpjpe_mm')} is missing on 3 of 32 samples" in reasons
        assert "version 1: 3 samples have a finite value from one" in reasons

    @pytest.mark.usefixtures("untried")
    @pytest.mark.parametrize("damage", ["another architecture", "files that were changed"])
    def test_a_champion_that_can_t_be_loaded_rejects_with_the_reason_as_a_tag(
        self, arena, monkeypatch, tmp_path, damage
    ) -> None:
        champion = registry.champion(arena.workspace)
        genuine = registry.model_folder_of(arena.workspace, champion)
        if damage == "another architecture":
            other = shutil.copytree(genuine, tmp_path / "other")
            card = json.loads((other / "model.json").read_text())
            card["pose"]["fusion_channels"] = 48
            (other / "model.json").write_text(json.dumps(card))
            # Asked for once to be scored; what is published afterwards is the real one.
            loaded = iter([other])
            monkeypatch.setattr(registry, "model_folder_of", lambda *_: next(loaded, genuine))
        weights = genuine / "model.safetensors"
        whole = weights.read_bytes()
        model = scaled(arena.base, arena.models / damage.replace(" ", "-"), 3.003)
        try:
            if damage == "files that were changed":
                weights.write_bytes(whole[:-1])
            reasons = self.rejected(arena, arena.challenge(model, f"canary.samples={len(damage)}"))
        finally:
            weights.write_bytes(whole)
        assert "champion version 1: the champion can't be scored" in reasons
        assert "remove the alias 'champion'" in reasons

    @pytest.fixture
    def other_gate(self, arena):
        """The champion as if it had been registered with other rows."""
        champion = registry.champion(arena.workspace)
        registered = {registry.GATE_TAG: champion.tags[registry.GATE_TAG]}
        registry.tag_version(arena.workspace, champion, {registry.GATE_TAG: "f" * 64})
        yield "f" * 12
        registry.tag_version(arena.workspace, champion, registered)

    @pytest.mark.usefixtures("untried")
    def test_another_gate_than_the_champions_is_named_in_reasons_and_report(
        self, arena, other_gate
    ) -> None:
        model = scaled(arena.base, arena.models / "other-gate", 0.0)
        outcome = arena.challenge(model)
        version = registry.version_by_number(arena.workspace, outcome["version"])
        rows = version.tags[registry.GATE_TAG][:12]
        assert f"(rows {rows}, then {other_gate})" in self.rejected(arena, outcome)
        page = Path(outcome["report"]).read_text()
        assert f"rows <code>{rows}</code>" in page
        assert f"registered with rows <code>{other_gate}</code>" in page

    def test_one_whose_endpoint_answers_differently_is_rejected(self, arena, monkeypatch) -> None:
        from serving.archive import build_archive

        other = scaled(arena.base, arena.models / "other", 1.0)

        def package(model_folder: Path, out: Path) -> Path:
            return build_archive(other, out)

        monkeypatch.setattr("serving.archive.build_archive", package)
        model = scaled(arena.base, arena.models / "mispackaged", 3.001)
        outcome = arena.challenge(model)
        reason, note = outcome["reasons"]
        assert self.rejected(arena, outcome) == f"{reason}; {note}"
        assert "promotion.min_gate_samples" in note
        assert "the endpoint's answers differ from the saved predictions" in reason


def scaled(trained: Path, folder: Path, factor: float) -> Path:
    """The trained model with its volume sharpened or, below 1, blurred; at 0 all joints meet."""
    from hemlets.models.model_folder import load_model, save_model

    model, card = load_model(trained / "model")
    state = model.state_dict()
    state["pose.volume_head.weight"] = state["pose.volume_head.weight"] * factor
    save_model(
        folder, state, pose=card.pose, shape=card.shape, bones=card.bones,
        training=card.training,
    )  # fmt: skip
    return folder


def gate_error(finished, model: Path) -> float:
    """MPJPE on the gate split in millimetres, by hand."""
    from hemlets.evaluation.predicting import predict_rows
    from hemlets.inference.predictor import Predictor

    data = finished.stage("ingest")
    rows = Annotations.read(data / "annotations.parquet").split("gate")
    estimates = predict_rows(Predictor.load(model), rows, data / "shards")
    truth = rows.joints3d_mm - rows.joints3d_mm[:, [Joint.PELVIS]]
    joints = np.stack([estimate.joints3d_mm for estimate in estimates])
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


def worse_by(share: float, arena, finished) -> Path:
    """A model whose gate error is so much above the champion's, found by halving."""
    low, high = 0.0, 3.0
    for _ in range(12):
        factor = (low + high) / 2
        model = scaled(arena.base, arena.models / "worse", factor)
        excess = gate_error(finished, model) / arena.error - 1
        if abs(excess - share) < 0.002:
            return model
        low, high = (factor, high) if excess > share else (low, factor)
    raise AssertionError(f"no model is {share:.0%} worse; the nearest is {excess:+.1%}")
