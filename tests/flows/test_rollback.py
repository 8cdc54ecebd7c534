"""Going back to an earlier champion reaches what is served, and stays."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.registry import rules as promotion
from flows.registry import versions as registry
from flows.registry.champion import refresh_champion, resolve_champion
from flows.registry.rollback import rollback
from flows.registry.rules import Decision, Outcome
from flows.steps.promote import _withdrawn as why_withdrawn
from flows.tracking.mlflow_client import connect
from hemlets.cli.app import GROUP, _load
from hemlets.core.errors import CheckpointError, PromotionError
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import find_champion


@pytest.fixture(scope="module")
def _built(tmp_path_factory):
    """The workspace of these tests, and a copy of it as it was at first."""
    folder = tmp_path_factory.mktemp("rollback")
    workspace = Workspace(home=folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with connect(workspace).run("train", "train") as run:
            for name in ("one", "two", "three", "four"):
                made = register(workspace, run.run_id, folder / name)
                if name == "four":
                    registry.reject(workspace, made, ["it is worse"])
                else:
                    promote(workspace, made, folder / f"{name}.mar")
    return workspace, shutil.copytree(workspace.home, folder / "copy")


@pytest.fixture
def three(_built, monkeypatch):
    """Versions 1, 2 and 3 were promoted in turn; 4 was rejected."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace, copy = _built
    database = Path("mlflow") / "mlflow.db"
    # MLflow keeps the file open, so its content is replaced and the file stays.
    with (
        closing(sqlite3.connect(copy / database)) as first,
        closing(sqlite3.connect(workspace.home / database)) as now,
    ):
        first.backup(now)
    shutil.rmtree(workspace.home / "mlflow" / "artifacts")
    shutil.copytree(copy / "mlflow" / "artifacts", workspace.home / "mlflow" / "artifacts")
    (workspace.home / "champion.json").unlink(missing_ok=True)
    return workspace


def register(workspace, run_id, folder):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(folder.name.encode())
    (folder / "model.json").write_text("{}")
    tags = dict.fromkeys(registry.REQUIRED_TAGS, "given") | {"stage_key": folder.name}
    return registry.register(workspace, folder, run_id=run_id, tags=tags)


def promote(workspace, version, archive):
    """As a retraining does it."""
    archive.write_bytes(f"archive of {version.version}".encode())
    registry.attach_archive(workspace, version, archive)
    before = registry.champion(workspace)
    number = None if before is None else before.version
    decision = Decision(outcome=Outcome.PROMOTED, reasons=("good",), champion_version=number)
    promotion.apply(decision, workspace, version)
    refresh_champion(workspace)


def state(workspace) -> SimpleNamespace:
    """What the alias names, what predicts and is served, and which versions are withdrawn."""
    found = find_champion(workspace, ask=resolve_champion)
    assert found.verified_archive().read_text() == f"archive of {found.version}"
    return SimpleNamespace(
        alias=registry.champion(workspace).version,
        served=int(found.version),
        weights=(found.folder / "model.safetensors").read_text(),
        withdrawn={
            v.version: v.tags[registry.WITHDRAWN_TAG]
            for v in registry.withdrawn_versions(workspace)
        },
    )


def test_by_default_it_goes_to_the_champion_before_for_registry_predictions_and_server(
    three,
) -> None:
    done = rollback(three, because="wrists are mirrored")
    assert (done.champion, done.withdrawn) == (2, 3)
    now = state(three)
    assert (now.alias, now.served, now.weights) == (2, 2, "two")
    assert now.withdrawn == {3: "wrists are mirrored"}


def test_it_goes_to_any_earlier_champion_that_is_named(three) -> None:
    rollback(three, 1)
    now = state(three)
    assert (now.alias, now.served) == (1, 1)
    assert now.withdrawn == {3: "no reason was given"}


def test_going_back_again_and_again_ends_where_there_is_none_before(three) -> None:
    assert [rollback(three).champion for _ in range(2)] == [2, 1]
    with pytest.raises(PromotionError, match="no champion before version 1") as caught:
        rollback(three)
    assert "hemlets rollback VERSION" in str(caught.value)
    assert state(three).alias == 1


def test_the_first_champion_of_all_says_that_there_is_none_to_go_back_to(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(home=tmp_path / "home")
    with connect(workspace).run("train", "train") as run:
        made = register(workspace, run.run_id, tmp_path / "one")
        promote(workspace, made, tmp_path / "one.mar")
    with pytest.raises(PromotionError, match="the only champion that there ever was"):
        rollback(workspace)
    assert state(workspace).alias == 1


def test_one_that_was_withdrawn_is_passed_over_but_may_be_named(three, tmp_path) -> None:
    rollback(three)
    with connect(three).run("later", "train") as run:
        made = register(three, run.run_id, tmp_path / "five")
        promote(three, made, tmp_path / "five.mar")
    rollback(three)
    assert state(three).alias == 2
    rollback(three, 3)
    now = state(three)
    assert (now.alias, now.served) == (3, 3)
    assert set(now.withdrawn) == {5, 2}


def test_a_withdrawn_model_is_not_promoted_again_under_whichever_number(three) -> None:
    bad = registry.champion(three)
    assert why_withdrawn(three, bad) is None
    rollback(three, because="wrists are mirrored")
    with connect(three).run("again", "train") as run:
        tags = dict.fromkeys(registry.REQUIRED_TAGS, "given") | {"stage_key": "other code"}
        folder = registry.model_folder_of(three, bad)
        same = registry.register(three, folder, run_id=run.run_id, tags=tags)
    assert same.version == 5
    for version in (bad, same):
        assert why_withdrawn(three, version) == "wrists are mirrored (version 3)"
    assert why_withdrawn(three, registry.champion(three)) is None


@pytest.mark.parametrize("number", [4, 99])
def test_what_was_never_champion_is_refused_with_those_that_were(three, number) -> None:
    with pytest.raises(PromotionError, match=f"version {number}") as caught:
        rollback(three, number)
    assert "one of 1, 2, 3" in str(caught.value)
    assert state(three).alias == 3
    assert state(three).withdrawn == {}


def test_a_champion_that_was_judged_anew_since_still_counts_as_one(three) -> None:
    registry.reject(three, registry.version_by_number(three, 1), ["worse than version 3"])
    assert rollback(three, 1).champion == 1


@pytest.mark.parametrize("damage", ["archive gone", "archive changed", "weights changed"])
def test_a_version_whose_files_are_damaged_is_refused_before_anything_changes(
    three, damage
) -> None:
    target = registry.version_by_number(three, 2)
    file = registry.archive_of(three, target)
    if damage == "archive gone":
        file.unlink()
    elif damage == "archive changed":
        file.write_text("archive of 9")
    else:
        (registry.model_folder_of(three, target) / "model.safetensors").write_text("tow")
    with pytest.raises(CheckpointError, match="version 2"):
        rollback(three)
    now = state(three)
    assert (now.alias, now.served, now.withdrawn) == (3, 3, {})


def test_a_version_that_was_never_tried_through_an_endpoint_is_refused(three) -> None:
    target = registry.version_by_number(three, 2)
    registry.untag_version(three, target, [registry.ARCHIVE_TAG])
    with pytest.raises(PromotionError, match="no archive that was tried"):
        rollback(three)
    assert state(three).alias == 3


def test_without_a_champion_there_is_nothing_to_go_back_from(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(PromotionError, match="no champion to go back from"):
        rollback(Workspace(home=tmp_path))


STEPS = ("tag_version", "set_champion")


@pytest.mark.parametrize("number", [None, 2], ids=["the one before", "named"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_before_the_alias_moves_the_same_command_completes_it(
    three, monkeypatch, step, number
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(registry, step, killed)
        with pytest.raises(SystemExit):
            rollback(three, number, because="mirrored")
    rollback(three, number, because="mirrored")
    now = state(three)
    assert (now.alias, now.served) == (2, 2)
    assert now.withdrawn == {3: "mirrored"}


def test_killed_after_the_alias_moved_it_is_complete(three, monkeypatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("flows.registry.rollback.refresh_champion", killed)
        with pytest.raises(SystemExit):
            rollback(three, because="mirrored")
    now = state(three)
    assert (now.alias, now.served, now.withdrawn) == (2, 2, {3: "mirrored"})


def test_an_alias_that_was_moved_in_mlflow_is_followed(three) -> None:
    assert state(three).served == 3
    registry.set_champion(three, registry.version_by_number(three, 1))
    assert state(three).served == 1


@pytest.fixture
def command(three, capsys, monkeypatch):
    """Runs ``hemlets rollback`` in this process and returns what it said."""
    monkeypatch.setenv("HEMLETS_HOME", "elsewhere")
    loaded = _load(EntryPoint("rollback", "flows.cli.retrain:rollback", GROUP))

    def run(*arguments: str) -> str:
        loaded(args=[*arguments, "--home", str(three.home)], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_the_command_says_what_is_served_and_what_is_withdrawn(command) -> None:
    said = command("--because", "wrists are mirrored")
    assert "version 2 is the champion again" in said
    assert "version 3 is withdrawn: wrists are mirrored" in said
    assert "version 2 is the champion, and is what is served" in command("2")
