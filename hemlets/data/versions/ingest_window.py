"""Choose the stored window around a person, and convert the row's coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array, Floating, Image
from hemlets.core.errors import DataError
from hemlets.data.versions.ingest_config import IngestConfig

TRAINING_CONTEXT: Final = 1.2
"""Side of the square crop in training, relative to the longer side of the person's box."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Window of a source image; stored coordinates are exactly ``scale · (source − (left, top))``.

    Attributes:
        left: First column of the source image.
        top: First row.
        right: Column after the last one.
        bottom: Row after the last one.
        scale: Stored pixels per source pixel, at most 1.
    """

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in stored pixels."""
        width, height = self.right - self.left, self.bottom - self.top
        return max(1, int(width * self.scale + 1e-6)), max(1, int(height * self.scale + 1e-6))

    def holds_all_of(self, image_HW3: Image) -> bool:
        """Return whether the window stores the whole image unscaled."""
        height, width = image_HW3.shape[:2]
        whole = (self.left, self.top, self.right, self.bottom) == (0, 0, width, height)
        return whole and self.scale == 1.0

    def cut(self, image: Array) -> Array:
        """Cut the window out of an image (H, W) or (H, W, 3), scaled without aliasing."""
        region = image[self.top : self.bottom, self.left : self.right]
        if self.scale == 1.0:
            return region
        import cv2

        shrink = 1.0 / self.scale
        factor = int(shrink)
        if factor > 1:
            height, width = region.shape[:2]
            region = cv2.copyMakeBorder(
                region, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE
            )
            small = region.shape[1] // factor, region.shape[0] // factor
            region = cv2.resize(region, small, interpolation=cv2.INTER_AREA)
        rest = shrink / factor
        if rest > 1.05:
            region = cv2.GaussianBlur(region, (0, 0), 0.5 * np.sqrt(rest**2 - 1.0))
        # OpenCV puts pixel centres at integers: (i + ½)·rest − ½.
        offset = 0.5 * rest - 0.5
        matrix = np.array([[rest, 0.0, offset], [0.0, rest, offset]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(region, matrix, self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        )


def window_of(box_xyxy: Floating, image_size: tuple[int, int], config: IngestConfig) -> Window:
    """Choose the window around a person's box (left, top, right, bottom), clipped to the image.

    Raises:
        DataError: The box is outside the image.
    """
    left, top, right, bottom = (float(v) for v in box_xyxy)
    width, height = image_size
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise DataError(
            f"the box [{left:g}, {top:g}, {right:g}, {bottom:g}] lies beside the image",
            where="box_xyxy",
            expected=f"a box in an image of {width}×{height} pixels",
            remedy="a box given as x, y, width, height becomes x, y, x + width, y + height",
        )
    longer = max(right - left, bottom - top)
    half = 0.5 * config.margin * longer
    x, y = (left + right) / 2, (top + bottom) / 2
    return Window(
        left=max(0, int(np.floor(x - half))),
        top=max(0, int(np.floor(y - half))),
        right=min(width, int(np.ceil(x + half))),
        bottom=min(height, int(np.ceil(y + half))),
        scale=min(1.0, config.crop_px / (TRAINING_CONTEXT * longer)),
    )


def to_stored(columns: Mapping[str, Any], windows: list[Window]) -> dict[str, Any]:
    """Convert columns from source pixels to pixels of the stored images.

    Boxes are clipped to the stored image; a joint outside it is truncated and not visible.
    """
    origin_N2 = np.array([(w.left, w.top) for w in windows], np.float64).reshape(-1, 2)
    scale_N1 = np.array([w.scale for w in windows], np.float64).reshape(-1, 1)
    size_N2 = np.array([w.size for w in windows], np.int32).reshape(-1, 2)

    box_N22 = np.asarray(columns["box_xyxy"], np.float64).reshape(-1, 2, 2)
    box_N22 = (box_N22 - origin_N2[:, None]) * scale_N1[:, None]
    box_N22 = np.clip(box_N22, 0.0, size_N2[:, None])
    points_NJ2 = np.asarray(columns["joints2d_px"], np.float64)
    points_NJ2 = (points_NJ2 - origin_N2[:, None]) * scale_N1[:, None]
    valid_NJ = np.asarray(columns["valid2d"], bool)
    inside_NJ = ((points_NJ2 >= 0) & (points_NJ2 < size_N2[:, None])).all(-1)
    camera_N4 = np.array(columns["camera"], np.float64)
    camera_N4[:, 2:] -= origin_N2
    camera_N4 *= scale_N1
    known_N1 = np.asarray(columns["camera_valid"], bool)[:, None]
    return dict(columns) | {
        "box_xyxy": box_N22.reshape(-1, 4).astype(np.float32),
        "joints2d_px": np.where(valid_NJ[..., None], points_NJ2, 0.0).astype(np.float32),
        "truncated": valid_NJ & ~inside_NJ,
        "visible": np.asarray(columns["visible"], bool) & inside_NJ & valid_NJ,
        "camera": np.where(known_N1, camera_N4, 0.0).astype(np.float32),
        "head_px": (np.asarray(columns["head_px"], np.float64) * scale_N1[:, 0]).astype(np.float32),
        "image_width": size_N2[:, 0],
        "image_height": size_N2[:, 1],
        "stored_from_source": np.concatenate([origin_N2, scale_N1], 1).astype(np.float32),
    }
