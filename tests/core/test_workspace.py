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


def test_a_folder_that_is_not_there_yet_is_one(tmp_path: Path) -> None:
    assert Workspace(home=tmp_path / "new").data == tmp_path / "new/data"
