"""The workspace's folder."""

from pathlib import Path

import pytest

from hemlets.core.errors import WorkspaceError
from hemlets.core.workspace import Workspace


def test_a_file_is_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "x"))
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.from_env()


def test_links_that_lead_to_each_other_are_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(WorkspaceError, match="leads to itself"):
        Workspace.at(tmp_path / "a")
    with pytest.raises(WorkspaceError, match="leads to itself"):
        Workspace.exported(tmp_path / "a")


def test_the_home_of_an_unknown_user_is_no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMLETS_HOME", "~nobody-of-this-name/w")
    with pytest.raises(WorkspaceError, match=r"no such user[\s\S]*nobody-of-this-name"):
        Workspace.from_env()


def test_a_current_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(WorkspaceError, match="does not exist any more"):
        Workspace.at("w")


def test_a_folder_that_is_not_there_yet_is_one(tmp_path: Path) -> None:
    assert Workspace(home=tmp_path / "new").data == tmp_path / "new/data"
