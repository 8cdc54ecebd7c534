"""The moving average of weights: short memory at first, its decay later."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hemlets.training.moving_average import ExponentialMovingAverage


@pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (10, 11 / 20), (90, 0.91), (10_000, 0.99)])
def test_the_memory_grows_to_the_decay(step: int, kept: float) -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = ExponentialMovingAverage(network, 0.99)
    nn.init.ones_(network.weight)
    average.update(network, step)
    # Of the zeros before, this share is left.
    assert average.state["weight"].item() == pytest.approx(1 - kept)


def test_counters_are_copied_not_averaged() -> None:
    norm = nn.BatchNorm1d(2)
    average = ExponentialMovingAverage(norm, 0.5)
    norm(torch.randn(8, 2))
    average.update(norm, 100)
    assert average.state["num_batches_tracked"].item() == 1
    torch.testing.assert_close(average.state["running_mean"], norm.running_mean / 2)
