"""Draw mean joint errors on a standing figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.reports.drawing.bones import BONES
from hemlets.reports.drawing.encoding import png

Image = npt.NDArray[np.uint8]

_CHART: Final = (560, 440)
_PAPER: Final = (250, 250, 250)
_FIGURE: Final[Mapping[Joint, tuple[int, int]]] = {
    Joint.HEAD_TOP: (220, 40), Joint.NOSE: (220, 85), Joint.NECK: (220, 125),
    Joint.THORAX: (220, 165), Joint.SPINE: (220, 225), Joint.PELVIS: (220, 290),
    Joint.RIGHT_SHOULDER: (160, 170), Joint.RIGHT_ELBOW: (110, 235), Joint.RIGHT_WRIST: (75, 300),
    Joint.LEFT_SHOULDER: (280, 170), Joint.LEFT_ELBOW: (330, 235), Joint.LEFT_WRIST: (365, 300),
    Joint.RIGHT_HIP: (180, 305), Joint.RIGHT_KNEE: (165, 400), Joint.RIGHT_ANKLE: (155, 500),
    Joint.LEFT_HIP: (260, 305), Joint.LEFT_KNEE: (275, 400), Joint.LEFT_ANKLE: (285, 500),
}  # fmt: skip
"""A standing figure that faces the reader: the person's right is on the left."""


def joint_error_chart(
    joints_mm: Mapping[str, float], *, title: str = "MPJPE by joint (mm)"
) -> bytes:
    """Draw the mean error of each joint on a standing figure, as PNG.

    Area and colour of a dot grow with the error; a joint without a figure is a dash.

    Raises:
        DataError: A name is no joint's.
    """
    unknown = sorted(set(joints_mm) - set(JOINTS))
    if unknown:
        raise DataError(f"no such joints: {', '.join(unknown)}", expected=", ".join(JOINTS))
    picture: Image = np.full((*_CHART, 3), _PAPER, np.uint8)
    for parent, child in BONES:
        cv2.line(picture, _FIGURE[parent], _FIGURE[child], (190, 195, 205), 5, cv2.LINE_AA)
    values = {joint: joints_mm.get(JOINTS[joint], math.nan) for joint in Joint}
    largest = max([value for value in values.values() if math.isfinite(value)], default=0.0)
    for joint, value in values.items():
        share = value / largest if math.isfinite(value) and largest > 0 else 0.0
        radius = round(5 + 11 * math.sqrt(share))
        cv2.circle(picture, _FIGURE[joint], radius, _heat(share), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, _FIGURE[joint], radius, (90, 90, 100), 1, cv2.LINE_AA)
    for joint, value in values.items():
        text = f"{value:.0f}" if math.isfinite(value) else "-"
        x, y = _FIGURE[joint]
        left_of = JOINTS[joint].startswith("right_")
        # On a level with hips and shoulders there are bones: room is above and below them.
        down = {Joint.PELVIS: -8, Joint.THORAX: 28}.get(joint, 5)
        at = (x - 20 - 9 * len(text), y + 5) if left_of else (x + 20, y + down)
        _dark_text(picture, text, at, 0.5)
    _dark_text(picture, title, (12, 20), 0.5)
    _dark_text(picture, "person's right", (20, 545), 0.45)
    _dark_text(picture, "person's left", (310, 545), 0.45)
    return png(picture)


def _dark_text(picture: Image, text: str, at: tuple[int, int], scale: float) -> None:
    # A rim of the paper's colour keeps numbers legible where they cross a bone.
    for shade, width in ((_PAPER, 5), ((40, 40, 50), 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, width, cv2.LINE_AA)


def _heat(share: float) -> tuple[int, int, int]:
    """Return a colour from pale yellow to dark red."""
    stops = np.array([(255, 245, 200), (253, 174, 97), (215, 48, 39), (120, 0, 30)], np.float64)
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    below = min(int(place), len(stops) - 2)
    mixed = stops[below] + (place - below) * (stops[below + 1] - stops[below])
    return int(mixed[0]), int(mixed[1]), int(mixed[2])
