"""The model folder: what goes in comes out, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hemlets.assets import asset_path
from hemlets.core.errors import CheckpointError, WorkspaceError
from hemlets.core.files import content_hash
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.initial_weights import Convolution, without_initial_weights
from hemlets.models.model_folder import (
    PersonThreshold,
    load_model,
    load_strictly,
    load_weights,
    save_model,
    save_tensors,
)

BONES = BoneLengths(mean_mm=(320.0,) * 14, spread_mm=(40.0,) * 14)


def _save(folder: Path, intermediate: str = "hemlets") -> None:
    torch.manual_seed(0)
    pose = PoseNetworkConfig.from_mapping(
        {"crop_px": 64, "volume_cells": 16, "branch_channels": 16, "fusion_channels": 32,
         "intermediate": intermediate}
    )  # fmt: skip
    shape = ShapeNetworkConfig(hidden=32, blocks=1)
    state = HemletsPosh(pose, shape).state_dict()
    save_model(folder, state, pose=pose, shape=shape, bones=BONES, training={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model of random weights."""
    path = tmp_path_factory.mktemp("model") / "model"
    _save(path)
    return path


def test_a_model_survives_its_folder(folder: Path) -> None:
    model, card = load_model(folder)
    again, _ = load_model(folder)
    assert card.bones == BONES
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write more into a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_the_disk_refuses_is_said_and_the_model_before_stays(
    folder: Path, tmp_path: Path
) -> None:
    _save(tmp_path / "model")
    tensors = tmp_path / "some.safetensors"
    save_tensors(tensors, {"a": torch.zeros(1)})
    for path, write in (
        (tmp_path / "model", lambda: _save(tmp_path / "model", intermediate="none")),
        (tensors, lambda: save_tensors(tensors, {"a": torch.zeros(100_000)})),
    ):
        with files_of_at_most(20_000), pytest.raises(WorkspaceError, match="too large") as raised:
            write()
        assert raised.value.where == str(path)
    assert load_model(tmp_path / "model")[1].version == load_model(folder)[1].version
    assert len(load_weights(tensors)["a"]) == 1
    assert not list(tmp_path.rglob(".*"))


def test_the_version_is_that_of_the_content(folder: Path, tmp_path: Path) -> None:
    _save(tmp_path / "same")
    _save(tmp_path / "other", intermediate="none")
    versions = [
        load_model(path)[1].version for path in (folder, tmp_path / "same", tmp_path / "other")
    ]
    assert versions[0] == versions[1] != versions[2]


def test_damaged_weights_are_refused_by_their_hash(tmp_path: Path) -> None:
    _save(tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"SHA-256[\s\S]*fetch the model again"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_model(tmp_path / "model")


def test_a_card_that_this_version_does_not_know_names_file_and_key(tmp_path: Path) -> None:
    _save(tmp_path / "model")
    card = tmp_path / "model/model.json"
    card.write_text(json.dumps({"colour": "red", **json.loads(card.read_text())}))
    with pytest.raises(CheckpointError, match=r"unknown key 'colour'") as caught:
        load_model(tmp_path / "model")
    assert caught.value.where == str(card)


def test_the_first_tensor_that_does_not_fit_is_named() -> None:
    layer = torch.nn.Linear(2, 3)
    with pytest.raises(CheckpointError, match=r"'weight' has shape \(3, 5\)[\s\S]*\(3, 2\)"):
        load_strictly(layer, {"weight": torch.zeros(3, 5)}, where=Path("w"))
    with pytest.raises(CheckpointError, match="no tensor 'bias'"):
        load_strictly(layer, {"weight": torch.zeros(3, 2)}, where=Path("w"))


def test_a_tensor_without_dimensions_is_not_taken_for_an_absent_one() -> None:
    norm = torch.nn.BatchNorm2d(2)
    state = norm.state_dict()
    counter = state.pop("num_batches_tracked")
    with pytest.raises(CheckpointError, match=r"no tensor 'num_b[\s\S]*expected: shape \(\)"):
        load_strictly(norm, state, where=Path("w"))
    state |= {"num_batches_tracked": counter, "steps": counter}
    with pytest.raises(CheckpointError, match=r"'steps' has shape \(\)[\s\S]*no such tensor"):
        load_strictly(norm, state, where=Path("w"))


def test_a_card_from_before_thresholds_loads_and_keeps_its_version(tmp_path: Path) -> None:
    _save(tmp_path / "model")
    path = tmp_path / "model/model.json"
    card = json.loads(path.read_text())
    assert card.pop("person") is None
    assert not any(card.pop(name) for name in ("flip_test", "second_look", "follow_joints"))
    newer = (
        "depth_cells", "keypoints", "quarter_level", "refinement_layers", "refinement_context",
    )  # fmt: skip
    assert [card["pose"].pop(name) for name in newer] == [None, False, False, 0, False]
    before = content_hash({k: v for k, v in card.items() if k != "training"})[:12]
    path.write_text(json.dumps(card))
    assert load_model(tmp_path / "model")[1].version == before


def test_a_threshold_is_part_of_what_a_model_is(tmp_path: Path) -> None:
    _save(tmp_path / "model")
    card = load_model(tmp_path / "model")[1]
    person = PersonThreshold.measured(0.5, [0.9, 0.4, 0.8, 0.7], [0.1, 0.5], statistic="mean")
    assert (person.missed, person.false_alarms) == (0.25, 0.5)
    assert (person.people, person.backgrounds) == (4, 2)
    of_person = card.model_copy(update={"person": person}).version
    assert of_person != card.version
    # As it was before second looks had a threshold of their own.
    described = card.model_copy(update={"person": person}).model_dump(mode="json")
    assert described["person"].pop("one_look") is None
    apart = person.model_copy(update={"one_look": 0.3})
    assert card.model_copy(update={"person": apart}).version != of_person


def _thunder(encoder: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    config = PoseNetworkConfig(
        backbone="movenet_thunder", crop_px=128, volume_cells=16, branch_channels=16,
        fusion_channels=16, keypoints=True,
    )  # fmt: skip
    shape = ShapeNetworkConfig(hidden=32, blocks=0)
    model = HemletsPosh(config, shape)
    model.pose.backbone.load_state_dict(encoder)
    lengths = BoneLengths(mean_mm=(300.0,) * 14, spread_mm=(30.0,) * 14)
    return model.state_dict(), {"pose": config, "shape": shape, "bones": lengths, "training": {}}


def test_the_bundled_encoder_is_left_out_of_a_file_and_comes_back(tmp_path: Path) -> None:
    state, described = _thunder(load_weights(asset_path("movenet_thunder/model.safetensors")))
    save_model(tmp_path / "model", state, **described, half=True, bundled_encoder=True)
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 2_000_000
    model, _ = load_model(tmp_path / "model")
    for name, value in model.state_dict().items():
        if name.startswith("pose.backbone."):
            assert torch.equal(value, state[name]), name


def test_an_encoder_that_was_trained_on_is_not_left_out(tmp_path: Path) -> None:
    state, described = _thunder(load_weights(asset_path("movenet_thunder/model.safetensors")))
    state["pose.backbone.pyramid.top.conv.bias"] += 0.1
    with pytest.raises(CheckpointError, match="not the bundled ones"):
        save_model(tmp_path / "model", state, **described, bundled_encoder=True)


def test_weights_of_another_bundled_encoder_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"bundled_encoder": "0" * 64})
    with pytest.raises(CheckpointError, match="another encoder than the bundled one"):
        load_weights(path)


def test_weights_do_not_change_with_the_file_they_were_read_from(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"x": torch.ones(4096)}, path)
    state = load_weights(path)
    with path.open("r+b") as file:
        file.seek(-4 * 4096, 2)
        file.write(bytes(4 * 4096))
    assert torch.equal(state["x"], torch.ones(4096))


def test_initial_weights_are_drawn_as_torch_draws_them() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Conv2d(3, 5, 3).weight
    torch.manual_seed(0)
    assert torch.equal(Convolution(3, 5, 3).weight, weight)


def test_no_number_is_drawn_for_initial_weights_that_are_omitted() -> None:
    before = torch.get_rng_state()
    with without_initial_weights():
        Convolution(3, 5, 3)
    assert torch.equal(torch.get_rng_state(), before)
    Convolution(3, 5, 3)
    assert not torch.equal(torch.get_rng_state(), before)
