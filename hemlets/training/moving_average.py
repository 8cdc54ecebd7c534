"""Exponential moving average of a network's weights, which is evaluated and saved."""

from __future__ import annotations

import torch
from torch import nn


class ExponentialMovingAverage:
    """Moving average of parameters and buffers; its memory is shorter in early steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                theirs.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, weight)
