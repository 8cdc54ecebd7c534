"""Square crops: a similarity (and mirror) between image and crop coordinates.

Coordinates are continuous with pixel centres at +0.5; OpenCV's warps put centres at integers,
which is converted here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hemlets.core.arrays import Float, Floating, Image
from hemlets.core.errors import InputError

CONTEXT = 1.2
"""Side of the crop over the longer side of the person's box."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square window of an image, rotated, scaled and optionally mirrored.

    Attributes:
        centre_px: Centre in the image.
        side_px: Side in image pixels.
        size_px: Side in crop pixels.
        angle_rad: Rotation of the image content, clockwise as seen (y points down).
        flip: Mirrored left to right.
    """

    centre_px: tuple[float, float]
    side_px: float
    size_px: int
    angle_rad: float = 0.0
    flip: bool = False

    @property
    def matrix_23(self) -> Float:
        """Affine map from image to crop coordinates."""
        scale = self.size_px / self.side_px
        cos, sin = np.cos(self.angle_rad) * scale, np.sin(self.angle_rad) * scale
        linear = np.array([[cos, -sin], [sin, cos]])
        if self.flip:
            linear = np.diag([-1.0, 1.0]) @ linear
        offset = self.size_px / 2 - linear @ np.asarray(self.centre_px, float)
        return np.concatenate([linear, offset[:, None]], 1)

    def to_crop(self, points_px: Floating) -> Floating:
        """Convert image points (..., 2) to crop pixels."""
        matrix = self.matrix_23
        mapped: Floating = points_px @ matrix[:, :2].T + matrix[:, 2]
        return mapped

    def to_image(self, points_px: Floating) -> Floating:
        """Convert crop points (..., 2) to image pixels."""
        matrix = self.matrix_23
        inverse = np.linalg.inv(matrix[:, :2])
        mapped: Floating = (points_px - matrix[:, 2]) @ inverse.T
        return mapped

    def extract(self, image_HW3: Image) -> Image:
        """Sample the crop (size, size, 3); black outside the image."""
        import cv2

        matrix = self.matrix_23
        # From centres at +0.5 to centres at integers on both sides.
        matrix = np.concatenate([matrix[:, :2], matrix @ [[0.5], [0.5], [1.0]] - 0.5], 1)
        source = image_HW3
        shrink = self.side_px / self.size_px
        if shrink > 2:
            # Bilinear sampling alone would alias: average down by a whole factor first.
            factor = int(shrink)
            height, width = source.shape[0] // factor, source.shape[1] // factor
            if height and width:
                cut = source[: height * factor, : width * factor]
                source = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
                # Centre i of the small image lies at factor·i + (factor − 1)/2 of the large one.
                middle = (factor - 1) / 2
                offset = matrix @ [[middle], [middle], [1.0]]
                matrix = np.concatenate([matrix[:, :2] * factor, offset], 1)
        size = (self.size_px, self.size_px)
        crop = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR)
        return np.asarray(crop, np.uint8)


def square_crop(box_xyxy: Floating | tuple[float, float, float, float], size_px: int) -> Crop:
    """Return the unaugmented square crop around a box, with some context.

    Raises:
        InputError: The box is not finite or has no area.
    """
    left, top, right, bottom = (float(v) for v in box_xyxy)
    if not np.all(np.isfinite([left, top, right, bottom])) or right <= left or bottom <= top:
        raise InputError(
            f"the box [{left:g}, {top:g}, {right:g}, {bottom:g}] has no area",
            where="box",
            expected="left < right and top < bottom in pixels",
        )
    return Crop(
        centre_px=((left + right) / 2, (top + bottom) / 2),
        side_px=CONTEXT * max(right - left, bottom - top),
        size_px=size_px,
    )
