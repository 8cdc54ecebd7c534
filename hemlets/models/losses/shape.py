"""Losses of the shape stage. Each returns the sum over the batch."""

from __future__ import annotations

from torch import Tensor


def rotation_loss(predicted_BR33: Tensor, target_BR33: Tensor, known_B: Tensor) -> Tensor:
    """L_θ = Σ‖R − R̂‖ over the 24 rotations, Frobenius norm, equation (9)."""
    squared_BR = ((predicted_BR33 - target_BR33) ** 2).sum((-1, -2))
    # The norm's gradient is infinite at zero; the offset is far below any real error.
    return ((squared_BR + 1e-12).sqrt().sum(-1) * known_B).sum()


def betas_loss(predicted_BS: Tensor, target_BS: Tensor, known_B: Tensor) -> Tensor:
    """L_β = Σ|β − β̂|, equation (10)."""
    return ((predicted_BS - target_BS).abs().sum(-1) * known_B).sum()
