"""A model is registered once, found again whole, and loaded without a pickle."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flows.registry import versions as registry
from flows.services import servers as services
from flows.tracking.mlflow_client import connect
from hemlets.core.errors import (
    AssetError,
    CheckpointError,
    ConfigError,
    HemletsError,
    PromotionError,
)
from hemlets.core.workspace import Workspace
from hemlets.data.table import decode_image
from hemlets.inference import Camera, PredictionRequest
from hemlets.models.codecs.bones import BoneLengths

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)

TAGS = {
    "code_version": "abc1234",
    "data_version": "d41d8c",
    "config_hash": "0123",
    "validation": "passed",
    "metric_protocol": "18j, pelvis, unaligned",
    "gate_hash": "9f86d0",
}


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def _fresh(tmp_path_factory):
    """A workspace, and what its registry said before anything was registered."""
    made = Workspace(home=tmp_path_factory.mktemp("registry") / "work space")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        first = (
            registry.champion(made),
            registry.versions(made),
        )
    return made, first


@pytest.fixture(scope="module")
def workspace(_fresh):
    return _fresh[0]


@pytest.fixture
def run(workspace, request):
    with connect(workspace).run(request.node.name, "train PoSh") as current:
        yield current


def _champion_folder(workspace):
    return registry.model_folder_of(workspace, registry.champion(workspace))


def _folder(path, weights=b"weights"):
    path.mkdir()
    (path / "model.safetensors").write_bytes(weights)
    (path / "model.json").write_text("{}")
    return path


@pytest.fixture
def folder(tmp_path):
    return _folder(tmp_path / "posh")


def test_a_model_becomes_the_challenger_with_its_origin_as_tags(workspace, run, folder):
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "origin"}
    )
    found = next(v for v in registry.versions(workspace) if registry.CHALLENGER in v.aliases)
    assert found == made
    assert isinstance(found.version, int)
    assert found.run_id == run.run_id
    assert TAGS.items() <= found.tags.items()
    assert found.stage_key == "origin"
    assert found.aliases == ("challenger",)


def test_a_rerun_finds_the_version_and_registers_nothing(workspace, run, folder):
    tags = TAGS | {"stage_key": "rerun"}
    first = registry.register(workspace, folder, run_id=run.run_id, tags=tags)
    before = [version.version for version in registry.versions(workspace)]
    assert registry.register(workspace, folder, run_id=run.run_id, tags=tags) == first
    assert [version.version for version in registry.versions(workspace)] == before


def test_a_registration_that_was_cut_off_is_completed_with_the_model_that_is_there(
    workspace, run, folder, monkeypatch
):
    tags = TAGS | {"stage_key": "cut off"}
    tracking = connect(workspace)

    def killed(*arguments, **names):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(tracking.client), "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.register(workspace, folder, run_id=run.run_id, tags=tags)
    registry.register(workspace, folder, run_id=run.run_id, tags=tags)
    logged = tracking.client.search_logged_models(
        [tracking.experiment_id], filter_string="tags.`hemlets.stage_key` = 'cut off'"
    )
    assert len(logged) == 1


def test_other_files_under_the_same_stage_key_are_another_version_and_both_are_found_again(
    workspace, run, folder, tmp_path
):
    tags = TAGS | {"stage_key": "same key"}
    other = _folder(tmp_path / "other", b"other weights")
    one, two = (
        registry.register(workspace, model, run_id=run.run_id, tags=tags)
        for model in (folder, other)
    )
    assert two.version > one.version
    assert two.model_hash != one.model_hash
    for model, made in ((folder, one), (other, two)):
        found = registry.register(workspace, model, run_id=run.run_id, tags=tags)
        assert found.version == made.version
        stored = registry.model_folder_of(workspace, found) / "model.safetensors"
        assert stored.read_bytes() == (model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", registry.REQUIRED_TAGS)
def test_a_missing_tag_is_named(workspace, folder, name):
    tags = TAGS | {"stage_key": "tags"}
    with pytest.raises(ConfigError, match=name):
        registry.register(workspace, folder, run_id="none", tags=tags | {name: ""})


def test_a_folder_without_weights_is_named(workspace, folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssetError, match=r"model\.safetensors"):
        registry.register(workspace, folder, run_id="none", tags=TAGS | {"stage_key": "x"})


def test_without_a_registration_there_is_no_champion(_fresh):
    assert _fresh[1] == (None, [])


def test_an_unknown_version_is_named(workspace):
    with pytest.raises(PromotionError, match="no version 999"):
        registry.version_by_number(workspace, "999")


def test_the_champions_folder_holds_the_registered_bytes(workspace, run, folder):
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "champion"}
    )
    registry.set_champion(workspace, made)
    stored = _champion_folder(workspace)
    assert stored.is_relative_to(workspace.mlflow)
    assert sorted(p.name for p in stored.iterdir()) == ["model.json", "model.safetensors"]
    assert (stored / "model.safetensors").read_bytes() == b"weights"


def test_a_champion_whose_files_were_changed_is_refused(workspace, run, folder):
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "changed"}
    )
    registry.set_champion(workspace, made)
    stored = _champion_folder(workspace)
    (stored / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match="changed"):
        _champion_folder(workspace)
    (stored / "model.safetensors").unlink()
    (stored / "model.json").unlink()
    stored.rmdir()
    with pytest.raises(CheckpointError, match="incomplete"):
        _champion_folder(workspace)


def test_the_tested_archive_is_stored_with_its_version_and_found_by_its_hash(
    workspace, run, folder, tmp_path
):
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "archived"}
    )
    assert registry.archive_of(workspace, made) is None
    archive = tmp_path / "hemlets-posh-1.mar"
    archive.write_bytes(b"as it was tested")
    for _ in range(2):
        registry.attach_archive(workspace, made, archive)
    made = registry.version_by_number(workspace, made.version)
    stored = registry.archive_of(workspace, made)
    assert stored.is_relative_to(workspace.mlflow)
    assert stored.name == archive.name
    assert stored.read_bytes() == b"as it was tested"
    stored.write_bytes(b"swapped")
    with pytest.raises(CheckpointError, match="was changed"):
        registry.archive_of(workspace, made)
    stored.unlink()
    with pytest.raises(CheckpointError, match="can't be read"):
        registry.archive_of(workspace, made)


def test_a_rejection_is_a_tag_and_moves_no_alias(workspace, run, folder):
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "rejected"}
    )
    before = registry.champion(workspace)
    registry.reject(workspace, made, ["mpjpe is 300", "the canary failed"])
    assert registry.champion(workspace) == before
    tags = registry.version_by_number(workspace, made.version).tags
    assert tags["decision_reasons"] == "mpjpe is 300; the canary failed"
    with pytest.raises(PromotionError, match="needs a reason"):
        registry.reject(workspace, made, [])


@pytest.fixture(scope="module")
def real_model(tmp_path_factory):
    """A whole model folder with small random weights."""
    import torch

    from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
    from hemlets.models.model_folder import save_model

    torch.manual_seed(0)
    pose = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=16)
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    path = tmp_path_factory.mktemp("models") / "posh"
    save_model(
        path,
        HemletsPosh(pose, shape).state_dict(),
        pose=pose,
        shape=shape,
        bones=BONES,
        training={},
    )
    return path


def _png():
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def real_version(workspace, real_model):
    with connect(workspace).run("real", "train PoSh") as current:
        return registry.register(
            workspace, real_model, run_id=current.run_id, tags=TAGS | {"stage_key": "real"}
        )


@pytest.fixture(scope="module")
def loaded(real_version, workspace):
    import mlflow

    connect(workspace)  # another test may have been connected to a server since
    return mlflow.pyfunc.load_model(f"models:/{registry.MODEL_NAME}/{real_version.version}")


def test_the_stored_model_predicts_what_the_predictor_predicts(loaded, real_model):
    from hemlets.inference.predictor import Predictor

    image, box = _png(), [10.0, 5.0, 60.0, 55.0]
    camera = {"fx": 90.0, "fy": 91.0, "cx": 40.0, "cy": 30.0}
    table = pd.DataFrame({"image": [image, image], "box": [box, None], "camera": [camera, None]})
    pixels = decode_image(image)
    requests = [
        PredictionRequest(image_HW3=pixels, box_xyxy=tuple(box), camera=Camera(**camera)),
        PredictionRequest(image_HW3=pixels),
    ]
    predictor = Predictor.load(real_model)
    expected = [e.to_json() for e in predictor.predict(requests)]
    answers = loaded.predict(table)
    assert answers == expected
    assert json.loads(json.dumps(answers)) == answers
    alone = [e.to_json() for e in predictor.predict(requests[1:])]
    assert loaded.predict(table[["image"]].iloc[1:]) == alone


@pytest.mark.parametrize(
    ("column", "value"),
    [("image", b"no image"), ("box", [1.0, 2.0]), ("box", [50.0, 5.0, 10.0, 55.0])],
)
def test_a_row_that_cannot_be_used_is_named(loaded, column, value):
    table = pd.DataFrame({"image": [_png()], "box": [[0.0, 0.0, 60.0, 55.0]]})
    table.at[0, column] = value
    with pytest.raises(HemletsError) as caught:
        loaded.predict(table)
    assert "0" in caught.value.where
    assert column in caught.value.where


def test_the_stored_model_holds_no_pickle(real_version, workspace):
    files = [p for p in workspace.mlflow.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin"}]
    requirements = Path(registry.model_folder_of(workspace, real_version)).parents[1]
    lines = (requirements / "requirements.txt").read_text().split()
    assert any(line.startswith("torch==") for line in lines)
    assert not [line for line in lines if "+" in line]


def _over_the_network(service):
    """The same server with artifacts that clients can only reach through it."""
    command = list(service.command)
    at = command.index("--default-artifact-root")
    return dataclasses.replace(service, command=command[:at] + command[at + 2 :])


@pytest.mark.services
def test_the_registry_works_the_same_through_a_server(tmp_path, folder, monkeypatch):
    here, there = Workspace(home=tmp_path / "here"), Workspace(home=tmp_path / "there")
    with _over_the_network(services.mlflow_server(there)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        tags = TAGS | {"stage_key": "network"}
        with connect(here).run("network", "train PoSh") as current:
            current.params({"lr": 0.1})
            current.metrics({"mpjpe_mm": 80.0})
            made = registry.register(here, folder, run_id=current.run_id, tags=tags)
            again = registry.register(here, folder, run_id=current.run_id, tags=tags)
        assert again == made
        assert isinstance(made.version, int)
        assert registry.champion(here) is None
        registry.set_champion(here, made)
        assert registry.champion(here).version == made.version
        stored = _champion_folder(here)
        assert stored.is_relative_to(here.mlflow / "downloads")
        assert (stored / "model.safetensors").read_bytes() == b"weights"
        (stored / "model.safetensors").write_bytes(b"changed")
        assert (_champion_folder(here) / "model.safetensors").read_bytes() == b"weights"
        registry.attach_archive(here, made, folder / "model.json")
        archive = registry.archive_of(here, registry.champion(here))
        assert archive.is_relative_to(here.mlflow / "downloads")
        assert archive.read_text() == "{}"
        with connect(here).run("network", "train PoSh") as cached:
            assert cached.finished
    # What went through the server is in the workspace's own database too.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not (here.mlflow / "mlflow.db").exists()
    assert (there.mlflow / "mlflow.db").exists()


def test_a_registered_model_carries_the_wheel_that_a_fresh_environment_installs(
    workspace, run, folder, tmp_path, monkeypatch
):
    wheel = tmp_path / "hemlets-9.9.9-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    monkeypatch.setenv("HEMLETS_WHEEL", str(wheel))
    made = registry.register(
        workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": "wheel"}
    )
    stored = Path(registry._local(made.source))
    named = (stored / "requirements.txt").read_text().splitlines()[0]
    assert named == f"artifacts/{wheel.name}"
    assert (stored / named).read_bytes() == b"a wheel"
    assert (stored / "input_example.json").exists()


@pytest.mark.parametrize("name", ["hemlets-1.0-py3-none-any.whl", "other.whl"])
def test_a_wheel_that_is_not_there_is_refused(workspace, run, folder, tmp_path, monkeypatch, name):
    if name == "other.whl":
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setenv("HEMLETS_WHEEL", str(tmp_path / name))
    with pytest.raises(AssetError, match="wheel"):
        registry.register(
            workspace, folder, run_id=run.run_id, tags=TAGS | {"stage_key": f"no {name}"}
        )
