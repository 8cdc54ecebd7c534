"""Whatever may give another result is tracked as another retraining; a mere rerun is not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.profile import load_profile
from flows.registry import versions as registry
from flows.steps import train
from flows.steps.machine import machine
from flows.tracking import code_version
from flows.tracking import retraining_key as keys
from flows.tracking.mlflow_client import connect
from flows.tracking.retraining_key import retraining_key
from hemlets import __version__
from hemlets.core.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def _home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("key") / "home"


@pytest.fixture
def workspace(_home) -> Workspace:
    """An ingested dataset in a workspace; the tracker is shared by the tests."""
    folder = _home / "ingested" / "photos"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards").mkdir(parents=True)
    (folder / "version.json").write_text("{}")
    (folder / "annotations.parquet").write_bytes(b"labels of the first night")
    (folder / "shards" / "train-00000.arrow").write_bytes(b"images of the first night")
    return Workspace(home=_home)


@pytest.fixture
def profile(tiny):
    return load_profile(str(tiny), ("datasets=['photos']",))


def test_the_same_again_has_the_same_key(workspace, profile) -> None:
    assert retraining_key(workspace, profile) == retraining_key(workspace, profile)


@pytest.mark.parametrize("file", ["annotations.parquet", "shards/train-00000.arrow"])
def test_new_labels_or_images_under_the_same_name_are_another_retraining(
    workspace, profile, file
) -> None:
    before = retraining_key(workspace, profile)
    (workspace.home / "ingested" / "photos" / file).write_bytes(b"of the second night")
    after = retraining_key(workspace, profile)
    assert after.key != before.key
    assert after.inputs != before.inputs


@pytest.mark.parametrize("change", ["machine", "code"])
def test_another_machine_or_code_is_another_retraining(
    workspace, profile, monkeypatch, change
) -> None:
    before = retraining_key(workspace, profile)
    if change == "machine":
        other = machine() | {"gpu": "another"}
        monkeypatch.setattr(keys, "machine", lambda: other)
    else:
        monkeypatch.setattr(keys, "pipeline_code", lambda: "another")
    assert retraining_key(workspace, profile).key != before.key


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_other_starter_weights_are_another_retraining(
    workspace, tiny, tmp_path, monkeypatch, name
) -> None:
    for file in ("model.safetensors", "model.json"):
        (tmp_path / file).write_text("first")
    monkeypatch.setattr(train, "starter_weights", lambda: tmp_path / "model.safetensors")
    fine_tuned = load_profile(str(tiny), ("start=starter",))
    before = retraining_key(workspace, fine_tuned)
    (tmp_path / name).write_text("second")
    assert retraining_key(workspace, fine_tuned).key != before.key


def test_another_body_file_is_another_retraining(workspace, tiny, tmp_path) -> None:
    body = tmp_path / "body.npz"
    body.write_text("first")
    fitted = load_profile(str(tiny), (f"losses.body={body}",))
    before = retraining_key(workspace, fitted)
    body.write_text("second")
    assert retraining_key(workspace, fitted).key != before.key


def test_what_a_stage_will_refuse_keeps_no_retraining_from_being_tracked(workspace, tiny) -> None:
    unknown = load_profile(str(tiny), ("datasets=['never ingested']",))
    assert retraining_key(workspace, unknown).key


def register(workspace, folder: Path, tags) -> registry.ModelVersion:
    folder.mkdir()
    (folder / "model.safetensors").write_text(folder.name)
    (folder / "model.json").write_text("{}")
    given = dict.fromkeys(registry.REQUIRED_TAGS, "given") | {"stage_key": folder.name} | tags
    with connect(workspace).run(f"train {folder.name}", "train") as run:
        return registry.register(workspace, folder, run_id=run.run_id, tags=given)


def test_a_rerun_finds_its_key_again_once_its_model_is_the_champion(
    workspace, profile, tmp_path
) -> None:
    first = retraining_key(workspace, profile)
    registry.set_champion(workspace, register(workspace, tmp_path / "own", first.tags))
    assert retraining_key(workspace, profile) == first


def test_another_champion_to_be_held_against_is_another_retraining(
    workspace, profile, tmp_path
) -> None:
    first = retraining_key(workspace, profile)
    registry.set_champion(workspace, register(workspace, tmp_path / "other", {}))
    second = retraining_key(workspace, profile)
    assert second.key != first.key
    assert second.inputs == first.inputs
    assert retraining_key(workspace, profile) == second


def test_so_is_the_first_after_a_model_was_withdrawn(workspace, profile, tmp_path) -> None:
    # A champion of this profile's own would bring its key along.
    registry.set_champion(workspace, register(workspace, tmp_path / "foreign", {}))
    first = retraining_key(workspace, profile)
    bad = register(workspace, tmp_path / "bad", {})
    registry.tag_version(workspace, bad, {registry.WITHDRAWN_TAG: "mirrored"})
    second = retraining_key(workspace, profile)
    assert second.key != first.key
    assert retraining_key(workspace, profile) == second


class TestTheCodeVersion:
    @pytest.fixture
    def installed(self, tmp_path, project, monkeypatch):
        """The package in a folder of somebody else's repository."""

        def git(*arguments: str) -> None:
            who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
            subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True)

        package = tmp_path / "venv" / "flows"
        package.mkdir(parents=True)
        module = Path(shutil.copy(project / "flows" / "tracking" / "code_version.py", package))
        (tmp_path / "notes.txt").write_text("their own")
        git("init", "--quiet")
        git("add", "notes.txt")
        git("commit", "--quiet", "-m", "theirs")
        monkeypatch.setattr(code_version, "__file__", str(module))
        return git

    def test_of_an_installation_inside_another_project_is_the_package_s(self, installed) -> None:
        assert code_version.code_version() == __version__

    def test_of_a_checkout_is_the_commit(self, installed) -> None:
        installed("add", "--all")
        installed("commit", "--quiet", "-m", "ours")
        commit = code_version.code_version()
        assert len(commit) == 12
        assert commit != __version__

    def test_without_any_repository_is_the_package_s(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        monkeypatch.setattr(code_version, "__file__", str(tmp_path / "code_version.py"))
        assert code_version.code_version() == __version__
