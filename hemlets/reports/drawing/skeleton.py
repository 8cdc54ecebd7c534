"""Draw a 2D skeleton on an image: orange is the person's right, blue the left.

The colours are distinguishable with the common kinds of colour blindness.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import N_JOINTS
from hemlets.reports.drawing.bones import BONES, SHIFT, draw_bones, fixed_point

Image = npt.NDArray[np.uint8]

_FAINTEST: Final = 0.25
UNSEEN: Final = 0.2
"""Confidence below which a joint is a guess: it is drawn thin."""


def line_width(size: tuple[int, int]) -> int:
    """Return a legible thickness of bones for an image's size, pixels."""
    return max(2, round(max(size) / 350))


def seen_in(
    size: tuple[int, int],
    joints_px: npt.NDArray[np.floating[Any]],
    confidence: npt.NDArray[np.floating[Any]],
) -> npt.NDArray[np.float64]:
    """Return the confidence (18,) with 0 for joints (18, 2) outside of an image (width, height)."""
    outside = ((joints_px < 0) | (joints_px > size)).any(-1)
    return np.where(outside, 0.0, np.asarray(confidence, np.float64))


def draw_skeleton(
    image_HW3: Image,
    joints_px: npt.NDArray[np.floating[Any]],
    *,
    confidence: npt.NDArray[np.floating[Any]] | None = None,
    thickness: int | None = None,
) -> None:
    """Draw a skeleton into an image, in place.

    Args:
        image_HW3: RGB.
        joints_px: (18, 2), pixel centres at +0.5; non-finite joints and their bones are left out.
        confidence: (18,) in 0–1, the opacity of joints and bones above a minimum, which are half as
            thick below `UNSEEN`; non-finite is 1.
        thickness: Thickness of a bone, pixels; by default from the image's size.
    """
    known = np.isfinite(joints_px).all(-1)
    points = np.where(known[:, None], joints_px, 0.0)
    width = line_width((image_HW3.shape[1], image_HW3.shape[0])) if thickness is None else thickness
    if confidence is None:
        draw_bones(image_HW3, points, known, thickness=width)
        return
    sure = np.clip(np.where(np.isfinite(confidence), confidence, 1.0), 0.0, 1.0)
    strengths = _FAINTEST + (1.0 - _FAINTEST) * sure
    opacity = _opacity(image_HW3.shape[:2], points, known, strengths, width)
    left, top, wide, high = cv2.boundingRect(opacity)
    before = image_HW3.copy()
    draw_bones(image_HW3, points, known, thickness=width, unseen=sure < UNSEEN)
    here = slice(top, top + high), slice(left, left + wide)
    if not wide:
        return
    weight = cv2.merge([opacity[here]] * 3)
    shown = cv2.multiply(image_HW3[here], weight, scale=1 / 255)
    background = cv2.multiply(before[here], cv2.bitwise_not(weight), scale=1 / 255)
    image_HW3[here] = cv2.add(shown, background)


def _opacity(
    shape: tuple[int, ...],
    points_px: npt.NDArray[np.floating[Any]],
    known: npt.NDArray[np.bool_],
    strengths: npt.NDArray[np.float64],
    width: int,
) -> Image:
    """Compute opacity 0–255 of the pixels that the skeleton touches; clearest bone on top."""
    opacity: Image = np.zeros(shape, np.uint8)
    fixed = [fixed_point(point) for point in points_px]
    ends = [(int(a), int(b)) for a, b in BONES if known[a] and known[b]]
    for parent, child in sorted(ends, key=lambda bone: strengths[list(bone)].min()):
        value = round(255 * float(strengths[[parent, child]].min()))
        cv2.line(
            opacity, fixed[parent], fixed[child], value, width + 6, cv2.LINE_8,
            SHIFT,
        )  # fmt: skip
    for joint in sorted(range(N_JOINTS), key=lambda joint: strengths[joint]):
        if known[joint]:
            value = round(255 * float(strengths[joint]))
            cv2.circle(
                opacity, fixed[joint], (width + 4) << SHIFT, value, cv2.FILLED,
                cv2.LINE_8, SHIFT,
            )  # fmt: skip
    return opacity
