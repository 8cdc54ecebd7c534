"""Optimiser and learning-rate schedule: AdamW, or Muon for convolutions and AdamW for the rest."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from hemlets.training.config import TrainingConfig

_EDGES: Final = ("backbone.conv1.weight", "backbone._conv_stem.weight", "_head.weight")
"""Suffixes of the names of the first convolutions and the output heads."""


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Compute a step's rate: linear warm-up, then a cosine decay to ``final_rate`` of the peak."""
    warmup = config.warmup * config.steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(config.steps - warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


class StageOptimiser:
    """Optimiser of all trainable parameters of a network.

    Muon (Jordan et al. 2024) orthogonalises the momentum of a weight matrix and learns faster per
    sample than AdamW from random weights. Convolutions are matrices of their first dimension by the
    rest. As its authors advise, the first convolution, output heads, linear layers, norms and
    biases use AdamW. So do depthwise convolutions, which are no matrices, and a backbone with its
    own rate.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        matrices: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        backbone: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            edge = name.endswith(_EDGES)
            depthwise = parameter.ndim == 4 and parameter.shape[1] == 1
            if config.backbone_rate != 1 and "backbone." in name:
                backbone.append(parameter)
            elif config.optimiser == "muon" and parameter.ndim == 4 and not edge and not depthwise:
                matrices.append(parameter)
            elif parameter.ndim > 1:
                decayed.append(parameter)
            else:
                plain.append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": plain, "weight_decay": 0.0},
        ]
        groups += [{"params": backbone, "weight_decay": 0.0}] if backbone else []
        for group in groups:
            group["factor"] = 1.0
        if backbone:
            groups[-1]["factor"] = config.backbone_rate
        self._adamw = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._pairs = [(p, nn.Parameter(_matrix(p.data))) for p in matrices]
        self._muon = (
            torch.optim.Muon(
                [flat for _, flat in self._pairs],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            if self._pairs
            else None
        )

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for optimiser in self._all:
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("factor", 1.0)

    def step(self) -> None:
        """Update the parameters and clear their gradients."""
        for parameter, flat in self._pairs:
            assert parameter.grad is not None
            flat.grad = _matrix(parameter.grad)
        for optimiser in self._all:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        for parameter, _ in self._pairs:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        muon = None if self._muon is None else self._muon.state_dict()
        return {"adamw": self._adamw.state_dict(), "muon": muon}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._adamw.load_state_dict(state["adamw"])
        if self._muon is not None:
            self._muon.load_state_dict(state["muon"])

    @property
    def _all(self) -> list[torch.optim.Optimizer]:
        return [self._adamw] if self._muon is None else [self._adamw, self._muon]


def _matrix(weight: Tensor) -> Tensor:
    """View a convolution's weight as a matrix over the same memory."""
    if not weight.is_contiguous():
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(weight.shape[0], -1)
