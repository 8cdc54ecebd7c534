"""A server that follows the champion switches without refusing a request, or stays as it is."""

import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hemlets.core.errors import PromotionError
from hemlets.core.files import sha256_file
from hemlets.core.workspace import Workspace
from hemlets.inference.champion import Champion, cache_champion, find_champion
from serving.archive import build_archive, content_version
from serving.follow import Follower
from serving.settings import ServerSettings
from serving.torchserve import TorchServe

pytestmark = pytest.mark.services

BOX = (10.0, 10.0, 110.0, 80.0)


class Followed:
    """A server on a workspace's champion, and what its follower has said."""

    def __init__(self, workspace: Workspace, server: TorchServe, archive: Path) -> None:
        self.workspace, self.server = workspace, server
        self.said: list[str] = []
        workspace.mlflow.mkdir(parents=True)
        (workspace.mlflow / "mlflow.db").touch()
        self.promote(archive, "1")
        champion = find_champion(workspace)
        assert champion is not None
        status = server.register(champion.verified_archive())
        self.follower = Follower(
            server, workspace, champion, status, say=self.said.append, drain_s=0.5
        )

    def promote(self, archive: Path, version: str, folder: Path | None = None) -> None:
        if folder is None:
            folder = self.workspace.home / version
            folder.mkdir()
            (folder / "model.json").touch()
        champion = Champion(
            version=version,
            folder=folder,
            card_sha256=sha256_file(folder / "model.json"),
            archive=archive,
            archive_sha256=sha256_file(archive),
        )
        cache_champion(self.workspace, champion)

    def versions(self) -> list[str]:
        return [item.version for item in self.server.management.versions("hemlets-posh")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    settings = ServerSettings(bundled_java=True, threads=1, startup_timeout_s=600)
    with TorchServe(tmp_path_factory.mktemp("followed"), settings) as server:
        yield server


@pytest.fixture
def followed(running: TorchServe, archive: Path, tmp_path: Path) -> Iterator[Followed]:
    found = Followed(Workspace(home=tmp_path / "home"), running, archive)
    yield found
    # The default can't be taken away by its version while there are others.
    for version in [v for v in found.versions() if v != found.follower.status.version]:
        running.unregister("hemlets-posh", version)
    running.unregister("hemlets-posh", found.follower.status.version)


@pytest.fixture
def packaged(model_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda version: build_archive(model_folder, tmp_path, version=version)


def test_without_a_promotion_nothing_happens(followed: Followed) -> None:
    assert not followed.follower.look()
    assert followed.versions() == ["1"]
    assert followed.said == []


def test_a_promotion_is_switched_to_while_every_request_is_answered(
    followed: Followed, packaged: Callable[[str], Path], pictures: list[bytes]
) -> None:
    refused: list[Exception] = []
    answered, done = [0], threading.Event()

    def ask() -> None:
        with followed.server.client("hemlets-posh") as client:
            while not (refused or (done.is_set() and answered[0] > 3)):
                try:
                    client.predict(pictures[0], BOX)
                    answered[0] += 1
                except Exception as error:
                    refused.append(error)

    followed.promote(packaged("2"), "2")
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert followed.follower.look()
    finally:
        done.set()
        asking.join()
    assert refused == []
    assert followed.versions() == ["2"]
    assert any("serving hemlets-posh 2, champion version 2" in line for line in followed.said)
    assert not followed.follower.look()


def test_an_archive_that_was_changed_leaves_the_old_one_serving_and_is_said_once(
    followed: Followed, packaged: Callable[[str], Path], pictures: list[bytes]
) -> None:
    archive = packaged("3")
    followed.promote(archive, "3")
    archive.write_bytes(archive.read_bytes() + b"x")
    assert not followed.follower.look()
    assert not followed.follower.look()
    (said,) = followed.said
    assert "not the one that was tested" in said
    assert "hemlets-posh 1 goes on serving" in said
    assert followed.versions() == ["1"]
    with followed.server.client("hemlets-posh") as client:
        client.predict(pictures[0], BOX)


def test_a_model_whose_workers_don_t_start_leaves_the_old_one_serving(
    followed: Followed, model_folder: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    followed.promote(build_archive(broken, tmp_path, version="4"), "4")
    assert not followed.follower.look()
    assert "could not be served" in followed.said[-1]
    assert followed.versions() == ["1"]
    with followed.server.client("hemlets-posh") as client:
        client.predict(pictures[0], BOX)


def test_a_champion_that_another_version_of_hemlets_packaged_is_packaged_anew(
    followed: Followed, packaged: Callable[[str], Path], model_folder: Path, tmp_path: Path
) -> None:
    old = tmp_path / "hemlets-posh-old.mar"
    with zipfile.ZipFile(packaged("5")) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"import gone" if name == "handler.py" else source.read(name))
    followed.promote(old, "5", model_folder)
    assert followed.follower.look(), followed.said
    assert followed.versions() == [content_version(model_folder)]


def test_a_registry_that_can_t_be_reached_is_said_and_changes_nothing(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: Workspace) -> None:
        raise PromotionError("the alias 'champion' can't be looked up")

    monkeypatch.setattr("hemlets.inference.champion.load_plugin", lambda name: unreachable)
    (followed.workspace.mlflow / "mlflow.db").write_text("another row")
    assert not followed.follower.look()
    assert "can't be looked up" in followed.said[0]
    assert followed.versions() == ["1"]
