"""Weights for one crop size, used with another."""

from __future__ import annotations

import pytest
import torch

from hemlets.core.errors import ConfigError
from hemlets.models import HemletsPosh, PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.resize import fitted, resized

SMALL = PoseNetworkConfig(crop_px=64, volume_cells=16, branch_channels=16, fusion_channels=32)
SHAPE = ShapeNetworkConfig(hidden=32, blocks=0)


def test_the_state_fits_the_resized_network_and_only_the_volume_changes() -> None:
    torch.manual_seed(0)
    state = HemletsPosh(SMALL, SHAPE).state_dict()
    large = resized(SMALL, 96)
    assert (large.crop_px, large.volume_cells) == (96, 24)
    carried = fitted(state, large)
    HemletsPosh(large, SHAPE).load_state_dict(carried)
    changed = {name for name in state if carried[name].shape != state[name].shape}
    assert changed == {"pose.volume_head.weight", "pose.volume_head.bias"}


def test_a_depth_stays_where_it_was() -> None:
    # A bias that rises evenly with depth, 1 a metre, as 16 and as 32 cells over ±1 m.
    centres = {cells: (torch.arange(cells) + 0.5) * 2 / cells - 1 for cells in (16, 32)}
    state = {"volume_head.bias": centres[16].repeat(18)}
    carried = fitted(state, resized(SMALL, 128))["volume_head.bias"].reshape(18, 32)
    # Beyond the outermost old centres there is nothing to interpolate.
    torch.testing.assert_close(carried[:, 1:-1], centres[32][1:-1].expand(18, -1))


def test_the_same_size_changes_nothing() -> None:
    state = HemletsPosh(SMALL, SHAPE).state_dict()
    assert all(torch.equal(fitted(state, SMALL)[name], state[name]) for name in state)


def test_a_refinement_with_context_fits_with_its_positions_and_depths_where_they_were() -> None:
    torch.manual_seed(0)
    config = PoseNetworkConfig.from_mapping(
        SMALL.model_dump()
        | {"backbone": "movenet_thunder", "keypoints": True, "refinement_layers": 1,
           "refinement_context": True}
    )  # fmt: skip
    state = HemletsPosh(config, SHAPE).state_dict()
    state["pose.refinement.place_CHW"] = torch.tensor([0.0, 1.0]).expand(256, 2, 2)
    state["pose.refinement.depth.weight"] = torch.arange(16.0).expand(256, 16)
    large = resized(config, 128)
    carried = fitted(state, large)
    HemletsPosh(large, SHAPE).load_state_dict(carried)
    across = torch.tensor([0.0, 0.25, 0.75, 1.0]).expand(256, 4, 4)
    torch.testing.assert_close(carried["pose.refinement.place_CHW"], across)
    inner = carried["pose.refinement.depth.weight"][0, 1:-1]
    torch.testing.assert_close(inner, torch.arange(0.25, 15, 0.5))


def test_a_side_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        resized(SMALL, 100)
