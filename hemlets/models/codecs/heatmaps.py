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


def decode_heatmaps(heatmap_BJHW: Tensor) -> tuple[Tensor, Tensor]:
    """Decode position and height of each heatmap's peak.

    Returns:
        Points (B, J, 2) at cell centres moved a quarter cell towards the higher neighbour, as
        is customary, and peaks (B, J).
    """
    height, width = heatmap_BJHW.shape[-2:]
    flat = heatmap_BJHW.float().flatten(2)
    peak_BJ, index_BJ = flat.max(-1)
    x, y = index_BJ % width, index_BJ // width

    def at(column: Tensor, row: Tensor) -> Tensor:
        clamped = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        return flat.gather(-1, clamped[..., None])[..., 0]

    dx = torch.sign(at(x + 1, y) - at(x - 1, y))
    dy = torch.sign(at(x, y + 1) - at(x, y - 1))
    points = torch.stack([x + 0.5 + 0.25 * dx, y + 0.5 + 0.25 * dy], -1)
    return points, peak_BJ
