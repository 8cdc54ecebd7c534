"""The form for inference: faster, and the same but for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hemlets.models import (
    HemletsPosh,
    PoseNetwork,
    PoseNetworkConfig,
    PoshOutput,
    ShapeNetworkConfig,
)
from hemlets.models.fused import FusedModel, can_prepare
from hemlets.models.packed import PackedConvolution, PackedUpsampling

REFINED: dict[str, object] = {
    "backbone": "movenet_thunder",
    "crop_px": 128,
    "lateral": True,
    "keypoints": True,
    "quarter_level": True,
    "refinement_layers": 2,
}
FORMS: dict[str, dict[str, object]] = {
    "resnet18": {},
    "resnet50": {"backbone": "resnet50"},
    "efficientnet_lite0, laterals": {"backbone": "efficientnet_lite0", "lateral": True},
    "no intermediate branch": {"intermediate": "none"},
    "five states": {"states": 5},
    "movenet_thunder, keypoints": {
        "backbone": "movenet_thunder",
        "lateral": True,
        "keypoints": True,
        "depth_cells": 32,
    },
    "movenet_thunder, quarter level, refinement": REFINED,
    "movenet_thunder, quarter level, refinement with context": REFINED
    | {"refinement_context": True},
}
SIZE = {"crop_px": 64, "volume_cells": 16, "branch_channels": 16, "fusion_channels": 32}
MM_A_VOXEL = 2000 / 16


def _trained(**changes: object) -> HemletsPosh:
    """A model whose statistics, scales and shifts are none of them trivial."""
    torch.manual_seed(0)
    config = PoseNetworkConfig.from_mapping(SIZE | changes)
    model = HemletsPosh(config, ShapeNetworkConfig(hidden=32, blocks=1)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    nn.init.normal_(model.pose.volume_head.weight, std=0.1)
    if model.pose.refinement is not None:
        nn.init.normal_(model.pose.refinement.correction.weight, std=0.1)
    return model


def _crops(count: int, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def _answer(model: nn.Module, crops: Tensor) -> PoshOutput:
    output: PoshOutput = model(crops)
    return output


def _apart_mm(one: PoshOutput, other: PoshOutput) -> float:
    return MM_A_VOXEL * float((one.decoded.voxel_BJ3 - other.decoded.voxel_BJ3).abs().max())


@pytest.mark.parametrize("name", FORMS)
def test_in_float32_it_says_what_the_model_says(name: str) -> None:
    model = _trained(**FORMS[name])
    prepared, plain = (_answer(m, _crops(2)) for m in (FusedModel(model), model))
    assert _apart_mm(prepared, plain) < 0.05
    torch.testing.assert_close(prepared.shape, plain.shape, atol=1e-4, rtol=0)
    for maps in ("heatmap_BJHW", "triplet_BKLHW"):
        torch.testing.assert_close(
            getattr(prepared.pose, maps), getattr(plain.pose, maps), atol=1e-4, rtol=1e-3
        )


@pytest.mark.skipif(not can_prepare("bfloat16"), reason="no bfloat16 arithmetic here")
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0, laterals"])
def test_in_bfloat16_it_is_about_as_exact_as_autocast(name: str) -> None:
    model = _trained(**FORMS[name])
    exact = _answer(model, _crops(2))
    with torch.autocast("cpu", torch.bfloat16):
        cast = _answer(model, _crops(2))
    prepared = _answer(FusedModel(model, "bfloat16"), _crops(2))
    assert 0 < _apart_mm(prepared, exact) < max(3 * _apart_mm(cast, exact), 2.0)
    assert prepared.decoded.voxel_BJ3.dtype == prepared.shape.betas_BS.dtype == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_crop_and_eight_are_answered_alike(precision: str) -> None:
    if precision == "bfloat16" and not can_prepare("bfloat16"):
        pytest.skip("no bfloat16 arithmetic here")
    form = FusedModel(_trained(), "float32" if precision == "float32" else "bfloat16")
    together = _answer(form, _crops(8))
    for index, crop in enumerate(_crops(8)):
        alone = _answer(form, crop[None])
        apart = alone.decoded.voxel_BJ3[0] - together.decoded.voxel_BJ3[index]
        assert float(apart.abs().max()) * MM_A_VOXEL < (0.05 if precision == "float32" else 2.0)


def test_crops_may_be_larger_than_those_it_was_prepared_for() -> None:
    model = _trained()
    crops = _crops(1, side=96)
    assert _apart_mm(_answer(FusedModel(model), crops), _answer(model, crops)) < 0.05


def test_the_model_stays_as_it_was() -> None:
    model = _trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    FusedModel(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_left_to_normalise_or_to_activate_apart(name: str) -> None:
    left = {type(m) for m in FusedModel(_trained(**FORMS[name])).pose.modules()}
    assert PackedConvolution in left
    # MoveNet's levels are normalised before convolutions whose padding a shift would change.
    allowed = {nn.BatchNorm2d} if name.startswith("movenet") else set()
    assert not left & {nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU} - allowed


@pytest.mark.parametrize("side", [(4, 4), (3, 5)])
def test_upsampling_is_the_transposed_convolution(side: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(2)
    x, weight = torch.randn(2, 6, *side, generator=draw), torch.randn(6, 8, 4, 4, generator=draw)
    bias = torch.randn(8, generator=draw)
    up = PackedUpsampling(weight, bias, input_shape=(1, 6, 4, 4), activation="relu")
    slow = nn.functional.conv_transpose2d(x.double(), weight.double(), bias.double(), 2, 1).relu()
    with torch.inference_mode():
        torch.testing.assert_close(up(x).double(), slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "efficientnet_lite0"])
def test_recorded_shapes_are_those_of_a_real_run(backbone: str) -> None:
    from torch import fx

    from hemlets.models import fused

    class Run(fx.Interpreter):
        def run_node(self, node: fx.Node) -> object:
            value = super().run_node(node)
            if isinstance(value, torch.Tensor):
                assert node.meta["shape"] == list(value.shape), node
            return value

    sizes = {"crop_px": 64, "volume_cells": 16, "branch_channels": 16, "fusion_channels": 16}
    network = PoseNetwork(PoseNetworkConfig.from_mapping({"backbone": backbone} | sizes)).eval()
    traced = fx.GraphModule(network, fused._Tracer().trace(network))
    image = torch.zeros(1, 3, 64, 96)
    fused._ShapeRecorder(traced).run(image)
    Run(traced).run(image)
