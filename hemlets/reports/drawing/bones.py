"""Draw skeletons: warm colours are the person's right, cool ones the left."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import JOINTS, Joint

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Colour = tuple[int, int, int]

RIGHT: Final[Colour] = (240, 110, 20)
LEFT: Final[Colour] = (0, 140, 255)
MIDDLE: Final[Colour] = (250, 215, 50)
TRUTH: Final[Colour] = (255, 255, 255)
_TRUE_RIGHT: Final[Colour] = (255, 205, 165)
_TRUE_LEFT: Final[Colour] = (165, 215, 255)
_OUTLINE: Final[Colour] = (20, 20, 20)
_PAPER: Final[Colour] = (38, 40, 46)

BONES: Final[tuple[tuple[Joint, Joint], ...]] = (
    (Joint.PELVIS, Joint.SPINE), (Joint.SPINE, Joint.THORAX), (Joint.THORAX, Joint.NECK),
    (Joint.NECK, Joint.NOSE), (Joint.NOSE, Joint.HEAD_TOP),
    (Joint.PELVIS, Joint.RIGHT_HIP), (Joint.RIGHT_HIP, Joint.RIGHT_KNEE),
    (Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE),
    (Joint.PELVIS, Joint.LEFT_HIP), (Joint.LEFT_HIP, Joint.LEFT_KNEE),
    (Joint.LEFT_KNEE, Joint.LEFT_ANKLE),
    (Joint.THORAX, Joint.LEFT_SHOULDER), (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW),
    (Joint.LEFT_ELBOW, Joint.LEFT_WRIST),
    (Joint.THORAX, Joint.RIGHT_SHOULDER), (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW),
    (Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST),
)  # fmt: skip
"""Lines to draw; every joint is on one."""

SHIFT: Final = 4
"""Binary digits of OpenCV's fixed-point coordinates: sixteenths of a pixel."""


def _colour(joint: Joint, *, truth: bool) -> Colour:
    name = JOINTS[joint]
    if name.startswith("right_"):
        return _TRUE_RIGHT if truth else RIGHT
    if name.startswith("left_"):
        return _TRUE_LEFT if truth else LEFT
    return TRUTH if truth else MIDDLE


_FARTHEST: Final = 2.0**18


def fixed_point(point: Array) -> tuple[int, int]:
    """Convert a point (2,) in pixels to OpenCV's fixed point with ``SHIFT``, clipped."""
    # OpenCV's pixel centres are whole numbers, ours lie at +0.5.
    x, y = (min(max((float(value) - 0.5) * (1 << SHIFT), -_FARTHEST), _FARTHEST) for value in point)
    return round(x), round(y)


def draw_bones(
    image_HW3: Image,
    joints_px: Array,
    valid: Array | None = None,
    *,
    truth: bool = False,
    thickness: int = 2,
    unseen: Array | None = None,
) -> None:
    """Draw a skeleton into an image, in place.

    Args:
        image_HW3: RGB.
        joints_px: (18, 2), pixel centres at +0.5.
        valid: (18,) joints to draw; all by default.
        truth: Use pale colours and thin lines with open dots, to go under a prediction.
        thickness: Thickness of a predicted bone, pixels.
        unseen: (18,) joints whose dots and bones are half as thick; none by default.
    """
    shown = np.ones(len(JOINTS), bool) if valid is None else np.asarray(valid, bool)
    thin = np.zeros(len(JOINTS), bool) if unseen is None else np.asarray(unseen, bool)
    full = max(1, thickness - 1) if truth else thickness
    fixed = [fixed_point(point) if known else (0, 0)
             for point, known in zip(joints_px, shown, strict=True)]  # fmt: skip
    for outline in (True, False):
        for parent, child in BONES:
            if shown[parent] and shown[child]:
                width = max(1, full // 2) if thin[parent] or thin[child] else full
                cv2.line(
                    image_HW3,
                    fixed[parent],
                    fixed[child],
                    _OUTLINE if outline else _colour(child, truth=truth),
                    width + 2 if outline else width,
                    cv2.LINE_AA,
                    SHIFT,
                )
    for joint in Joint:
        if shown[joint]:
            cv2.circle(
                image_HW3,
                fixed[joint],
                (thickness // 2 if thin[joint] else thickness + 1) << SHIFT,
                _colour(joint, truth=truth),
                1 if truth else cv2.FILLED,
                cv2.LINE_AA,
                SHIFT,
            )


def put_text(
    image_HW3: Image,
    text: str,
    at: tuple[int, int],
    *,
    scale: float = 0.4,
    colour: Colour = TRUTH,
) -> None:
    """Write a line of ASCII with a dark outline, in place; ``at`` is its lower left corner."""
    for width, shade in ((3, _OUTLINE), (1, colour)):
        cv2.putText(image_HW3, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, width, cv2.LINE_AA)


def side_view(
    predicted_mm: Array,
    true_mm: Array | None,
    valid: Array | None = None,
    *,
    size: int = 256,
    span_mm: float = 2_200.0,
) -> Image:
    """Draw 3D skeletons from the side, with the camera at the left edge.

    Depth grows to the right and the image's down is down, which shows errors in depth.

    Args:
        predicted_mm: (18, 3) relative to the pelvis, camera frame.
        true_mm: The truth, if known.
        valid: (18,) known joints of the truth.
        size: Side of the square picture, pixels.
        span_mm: Width of the view.

    Returns:
        RGB (size, size, 3).
    """
    picture: Image = np.full((size, size, 3), _PAPER, np.uint8)
    middle = size // 2
    cv2.line(picture, (middle, 0), (middle, size - 1), (70, 72, 80), 1)
    cv2.line(picture, (0, middle), (size - 1, middle), (70, 72, 80), 1)
    scale = size / span_mm

    def place(joints: Array) -> Array:
        return np.asarray(joints, np.float64)[:, [2, 1]] * scale + size / 2

    if true_mm is not None:
        draw_bones(picture, place(true_mm), valid, truth=True)
    draw_bones(picture, place(predicted_mm))
    put_text(picture, "camera >", (4, size - 6), scale=0.35)
    return picture
