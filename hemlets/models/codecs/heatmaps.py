"""Heatmaps of 2D joints: Gaussians with a peak of one (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def encode_heatmaps(points_BJ2: Tensor, size: int, sigma: float) -> Tensor:
    """Encode points as Gaussian heatmaps (B, J, size, size).

    Args:
        points_BJ2: x and y in heatmap cells, also outside the heatmap.
        size: Height and width in cells.
        sigma: Standard deviation in cells; the paper's 2 at 64×64.
    """
    centres_S = torch.arange(size, device=points_BJ2.device, dtype=torch.float32) + 0.5
    scale = -0.5 / sigma**2
    gx_BJW = torch.exp(scale * (centres_S - points_BJ2[..., 0:1].float()) ** 2)
    gy_BJH = torch.exp(scale * (centres_S - points_BJ2[..., 1:2].float()) ** 2)
    return gy_BJH[..., :, None] * gx_BJW[..., None, :]
