"""The champion is what the registry's alias names; the file in the workspace only remembers it."""

import shutil
import time
from pathlib import Path

import pytest

from hemlets.core.errors import AssetError, CheckpointError
from hemlets.core.files import sha256_file
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import (
    CACHE,
    Champion,
    cache_champion,
    find_champion,
    find_model,
)


def model_at(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def champion_at(folder: Path, version: str = "3") -> Champion:
    folder = model_at(folder)
    archive = folder / "archive.mar"
    archive.write_text("archive")
    return Champion(
        version=version,
        folder=folder,
        card_sha256=sha256_file(folder / "model.json"),
        archive=archive,
        archive_sha256=sha256_file(archive),
    )


class Registry:
    """Answers like the plug-in, and counts how often it is asked."""

    def __init__(self) -> None:
        self.champion: Champion | None = None
        self.asked = 0

    def __call__(self, workspace: Workspace) -> Champion | None:
        self.asked += 1
        return self.champion

    def change(self, workspace: Workspace) -> None:
        """Leave a trace in the database, as every write of MLflow does."""
        database = workspace.mlflow / "mlflow.db"
        database.write_text(database.read_text() + "another row")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a registry of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(home=tmp_path / "workspace")
    workspace.mlflow.mkdir(parents=True)
    (workspace.mlflow / "mlflow.db").write_text("a row")
    return workspace


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    monkeypatch.setattr("hemlets.inference.champion.load_plugin", lambda name: found)
    return found


def test_a_model_that_is_named_is_taken_before_the_champion(
    home: Workspace, registry: Registry, tmp_path: Path
) -> None:
    registry.champion = champion_at(home.home / "stages" / "champion")
    named = model_at(tmp_path / "mine")

    assert find_model(named, home).folder == named


def test_the_champion_is_taken_before_the_starter_weights(
    home: Workspace, registry: Registry, tmp_path: Path
) -> None:
    registry.champion = champion_at(home.home / "stages" / "train-posh" / "abc")

    choice = find_model(None, home, starter=model_at(tmp_path / "starter"))

    assert choice.folder == registry.champion.folder
    assert choice.origin == "champion, version 3"


@pytest.mark.parametrize("there_is_one", [True, False], ids=["a champion", "none yet"])
def test_the_registry_is_asked_once_until_it_changes(
    home: Workspace, registry: Registry, there_is_one: bool
) -> None:
    if there_is_one:
        registry.champion = champion_at(home.home / "one")
    first, again = find_champion(home), find_champion(home)
    assert first == again == registry.champion
    assert registry.asked == 1

    registry.champion = champion_at(home.home / "two", version="4")
    registry.change(home)
    assert find_champion(home) == registry.champion
    assert registry.asked == 2


def test_a_server_is_asked_again_after_some_minutes(
    home: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    find_champion(home)
    find_champion(home)
    assert registry.asked == 1
    now = time.time()
    monkeypatch.setattr("hemlets.inference.champion.time.time", lambda: now + 601)
    find_champion(home)
    assert registry.asked == 2


def test_another_server_is_asked_for_its_own_champion(
    home: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_champion(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    find_champion(home)
    assert registry.asked == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"champion": 3, "registry": "s", "asked_s": 0}', None]
)
def test_a_damaged_or_missing_cache_is_no_obstacle(
    home: Workspace, registry: Registry, content: str | None
) -> None:
    registry.champion = champion_at(home.home / "one")
    find_champion(home)
    if content is None:
        (home.home / CACHE).unlink()
    else:
        (home.home / CACHE).write_text(content)

    assert find_champion(home) == registry.champion
    assert registry.asked == 2


def test_a_cached_model_that_was_changed_is_not_used(home: Workspace, registry: Registry) -> None:
    registry.champion = champion_at(home.home / "one")
    find_champion(home)
    (registry.champion.folder / "model.json").write_text('{"other": "weights"}')

    find_champion(home)

    assert registry.asked == 2


def test_the_champion_is_found_after_the_workspace_was_moved(
    home: Workspace, registry: Registry, tmp_path: Path
) -> None:
    cache_champion(home, champion_at(home.home / "stages" / "champion"))
    moved = Path(shutil.move(home.home, tmp_path / "moved"))

    found = find_champion(Workspace(home=moved))

    assert registry.asked == 0
    assert found is not None
    assert found.folder == moved / "stages" / "champion"
    assert found.verified_archive() == moved / "stages" / "champion" / "archive.mar"


def test_a_champion_outside_the_workspace_is_found(
    home: Workspace, registry: Registry, tmp_path: Path
) -> None:
    cache_champion(home, champion_at(tmp_path / "elsewhere"))

    assert find_model(None, home).folder == tmp_path / "elsewhere"
    assert registry.asked == 0


def test_without_a_champion_the_starter_weights_are_taken_and_said(tmp_path: Path) -> None:
    starter = model_at(tmp_path / "starter")

    choice = find_model(None, Workspace(home=tmp_path / "empty"), starter=starter)

    assert choice.folder == starter
    assert "starter" in choice.origin
    assert not (tmp_path / "empty").exists()


def test_without_any_model_the_places_looked_at_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no model") as caught:
        find_model(None, Workspace(home=tmp_path / "empty"), starter=tmp_path / "none")

    assert str(tmp_path / "empty") in str(caught.value)
    assert "make demo" in str(caught.value)


def test_a_champion_that_is_gone_is_never_silently_replaced(
    home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Workspace) -> Champion:
        raise CheckpointError("the files of version 3 can't be read")

    monkeypatch.setattr("hemlets.inference.champion.load_plugin", lambda name: gone)
    champion = champion_at(home.home / "champion")
    cache_champion(home, champion)
    shutil.rmtree(champion.folder)

    with pytest.raises(CheckpointError, match="version 3"):
        find_model(None, home, starter=model_at(tmp_path / "starter"))


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_an_archive_other_than_the_tested_one_is_refused(tmp_path: Path, damage: str) -> None:
    champion = champion_at(tmp_path / "champion")
    if damage == "changed":
        champion.archive.write_text("another")
    else:
        champion.archive.unlink()

    with pytest.raises(AssetError, match=r"not the one that was tested|can't be read"):
        champion.verified_archive()


def test_a_folder_that_is_no_model_is_refused_by_name(home: Workspace, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=f"{tmp_path} is not a model folder"):
        find_model(tmp_path, home)
