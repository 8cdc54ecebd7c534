"""A user's own held-out rows decide on promotion, are frozen, and are never trained on."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from flows.profile import load_profile
from flows.registry.rules import Comparison, Judge, Judged, Outcome, PromotionRules, decide
from flows.steps import ingest as step
from flows.steps.held_out import held_out_sets, require_unseen
from flows.steps.split_fingerprint import SplitFingerprint
from flows.storage.stage_cache import StageStore
from hemlets.cli import main
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.workspace import Workspace
from hemlets.data.readers.coco import DATASET
from hemlets.data.table import Annotations
from hemlets.data.versions.hold_out import HeldOut
from hemlets.data.versions.ingest import ingest
from hemlets.data.versions.ingest_config import IngestConfig, SplitCut

SMALL = (
    "data.samples.train=8", "data.samples.validation=2", "data.samples.gate=2",
    "data.samples.test=2", "promotion.min_gate_samples=2", "render_workers=1",
)  # fmt: skip


@pytest.fixture
def home(tmp_path, label) -> Workspace:
    """A workspace with an ingested dataset of twelve photographs."""
    label(tmp_path / "uploads", range(1, 13))
    workspace = Workspace(home=tmp_path / "home")
    ingest(
        DATASET,
        tmp_path / "uploads",
        workspace.home / "ingested" / "street",
        IngestConfig(cut=SplitCut(validation=0.0, gate=0.0)),
    )
    return workspace


def hold_out(home: Workspace, capsys, *more: str) -> str:
    """The version that the command commits."""
    capsys.readouterr()
    arguments = ["data", "hold-out", "street", "--by", "clip", "--gate", "0.25", "--test", "0.1"]
    assert main([*arguments, "--home", str(home.home), *more]) == 0
    said = capsys.readouterr().out
    return str(said.partition('held_out = "')[2].partition('"')[0])


def judged_profile(tiny, version: str, *more: str):
    judges = f'[{{held_out="{version}", min_gate_samples=2, floors={{joints2d_px={{max=90.0}}}}}}]'
    return load_profile(str(tiny), (*SMALL, "datasets=['street']", f"judges={judges}", *more))


def test_held_out_rows_are_in_the_data_version_and_not_trained_on(home, tiny, capsys) -> None:
    version = hold_out(home, capsys)
    data = step.ingest(StageStore(home), judged_profile(tiny, version))
    table = Annotations.read(data.folder / "annotations.parquet")
    sets = held_out_sets(table, data.judges)
    assert {name: len(rows) for name, rows in sets.items()} == {
        "gate": 2, "test": 2, "gate-street": 3, "test-street": 2,
    }  # fmt: skip
    train = table.split("train")
    assert Counter(train.source)["coco"] == 12 - 3 - 2
    assert not set(train.sample_id) & {*sets["gate-street"].sample_id}
    require_unseen(data.folder / "annotations.parquet", data.judges)


def test_new_rows_of_a_held_out_clip_are_not_trained_on(home, tmp_path, tiny, capsys) -> None:
    version = hold_out(home, capsys)
    held = HeldOut.read(home.home / "ingested" / "street.held-out")
    table = Annotations.read(home.home / "ingested" / "street" / "annotations.parquet")
    left = held.left_for_training(table)
    again = table.take(table.column("clip").astype(str) == str(held.rows.clip[0]))
    assert not held.left_for_training(again)
    assert len(left) == 7
    assert version.startswith("street.held-out-")


def test_rows_are_frozen_and_moved_only_by_a_command_that_says_so(home, capsys) -> None:
    first = hold_out(home, capsys)
    arguments = ["data", "hold-out", "street", "--by", "clip", "--home", str(home.home)]
    assert main([*arguments, "--seed", "1"]) == 2
    assert first in capsys.readouterr().err
    assert hold_out(home, capsys, "--move", "--seed", "1") != first


def test_a_dataset_that_holds_the_gate_images_leaks_and_is_refused(home, tiny, capsys) -> None:
    version = hold_out(home, capsys)
    other = home.home / "ingested" / "copied"
    shutil.copytree(home.home / "ingested" / "street", other)
    table = Annotations.read(other / "annotations.parquet")
    columns = {n: table.column(n) for n in table.table.column_names}
    columns["sample_id"] = [f"copied/{name}" for name in table.sample_id]
    columns["clip"] = [f"copied/{name}" for name in table.clip]
    Annotations.from_columns(columns).write(other / "annotations.parquet")
    profile = judged_profile(tiny, version, "datasets=['copied']")
    with pytest.raises(DataError, match="rows of street leak into training") as caught:
        step.ingest(StageStore(home), profile)
    assert "nothing was trained" in str(caught.value)


def test_rows_without_a_subject_are_not_held_out_by_subject(home, capsys) -> None:
    path = home.home / "ingested" / "street" / "annotations.parquet"
    table = Annotations.read(path)
    columns = {n: table.column(n) for n in table.table.column_names}
    columns["subject"] = [""] * len(table)
    Annotations.from_columns(columns).write(path)
    assert main(["data", "hold-out", "street", "--home", str(home.home)]) == 2
    assert "have no subject" in capsys.readouterr().err


def test_rows_of_a_folder_are_not_held_out_and_nothing_beside_it_is_removed(home, capsys) -> None:
    folder = home.home / "ingested" / "street"
    beside = folder.with_name("street.held-out")
    beside.mkdir()
    assert main(["data", "hold-out", str(folder), "--by", "clip", "--home", str(home.home)]) == 2
    assert "can't be the name" in capsys.readouterr().err
    assert beside.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("judges=[{held_out='street', floors={joints2d_px={max=9.0}}}]", "held_out"),
        ("promotion.rendered_decides=false", "rendered_decides must be true"),
        (
            "judges=[{held_out='a.held-out-0123456789ab',floors={mpjpe_over_mean_pose={max=1.0}}}]",
            "can't have a floor",
        ),
    ],
)
def test_a_wrong_judge_is_refused_in_the_profile(tiny, change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_profile(str(tiny), (change,))


RULES = PromotionRules.from_mapping({"floors": {"mpjpe_mm": {"max": 100.0}}})
JUDGE = Judge.from_mapping(
    {"held_out": "street.held-out-0123456789ab", "floors": {"joints2d_px": {"max": 10.0}}}
)
GATE = SplitFingerprint(hash="rows", samples=300)


def compared(upper: float, **more) -> Comparison:
    values = {
        "metric": "mpjpe_mm", "ratio": upper, "upper": upper, "samples": 300,
        "champion_version": 1, "champion_hash": "a", "challenger_hash": "b",
    }  # fmt: skip
    return Comparison(**(values | more))


def decided(rules: PromotionRules, mpjpe: float, pixels: float | None, own: Comparison | None):
    judged = Judged(judge=JUDGE, metrics={"joints2d_px": pixels}, comparison=own, gate=GATE)
    return decide(
        rules, {"mpjpe_mm": mpjpe}, None if own is None else compared(-0.1), True, gate=GATE,
        own=[judged],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pixels", "own", "why"),
    [
        (11.0, None, "but must be at most 10"),
        (None, None, "has no value"),
        (8.0, compared(0.2, metric="joints2d_px"), "but may be larger by 1.0 % at most"),
        (8.0, compared(0.0, problem="it is damaged"), "it is damaged"),
    ],
)
def test_a_model_that_fails_on_the_users_own_rows_is_rejected(pixels, own, why) -> None:
    decision = decided(RULES, 80.0, pixels, own)
    assert decision.outcome is Outcome.REJECTED
    assert any(reason.startswith("street: ") and why in reason for reason in decision.reasons)


def test_both_gates_must_be_passed_and_both_are_among_the_reasons() -> None:
    decision = decided(RULES, 80.0, 8.0, None)
    assert decision.promote
    assert any(reason.startswith("street: every limit is met") for reason in decision.reasons)
    assert not decided(RULES, 120.0, 8.0, None).promote


def test_the_rendered_gate_can_be_for_information_alone() -> None:
    rules = RULES.model_copy(update={"rendered_decides": False})
    decision = decided(rules, 120.0, 8.0, None)
    assert decision.promote
    assert "the rendered gate decides nothing here" in decision.reasons
    assert not decided(rules, 80.0, 12.0, None).promote
    assert not decide(rules, {"mpjpe_mm": 80.0}, None, True, gate=GATE).promote


def test_a_judge_without_rows_rejects() -> None:
    judged = Judged(judge=JUDGE, metrics={}, comparison=None, gate=None)
    decision = decide(RULES, {"mpjpe_mm": 80.0}, None, True, gate=GATE, own=[judged])
    assert not decision.promote
    assert json.dumps(decision.reasons).count("the gate is missing") == 1
