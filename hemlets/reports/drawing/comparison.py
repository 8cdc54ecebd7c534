"""Draw predicted and true skeletons as tiles, and sheets of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.reports.drawing.bones import (
    LEFT,
    MIDDLE,
    RIGHT,
    TRUTH,
    draw_bones,
    put_text,
    side_view,
)

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


def comparison_tile(
    image_HW3: Image,
    *,
    predicted_px: Array | None,
    true_px: Array,
    valid2d: Array,
    predicted_mm: Array,
    true_mm: Array,
    valid3d: Array,
    title: str,
    note: str,
    size: int = 256,
) -> Image:
    """Draw the image with both skeletons, and both from the side.

    The truth is thin and pale with open dots, the prediction bold; warm is the person's right, cool
    the left.

    Args:
        image_HW3: RGB.
        predicted_px: (18, 2) in the image; None if there are none.
        true_px: (18, 2) in the image.
        valid2d: (18,) joints with a known place in the image.
        predicted_mm: (18, 3) relative to the pelvis, camera frame.
        true_mm: The same of the truth.
        valid3d: (18,) joints with a known place in space.
        title: ASCII, written on the image.
        note: ASCII, written on the side view.
        size: Height of the tile, pixels; it is twice as wide.

    Returns:
        RGB (size, 2·size, 3).
    """
    height, width = image_HW3.shape[:2]
    factor = size / max(height, width)
    fitted = cv2.resize(
        image_HW3,
        (max(1, round(width * factor)), max(1, round(height * factor))),
        interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR,
    )
    left: Image = np.zeros((size, size, 3), np.uint8)
    left[: fitted.shape[0], : fitted.shape[1]] = fitted
    draw_bones(left, true_px * factor, valid2d, truth=True)
    if predicted_px is not None:
        draw_bones(left, predicted_px * factor)
    right = side_view(predicted_mm, true_mm, valid3d, size=size)
    put_text(left, title, (4, 14))
    put_text(right, note, (4, 14))
    return np.concatenate([left, right], axis=1)


def sheet(tiles: Sequence[Image], *, columns: int = 3) -> Image:
    """Arrange at least one tile of equal size in rows, above a legend of the colours."""
    across = min(columns, len(tiles))
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % across)]
    rows = [np.concatenate(filled[at : at + across], 1) for at in range(0, len(filled), across)]
    return np.concatenate([*rows, _legend(rows[0].shape[1])])


def _legend(width: int) -> Image:
    strip: Image = np.full((24, width, 3), 20, np.uint8)
    at = 6
    for text, colour in (
        ("bold: predicted", MIDDLE), ("thin: truth", TRUTH),
        ("person's right", RIGHT), ("person's left", LEFT),
    ):  # fmt: skip
        put_text(strip, text, (at, 16), colour=colour)
        at += 24 + 7 * len(text)
    return strip
