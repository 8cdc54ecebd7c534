"""Numerical precision of a training."""

from __future__ import annotations

import torch

from hemlets.core.errors import ConfigError


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Resolve ``precision`` to a torch type for a device."""
    if precision == "float32":
        return torch.float32
    has = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
    if precision == "bfloat16" and not has:
        raise ConfigError(
            "this processor has no bfloat16 arithmetic",
            where="training.precision",
            expected="'auto' or 'float32'",
        )
    return torch.bfloat16 if has else torch.float32
