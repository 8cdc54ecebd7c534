"""Muon for convolutions, AdamW for the rest; both move the network's own memory."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from hemlets.models import PoseNetwork, PoseNetworkConfig
from hemlets.models.backbones import BackboneName
from hemlets.training.config import TrainingConfig
from hemlets.training.optimisers import StageOptimiser


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
        self.point = nn.Conv2d(8, 8, 1)
        self.volume_head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.volume_head(torch.relu(self.point(torch.relu(self.conv(x)))))
        return x


def _network(memory_format: torch.memory_format) -> Small:
    torch.manual_seed(0)
    network: Small = Small().to(memory_format=memory_format)  # type: ignore[call-overload]
    return network


def _steps(network: Small, optimiser: StageOptimiser, count: int) -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(count):
        torch.autograd.backward(network(x).square().sum())
        optimiser.step()


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_parameter_moves_and_the_loss_falls(
    name: Literal["adamw", "muon"], memory_format: Any
) -> None:
    network = _network(memory_format)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    first = float(network(x).square().sum().detach())
    _steps(network, StageOptimiser(network, TrainingConfig(steps=1, optimiser=name)), 5)
    assert float(network(x).square().sum().detach()) < first
    assert [k for k, v in network.state_dict().items() if torch.equal(v, before[k])] == []


def test_muons_step_pairs_each_weight_with_its_own_gradient() -> None:
    # Muon without momentum's history moves along the orthogonalised gradient, so the step and
    # the gradient agree in direction; columns in another order would not.
    network = _network(torch.channels_last)
    optimiser = StageOptimiser(network, TrainingConfig(steps=1, optimiser="muon", weight_decay=0.0))
    before = network.conv.weight.detach().clone()
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(network(x).square().sum())
    assert network.conv.weight.grad is not None
    gradient = network.conv.weight.grad.clone()
    optimiser.step()
    moved = (before - network.conv.weight.detach()).flatten()
    assert torch.nn.functional.cosine_similarity(moved, gradient.flatten(), dim=0) > 0.3


def test_the_two_optimisers_share_out_all_parameters() -> None:
    network = _network(torch.contiguous_format)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = StageOptimiser(network, TrainingConfig(steps=1, optimiser="muon"))
    optimiser.set_rate(0.0)
    _steps(network, optimiser, 1)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_restored_optimiser_goes_on_to_the_same_bits(name: Literal["adamw", "muon"]) -> None:
    config = TrainingConfig(steps=1, optimiser=name)
    whole = _network(torch.channels_last)
    _steps(whole, StageOptimiser(whole, config), 6)

    first = _network(torch.channels_last)
    before = StageOptimiser(first, config)
    _steps(first, before, 3)
    second = _network(torch.channels_last)
    after = StageOptimiser(second, config)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    _steps(second, after, 3)
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_backbone_with_a_rate_of_its_own_moves_by_that_share_and_never_by_muon() -> None:
    network = PoseNetwork(
        PoseNetworkConfig(backbone="efficientnet_lite0", crop_px=64, volume_cells=16)
    )
    config = TrainingConfig(steps=1, optimiser="muon", backbone_rate=0.25, weight_decay=0.0)
    optimiser = StageOptimiser(network, config)
    optimiser.set_rate(1e-2)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    # AdamW's first step is the rate, whatever the gradient's size.
    for name, parameter in network.named_parameters():
        step = (before[name] - parameter.detach()).abs().max().item()
        if name.startswith("backbone."):
            assert step == pytest.approx(0.25e-2, rel=1e-3), name


def test_depthwise_convolutions_are_no_matrices() -> None:
    network = PoseNetwork(
        PoseNetworkConfig(backbone="efficientnet_lite0", crop_px=64, volume_cells=16)
    )
    optimiser = StageOptimiser(network, TrainingConfig(steps=1, optimiser="muon"))
    assert all(parameter.shape[1] > 1 for parameter, _ in optimiser._pairs)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_no_backbones_first_convolution_is_muons(backbone: BackboneName) -> None:
    network = PoseNetwork(PoseNetworkConfig(backbone=backbone, crop_px=64, volume_cells=16))
    optimiser = StageOptimiser(network, TrainingConfig(steps=1, optimiser="muon"))
    # It alone sees the image's three channels.
    assert all(parameter.shape[1] != 3 for parameter, _ in optimiser._pairs)
