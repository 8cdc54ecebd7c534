"""Match the outline of a mask with points of the skin.

Each outline point attracts the skin point that projects nearest to it, and each skin point that
projects outside the outline is attracted to the nearest outline point. Matches are updated at each
step, as in iterative closest points.

Shape suffixes: B batch, S points of the skin, M matches, P parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Bool
from hemlets.core.errors import InputError

_OUTLINE_POINTS: Final = 120
_NEAREST_MM: Final = 200.0


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A mask and its outline.

    Attributes:
        points_M2_px: Evenly spaced points of the mask's outer outlines; none for an empty mask.
        mask_HW: The mask.
    """

    points_M2_px: Tensor
    mask_HW: Tensor

    def outside(self, pixels_S2: Tensor) -> Tensor:
        """Mark image points (S,) within the image but not on the mask."""
        height, width = self.mask_HW.shape
        column, row = pixels_S2.floor().long().unbind(-1)
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        on_mask = self.mask_HW[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return inside & ~on_mask


def outline_of(mask_HW: Bool, device: torch.device) -> Outline:
    """Extract a mask's outer outlines, without the parts on the image's border.

    Raises:
        InputError: Not a mask.
    """
    import cv2

    if mask_HW.ndim != 2 or not mask_HW.size:
        raise InputError(f"a mask of shape {mask_HW.shape}", where="masks", expected="(H, W)")
    height, width = mask_HW.shape
    lines, _ = cv2.findContours(
        np.ascontiguousarray(mask_HW, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    points = np.concatenate([np.empty((0, 2)), *(line.reshape(-1, 2) for line in lines)])
    points = points[((points > 0) & (points < np.array([width, height]) - 1)).all(-1)]
    count = min(_OUTLINE_POINTS, len(points))
    chosen = np.linspace(0, max(len(points) - 1, 0), count).round().astype(int)
    return Outline(
        points_M2_px=torch.as_tensor(points[chosen] + 0.5, device=device),
        mask_HW=torch.as_tensor(np.asarray(mask_HW, bool), device=device),
    )


def project(
    at_BN3: Tensor, camera_B4: Tensor, *, nearest_mm: float = _NEAREST_MM
) -> tuple[Tensor, Tensor]:
    """Project points: pixels (B, N, 2) and their derivative (B, N, 2, 3) by the points.

    Points nearer to the camera's plane than ``nearest_mm`` are projected from that distance.
    """
    x, y, z = at_BN3.unbind(-1)
    depth = z.clamp(min=nearest_mm)
    fx, fy, cx, cy = (camera_B4[:, i, None] for i in range(4))
    pixels = torch.stack([fx * x / depth + cx, fy * y / depth + cy], -1)
    zero = torch.zeros_like(x)
    rows = torch.stack(
        [
            torch.stack([fx / depth, zero, -fx * x / depth**2], -1),
            torch.stack([zero, fy / depth, -fy * y / depth**2], -1),
        ],
        -2,
    )
    return pixels, rows


@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """Matches between skin and outlines.

    Attributes:
        index_BM: Skin point of each match.
        target_BM2_px: Its target in the image.
        weight_BM: Root of each match's weight; a body's squares sum to 1, or 0 without outline.
        camera_B4: fx, fy, cx, cy.
    """

    index_BM: Tensor
    target_BM2_px: Tensor
    weight_BM: Tensor
    camera_B4: Tensor

    def chosen(self, values_BS: Tensor) -> Tensor:
        """Select values of the matched points (B, M, ...)."""
        return values_BS[torch.arange(len(values_BS))[:, None], self.index_BM]

    def residuals(self, skin_BS3: Tensor) -> tuple[Tensor, Tensor]:
        """Compute weighted differences (B, M, 2) in pixels, and their derivative by the points."""
        pixels, by_point = project(self.chosen(skin_BS3), self.camera_B4)
        weight = self.weight_BM[..., None]
        return weight * (pixels - self.target_BM2_px), weight[..., None] * by_point


def matches(skin_BS3: Tensor, camera_B4: Tensor, outlines: Sequence[Outline | None]) -> Silhouette:
    """Match the skin with the outlines at the present pose.

    Args:
        skin_BS3: Points of the skin in the camera frame, millimetres.
        camera_B4: fx, fy, cx, cy.
        outlines: Outline of each body's mask, or None.
    """
    pixels_BS2, _ = project(skin_BS3, camera_B4)
    found = [_match(pixels, outline) for pixels, outline in zip(pixels_BS2, outlines, strict=True)]
    size = max(len(index) for index, _ in found)
    index_BM = torch.zeros(len(found), size, dtype=torch.long, device=skin_BS3.device)
    target = skin_BS3.new_zeros(len(found), size, 2)
    weight = skin_BS3.new_zeros(len(found), size)
    for body, (index, points) in enumerate(found):
        index_BM[body, : len(index)] = index
        target[body, : len(index)] = points
        weight[body, : len(index)] = max(len(index), 1) ** -0.5
    return Silhouette(
        index_BM=index_BM, target_BM2_px=target, weight_BM=weight, camera_B4=camera_B4
    )


def _match(pixels_S2: Tensor, outline: Outline | None) -> tuple[Tensor, Tensor]:
    """Return indices of skin points, and their targets."""
    if outline is None or not len(outline.points_M2_px):
        return torch.zeros(0, dtype=torch.long, device=pixels_S2.device), pixels_S2[:0]
    points = outline.points_M2_px.to(pixels_S2)
    distance_MS = torch.cdist(points, pixels_S2)
    outside = outline.outside(pixels_S2).nonzero()[:, 0]
    back = points[distance_MS[:, outside].argmin(0)] if len(outside) else points[:0]
    return torch.cat([distance_MS.argmin(1), outside]), torch.cat([points, back])
