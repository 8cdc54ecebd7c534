"""Transformer layers over the tokens of a map or of a body's joints (Vaswani et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

_HEAD_CHANNELS = 32


class AttentionLayer(nn.Module):
    """Pre-norm transformer layer: self-attention and a perceptron with residual connections."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // _HEAD_CHANNELS
        self.attention_norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.mixed = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Tokens (B, N, C) to tokens."""
        projected = self.query_key_value(self.attention_norm(x_BNC))
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x_BNC = x_BNC + self.mixed(mixed.transpose(1, 2).flatten(2))
        y: Tensor = x_BNC + self.perceptron(x_BNC)
        return y
