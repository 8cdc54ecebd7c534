import json
import shutil
import zipfile
from pathlib import Path

import pytest

from hemlets.core.errors import AssetError, ServingError
from serving.archive import (
    build_archive,
    content_version,
    read_archive,
    require_own_handler,
    with_own_handler,
)


def test_the_same_contents_give_the_same_bytes(model_folder: Path, archive: Path, tmp_path: Path):
    copy = tmp_path / "copy, with a comma [and] *"
    shutil.copytree(model_folder, copy)
    (copy / "model.json").touch()
    assert build_archive(copy, tmp_path, version="1").read_bytes() == archive.read_bytes()


def test_the_file_name_carries_the_version_and_the_manifest_states_it(archive: Path):
    assert archive.name == "hemlets-posh-1.mar"
    info = read_archive(archive)
    assert (info.name, info.version) == ("hemlets-posh", "1")


def test_without_a_version_the_contents_give_one(model_folder: Path, tmp_path: Path):
    path = build_archive(model_folder, tmp_path)
    assert path.name == f"hemlets-posh-{content_version(model_folder)}.mar"


def test_it_holds_handler_weights_description_and_a_body_asset(model_folder: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "body.npz").write_bytes(b"body")
    (folder / ".hidden").write_bytes(b"hidden")
    with zipfile.ZipFile(build_archive(folder, tmp_path, version="2")) as mar:
        assert mar.namelist() == [
            "MAR-INF/MANIFEST.json", "body.npz", "handler.py", "model.json", "model.safetensors",
        ]  # fmt: skip
        assert mar.read("model.safetensors") == (folder / "model.safetensors").read_bytes()
        manifest = json.loads(mar.read("MAR-INF/MANIFEST.json"))
    assert manifest["model"]["serializedFile"] == "model.safetensors"


def test_a_folder_without_weights_is_refused_by_name(tmp_path: Path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(AssetError, match=r"lacks model\.safetensors"):
        build_archive(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", ["", "../1", "a b", "1/2"])
def test_a_version_that_cannot_stand_in_a_url_is_refused(
    model_folder: Path, tmp_path: Path, version: str
):
    with pytest.raises(ServingError, match="model version"):
        build_archive(model_folder, tmp_path, version=version)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path):
    path = tmp_path / "model.mar"
    with pytest.raises(AssetError, match="there is no such model"):
        read_archive(path)
    path.write_bytes(b"nothing")
    with pytest.raises(AssetError, match="not a model archive"):
        read_archive(path)


def test_code_in_a_model_folder_stays_out_and_changes_nothing(model_folder: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    for name in ("handler.py", "__init__.py", "setup.cfg", "extra.whl"):
        (folder / name).write_text("raise SystemExit")
    assert content_version(folder) == content_version(model_folder)
    path = build_archive(folder, tmp_path / "planted", version="1")
    clean = build_archive(model_folder, tmp_path / "clean", version="1")
    assert path.read_bytes() == clean.read_bytes()


@pytest.mark.parametrize("planted", ["handler.py", "other.py"])
def test_an_archive_with_code_of_its_own_is_not_served(archive: Path, tmp_path: Path, planted: str):
    path = tmp_path / "hemlets-posh-1.mar"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in {*source.namelist(), planted}:
            target.writestr(name, b"print(1)" if name == planted else source.read(name))
    with pytest.raises(ServingError, match="code that is not"):
        require_own_handler(path)


def test_an_archive_of_this_installation_may_be_served(archive: Path):
    require_own_handler(archive)


def test_an_archive_of_another_version_of_hemlets_is_packaged_anew_from_its_model(
    archive: Path, model_folder: Path, tmp_path: Path
):
    old = tmp_path / "old.mar"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"import gone" if name == "handler.py" else source.read(name))
    assert with_own_handler(archive, model_folder, tmp_path) == archive
    new = with_own_handler(old, model_folder, tmp_path)
    assert new.parent == tmp_path
    require_own_handler(new)
    weights = (model_folder / "model.safetensors").read_bytes()
    assert zipfile.ZipFile(new).read("model.safetensors") == weights
