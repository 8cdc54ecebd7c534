import shutil
from pathlib import Path

import pytest

from hemlets.core.errors import AssetError
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import find_model, point_to_champion


def model_at(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(home=tmp_path / "workspace")


def test_a_model_that_is_named_is_taken_before_the_champion(
    home: Workspace, tmp_path: Path
) -> None:
    point_to_champion(home, model_at(home.home / "stages" / "champion"), version="3")
    named = model_at(tmp_path / "mine")

    assert find_model(named, home).folder == named


def test_the_champion_is_taken_before_the_starter_weights(home: Workspace, tmp_path: Path) -> None:
    champion = model_at(home.home / "stages" / "train-posh" / "abc")
    point_to_champion(home, champion, version="3")

    choice = find_model(None, home, starter=model_at(tmp_path / "starter"))

    assert choice.folder.resolve() == champion
    assert choice.origin == "champion, version 3"


def test_the_champion_is_found_after_the_workspace_was_moved(
    home: Workspace, tmp_path: Path
) -> None:
    point_to_champion(home, model_at(home.home / "stages" / "champion"), version="3")
    moved = shutil.move(home.home, tmp_path / "moved")

    choice = find_model(None, Workspace(home=Path(moved)))

    assert choice.folder == tmp_path / "moved" / "stages" / "champion"


def test_a_champion_outside_the_workspace_is_found(home: Workspace, tmp_path: Path) -> None:
    elsewhere = model_at(tmp_path / "elsewhere")
    point_to_champion(home, elsewhere, version="3")

    assert find_model(None, home).folder == elsewhere


def test_a_folder_in_the_champions_place_needs_no_pointer(home: Workspace) -> None:
    placed = model_at(home.serving / "champion")

    assert find_model(None, home).folder == placed


def test_without_a_champion_the_starter_weights_are_taken_and_said(
    home: Workspace, tmp_path: Path
) -> None:
    starter = model_at(tmp_path / "starter")

    choice = find_model(None, home, starter=starter)

    assert choice.folder == starter
    assert "starter" in choice.origin


def test_without_any_model_the_places_looked_at_are_named(home: Workspace, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no model") as caught:
        find_model(None, home, starter=tmp_path / "none")

    assert str(home.home / "champion.json") in str(caught.value)
    assert "make demo" in str(caught.value)


def test_a_champion_that_is_gone_is_never_silently_replaced(
    home: Workspace, tmp_path: Path
) -> None:
    champion = model_at(home.home / "stages" / "champion")
    point_to_champion(home, champion, version="3")
    shutil.rmtree(champion)

    with pytest.raises(AssetError, match="not a model folder"):
        find_model(None, home, starter=model_at(tmp_path / "starter"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"folder": 3, "version": "1"}'])
def test_a_damaged_pointer_is_named(home: Workspace, content: str) -> None:
    home.home.mkdir()
    (home.home / "champion.json").write_text(content)

    with pytest.raises(AssetError, match=r"champion\.json"):
        find_model(None, home)


def test_a_folder_that_is_no_model_is_refused_by_name(home: Workspace, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=f"{tmp_path} is not a model folder"):
        find_model(tmp_path, home)
