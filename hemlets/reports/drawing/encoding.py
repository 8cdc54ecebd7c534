"""Encode pictures."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def png(image_HW3: npt.NDArray[np.uint8]) -> bytes:
    """Encode RGB as PNG."""
    _, buffer = cv2.imencode(".png", image_HW3[..., ::-1])
    return bytes(buffer)
