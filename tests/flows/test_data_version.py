"""Data versions with real DVC and a local remote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import data_version
from hemlets.errors import DataError
from hemlets.files import sha256_folder

pytestmark = pytest.mark.services


def write(folder: Path, **files: str) -> Path:
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / "shards" / f"{name}.arrow").write_text(text)
    (folder / "annotations.parquet").write_text(" ".join(files))
    return folder


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "source", one="1", two="2")


def test_the_same_bytes_give_the_same_version(workspace, source) -> None:
    first = data_version.commit(workspace, source)
    assert data_version.commit(workspace, source) == first
    assert data_version.versions(workspace) == [first]


def test_marks_of_the_stage_are_no_part_of_the_data(workspace, source) -> None:
    first = data_version.commit(workspace, source)
    (source / "manifest.json").write_text("{}")
    (source / ".lock").write_text("")
    assert data_version.commit(workspace, source) == first
    assert not (workspace.data / "open-rendered" / "manifest.json").exists()


def test_a_version_comes_back_from_the_remote_alone(workspace, source) -> None:
    first = data_version.commit(workspace, source)
    before = sha256_folder(workspace.data / "open-rendered")
    second = data_version.commit(workspace, write(source, one="changed"))
    assert second != first
    assert data_version.versions(workspace) == [first, second]
    shutil.rmtree(workspace.data / "open-rendered")
    shutil.rmtree(workspace.data / ".dvc" / "cache", ignore_errors=True)
    back = data_version.checkout(workspace, first)
    assert sha256_folder(back) == before
    assert (back / "shards" / "one.arrow").read_text() == "1"


def test_the_cache_lies_in_the_workspace(workspace, source) -> None:
    data_version.commit(workspace, source)
    assert any((workspace.data / ".dvc" / "cache").rglob("*.dir"))
    assert any(workspace.data_remote.rglob("*.dir"))


def test_a_version_that_is_unknown_names_those_that_are_known(workspace, source) -> None:
    with pytest.raises(DataError, match="none is committed yet"):
        data_version.checkout(workspace, "open-rendered-000000000000")
    known = data_version.commit(workspace, source)
    with pytest.raises(DataError, match="no data version 'other'") as error:
        data_version.checkout(workspace, "other")
    assert known in str(error.value)


def test_a_commit_that_was_killed_before_its_push_is_completed(
    workspace, source, monkeypatch
) -> None:
    from dvc.repo import Repo

    def killed(self) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Repo, "push", killed)
        with pytest.raises(KeyboardInterrupt):
            data_version.commit(workspace, source)
    assert data_version.versions(workspace) == []
    version = data_version.commit(workspace, source)
    shutil.rmtree(workspace.data / ".dvc" / "cache")
    shutil.rmtree(workspace.data / "open-rendered")
    assert (data_version.checkout(workspace, version) / "annotations.parquet").exists()


def test_the_flow_s_data_version_comes_back_as_it_was(finished) -> None:
    (version,) = data_version.versions(finished.workspace)
    target = finished.workspace.data / "open-rendered"
    before = sha256_folder(target)
    shutil.rmtree(target)
    shutil.rmtree(finished.workspace.data / ".dvc" / "cache")
    assert sha256_folder(data_version.checkout(finished.workspace, version)) == before
    assert (target / "version.json").exists()
