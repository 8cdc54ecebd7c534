"""EfficientNet-Lite0 as a backbone: names, shapes, padding, scaling and frozen levels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hemlets.core.errors import CheckpointError
from hemlets.models import PoseNetwork, PoseNetworkConfig
from hemlets.models.backbones import build_backbone, freeze_levels
from hemlets.models.backbones.efficientnet import EfficientNetLite0
from hemlets.models.backbones.pretrained import load_backbone


def imagenet_file(path: Path) -> dict[str, torch.Tensor]:
    """A file with the names and shapes of the published weights, classifier included."""
    torch.manual_seed(3)
    state = EfficientNetLite0().state_dict()
    state["_bn0.running_mean"] = torch.randn(32)
    state |= {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_fc.bias": torch.zeros(1000)}
    state |= {"_bn1.weight": torch.zeros(1280)}
    torch.save(state, path)
    return state


def test_it_has_the_published_number_of_weights_without_the_classifier() -> None:
    # 4,652,008 published, less 1,281,000 of the classifier and 412,160 of its convolution.
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 2_958_848


def test_levels_halve_from_a_quarter_of_the_image() -> None:
    backbone = EfficientNetLite0().eval()
    levels = backbone(torch.zeros(1, 3, 96, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (channels, side, side)
        for channels, side in zip(backbone.level_channels, (24, 12, 6, 3), strict=True)
    ]


def test_a_halving_convolution_pads_an_even_image_after_its_last_row_as_tensorflow_does() -> None:
    stem = EfficientNetLite0()._conv_stem
    nn.init.ones_(stem.weight)
    sums = stem(torch.ones(1, 3, 8, 8))[0, 0]
    assert sums[0, 0] == 27, "the first window lies whole in the image"
    assert sums[-1, -1] == 12, "the last one has its last row and column outside"


def test_imagenet_weights_take_images_that_are_normalised_as_for_resnets(tmp_path: Path) -> None:
    state = imagenet_file(tmp_path / "lite0.pth")
    original, folded = EfficientNetLite0().eval(), EfficientNetLite0().eval()
    original.load_state_dict({k: v for k, v in state.items() if k in original.state_dict()})
    load_backbone(folded, tmp_path / "lite0.pth")
    pixels = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        ours = folded._bn0(folded._conv_stem((pixels - mean) / deviation))
        theirs = original._bn0(original._conv_stem(2 * pixels - 1))
    torch.testing.assert_close(ours[..., :-1, :-1], theirs[..., :-1, :-1], atol=1e-4, rtol=1e-4)


def test_a_resnets_weights_are_refused(tmp_path: Path) -> None:
    torch.save(build_backbone("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError):
        load_backbone(EfficientNetLite0(), tmp_path / "resnet18.pth")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_frozen_levels_keep_weights_and_statistics(name) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(PoseNetworkConfig(backbone=name, crop_px=64, volume_cells=16))
    freeze_levels(network.backbone, 2)
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    frozen = {
        f"{path}.{inner}"
        for path, module in network.backbone.named_modules()
        if any(module is m for m in network.backbone.first_levels(2))
        for inner in module.state_dict()
    }
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    network(torch.randn(2, 3, 64, 64)).volume_BJDHW.square().mean().backward()
    optimiser.step()
    changed = {k for k, v in network.backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert frozen
    assert not changed & frozen
    assert changed


def test_depthwise_gradients_are_the_same_with_and_without_autocast_off() -> None:
    torch.manual_seed(0)
    block = EfficientNetLite0()._blocks[1]
    x = torch.randn(2, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        trained = block(x)
        with torch.no_grad():
            predicted = block(x)
    assert (trained.float() - predicted.float()).abs().max() < 0.1
