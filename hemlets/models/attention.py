"""Transformer layers over the tokens of a map or of a body's joints (Vaswani et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn


class AttentionLayer(nn.Module):
    """Pre-norm transformer layer: self-attention and a perceptron with residual connections.

    Args:
        channels: Channels of the tokens.
        head_channels: Channels of each attention head.
        widening: Hidden channels of the perceptron, relative to its input.
    """

    def __init__(self, channels: int, *, head_channels: int = 32, widening: int = 4) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.attention_norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.mixed = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, widening * channels),
            nn.GELU(),
            nn.Linear(widening * channels, channels),
        )

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Tokens (B, N, C) to tokens."""
        projected = self.query_key_value(self.attention_norm(x_BNC))
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Written out: the backward pass of torch's fused attention is five times slower on CPUs.
        weights = (query * query.shape[-1] ** -0.5 @ key.mT).softmax(-1)
        mixed = weights.to(value.dtype) @ value
        x_BNC = x_BNC + self.mixed(mixed.transpose(1, 2).flatten(2))
        y: Tensor = x_BNC + self.perceptron(x_BNC)
        return y
