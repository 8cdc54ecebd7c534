"""Features of images and predictions, without ground truth, for drift detection."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.inference.types import BodyEstimate

IMAGE_FEATURES: Final = ("brightness", "contrast", "sharpness", "box_px")
PREDICTION_FEATURES: Final = ("joint_confidence", "bend_deg", "lean_deg", "depth_m")
FEATURES: Final = (*IMAGE_FEATURES, *PREDICTION_FEATURES)

_SIDE_PX: Final = 128


def observe_image(image_HW3: npt.NDArray[np.uint8], box_xyxy: npt.ArrayLike) -> dict[str, float]:
    """Measure features of the image within a person's box.

    Args:
        image_HW3: The image.
        box_xyxy: Box in pixels: left, top, right, bottom.

    Returns:
        ``brightness`` and ``contrast`` (mean and standard deviation of grey, 0–255),
        ``sharpness`` (variance of the Laplacian at a fixed size, logarithm to base 10), and
        ``box_px``, the longer side of the box.
    """
    import cv2

    height, width = image_HW3.shape[:2]
    left, top, right, bottom = (float(value) for value in np.asarray(box_xyxy))
    x0, y0 = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    x1, y1 = int(np.clip(right, x0 + 1, width)), int(np.clip(bottom, y0 + 1, height))
    patch = np.ascontiguousarray(image_HW3[y0:y1, x0:x1])
    grey = cv2.cvtColor(
        cv2.resize(patch, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "sharpness": float(np.log10(1.0 + cv2.Laplacian(grey, cv2.CV_32F).var())),
        "box_px": max(right - left, bottom - top),
    }


def observe_prediction(confidence: Any, theta: Any, root_mm: Any) -> dict[str, float]:
    """Measure features of a prediction.

    Args:
        confidence: (18,) confidence of the joints.
        theta: (24, 3) SMPL θ as axis-angles.
        root_mm: (3,) pelvis in the camera frame.

    Returns:
        ``joint_confidence`` (mean, 0–1), ``bend_deg`` (mean rotation of the joints below the
        pelvis), ``lean_deg`` (rotation of the root) and ``depth_m``. NaN where unknown.
    """
    angles = np.degrees(np.linalg.norm(np.asarray(theta, np.float64), axis=-1))
    known = np.asarray(confidence, np.float64)
    known = known[np.isfinite(known)]
    return {
        "joint_confidence": float(known.mean()) if known.size else float("nan"),
        "bend_deg": float(angles[1:].mean()),
        "lean_deg": float(angles[0]),
        "depth_m": float(np.asarray(root_mm)[2]) / 1000,
    }


def observe(image_HW3: npt.NDArray[np.uint8], estimate: BodyEstimate) -> dict[str, float]:
    """Measure all features of a predicted person."""
    return observe_image(image_HW3, estimate.box_xyxy) | observe_prediction(
        estimate.confidence, estimate.theta, estimate.root_mm
    )
