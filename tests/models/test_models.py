"""Networks: sizes to the digit, torchvision's names, and the facts that others build on."""

from __future__ import annotations

import pytest
import torch

from hemlets.core.skeleton import Joint
from hemlets.models import HemletsPosh, PoseNetwork, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.backbones import BackboneName, ResNet
from hemlets.models.codecs import VolumeSpec, expectation, marginals
from hemlets.models.posh import nominal_metres
from hemlets.models.shape import ShapeNetwork

TINY = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)


def _paper(**changes: str) -> PoseNetwork:
    values = {
        "backbone": "resnet50", "crop_px": 256, "volume_cells": 64,
        "branch_channels": 256, "fusion_channels": 512,
    }  # fmt: skip
    with torch.device("meta"):
        return PoseNetwork(PoseNetworkConfig.from_mapping(values | changes))


def _parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_full_network_has_the_papers_size() -> None:
    assert _parameters(_paper()) == 47_710_972  # the paper prints 47.7 M


def test_the_network_without_the_intermediate_branch_has_the_papers_size() -> None:
    assert _parameters(_paper(intermediate="none")) == 34_291_392  # the paper prints 34.3 M


@pytest.mark.parametrize(("states", "maps"), [(2, 60), (3, 60), (5, 88)])
def test_the_variants_differ_in_their_maps_alone(states: int, maps: int) -> None:
    with torch.device("meta"):
        network = PoseNetwork(PoseNetworkConfig.from_mapping({"states": states}))
        plain = PoseNetwork(PoseNetworkConfig())
    assert network.heatmap_head.out_channels == maps
    differing = {
        name
        for name, value in network.state_dict().items()
        if value.shape != plain.state_dict()[name].shape
    }
    at_maps = {"heatmap_head.weight", "heatmap_head.bias", "heatmap_encoder.0.weight"}
    assert differing == (at_maps if states == 5 else set())


def _expected_resnet(name: BackboneName) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's ResNet without its classifier, by its rule."""
    bottleneck = name == "resnet50"
    depths = (3, 4, 6, 3) if bottleneck else (2, 2, 2, 2)
    expansion = 4 if bottleneck else 1
    shapes: dict[str, tuple[int, ...]] = {}

    def add_norm(prefix: str, channels: int) -> None:
        for field in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}.{field}"] = (channels,)
        shapes[f"{prefix}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    add_norm("bn1", 64)
    channels_in = 64
    for layer, depth in enumerate(depths, 1):
        width = 64 * 2 ** (layer - 1)
        out = width * expansion
        for block in range(depth):
            prefix = f"layer{layer}.{block}"
            chain = [(width, channels_in, 1), (width, width, 3), (out, width, 1)]
            if not bottleneck:
                chain = [(width, channels_in, 3), (width, width, 3)]
            for number, (channels, before, kernel) in enumerate(chain, 1):
                shapes[f"{prefix}.conv{number}.weight"] = (channels, before, kernel, kernel)
                add_norm(f"{prefix}.bn{number}", channels)
            if block == 0 and (layer > 1 or bottleneck):
                shapes[f"{prefix}.downsample.0.weight"] = (out, channels_in, 1, 1)
                add_norm(f"{prefix}.downsample.1", out)
            channels_in = out
    return shapes


@pytest.mark.parametrize(("name", "entries"), [("resnet18", 120), ("resnet50", 318)])
def test_the_backbone_has_torchvisions_names_and_shapes(name: BackboneName, entries: int) -> None:
    with torch.device("meta"):
        found = {k: tuple(v.shape) for k, v in ResNet(name).state_dict().items()}
    assert found == _expected_resnet(name)
    assert len(found) == entries  # torchvision's 122 and 320 less fc.weight and fc.bias


def test_the_downsampling_stride_sits_where_torchvision_has_it() -> None:
    with torch.device("meta"):
        network = ResNet("resnet50")
    modules = dict(network.named_modules())
    strides = [modules[f"layer2.0.{name}"].stride for name in ("conv1", "conv2", "downsample.0")]
    assert strides == [(1, 1), (2, 2), (2, 2)]


@pytest.mark.parametrize("intermediate", ["hemlets", "none"])
def test_maps_are_a_quarter_of_the_crop(intermediate: str) -> None:
    network = PoseNetwork(TINY.model_copy(update={"intermediate": intermediate})).eval()
    output = network(torch.zeros(2, 3, 64, 64))
    assert output.volume_BJDHW.shape == (2, 18, 16, 16, 16)
    assert output.feature_BC.shape == (2, 512)
    if intermediate == "none":
        assert output.heatmap_BJHW is None
        assert output.triplet_BKLHW is None
    else:
        assert output.heatmap_BJHW is not None
        assert output.heatmap_BJHW.shape == (2, 18, 16, 16)
        assert output.triplet_BKLHW is not None
        assert output.triplet_BKLHW.shape == (2, 14, 3, 16, 16)


def test_target_gaussians_are_two_cells_wide_at_64() -> None:
    assert _paper().config.sigma_cells == 2.0
    assert TINY.sigma_cells == 0.5


def test_under_bfloat16_the_decoding_runs_in_float32() -> None:
    torch.manual_seed(0)
    model = HemletsPosh(TINY, ShapeNetworkConfig(hidden=32, blocks=1)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(2, 3, 64, 64))
    assert output.pose.volume_BJDHW.dtype == torch.bfloat16
    assert output.decoded.voxel_BJ3.dtype == torch.float32
    assert output.shape.rotation_BR33.dtype == torch.float32
    exact = expectation(marginals(output.pose.volume_BJDHW.double()))
    torch.testing.assert_close(output.decoded.voxel_BJ3.double(), exact, atol=1e-4, rtol=0)


def _tiny_model() -> tuple[HemletsPosh, torch.Tensor]:
    torch.manual_seed(0)
    model = HemletsPosh(TINY, ShapeNetworkConfig(hidden=32, blocks=1)).eval()
    with torch.no_grad():
        model.pose.heatmap_head.weight.mul_(1000)
    return model, torch.randn(2, 3, 64, 64)


def test_the_bodys_loss_teaches_the_pose_network_through_the_joints() -> None:
    model, image = _tiny_model()
    model(image).shape.rotation_BR33.square().sum(0).sin().sum().backward()
    # The features reach the shape network past the volume: its head learns by the joints alone.
    gradient = model.pose.volume_head.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_the_joints_loss_teaches_heatmaps_and_hemlets_through_the_volume() -> None:
    model, image = _tiny_model()
    model(image).decoded.voxel_BJ3.square().sum().backward()
    gradient = model.pose.heatmap_head.weight.grad
    assert gradient is not None
    by_map = gradient.abs().amax((1, 2, 3))
    assert len(by_map) == 14 * 3 + 18
    assert (by_map > 0).all()


@pytest.mark.parametrize("maps", [slice(0, 42), slice(42, 60)], ids=["hemlets", "heatmaps"])
def test_other_hemlets_or_heatmaps_give_another_volume(maps: slice) -> None:
    model, image = _tiny_model()
    with torch.no_grad():
        before = model(image).pose
        model.pose.heatmap_head.bias[maps] += 1.0
        after = model(image).pose
    assert (after.volume_BJDHW - before.volume_BJDHW).abs().max() > 1e-4


def test_an_untrained_shape_network_stands_near_the_rest_pose() -> None:
    torch.manual_seed(0)
    network = ShapeNetwork(ShapeNetworkConfig(), 64)
    shape = network(torch.randn(3, 18, 3), torch.randn(3, 64))
    assert (shape.rotation_BR33 - torch.eye(3)).abs().max() < 1
    assert shape.betas_BS.shape == (3, 10)


def test_predicted_rotations_are_rotations() -> None:
    torch.manual_seed(0)
    network = ShapeNetwork(ShapeNetworkConfig(hidden=32), 64)
    torch.nn.init.normal_(network.output.weight, std=1.0)
    rotation = network(torch.randn(3, 18, 3), torch.randn(3, 64)).rotation_BR33
    product = rotation @ rotation.mT
    torch.testing.assert_close(product, torch.eye(3).expand_as(product), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3, 24), atol=1e-5, rtol=0)


def test_nominal_metres_span_the_volume_and_start_at_the_pelvis() -> None:
    voxels = torch.rand(2, 18, 3) * 64
    voxels[:, Joint.PELVIS] = 10.0
    voxels[:, Joint.NOSE] = torch.tensor([10.0, 10.0, 42.0])
    metres = nominal_metres(voxels, VolumeSpec(crop_px=256, cells=64))
    assert not metres[:, Joint.PELVIS].any()
    torch.testing.assert_close(metres[0, Joint.NOSE], torch.tensor([0.0, 0.0, 1.0]))


def test_one_image_gives_what_it_gives_among_eight() -> None:
    torch.manual_seed(0)
    model = HemletsPosh(TINY, ShapeNetworkConfig(hidden=32, blocks=1)).eval()
    images = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        together, alone = (
            model(images).decoded.voxel_BJ3[3],
            model(images[3:4]).decoded.voxel_BJ3[0],
        )
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
