"""Pictures of predictions beside the truth, and of where on the body the errors are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.annotations import Annotations
from hemlets.errors import DataError
from hemlets.evaluation.drawing import (
    BONES,
    LEFT,
    MIDDLE,
    RIGHT,
    TRUTH,
    draw_bones,
    put_text,
    side_view,
)
from hemlets.evaluation.metrics import mpjpe_mm
from hemlets.evaluation.predictions import Predictions
from hemlets.skeleton import JOINTS, Joint

__all__ = ["contact_sheet", "joint_error_chart", "pick_samples", "png", "prediction_tile"]

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

_CHART: Final = (560, 440)
_FIGURE: Final[Mapping[Joint, tuple[int, int]]] = {
    Joint.HEAD_TOP: (220, 40), Joint.NOSE: (220, 85), Joint.NECK: (220, 125),
    Joint.THORAX: (220, 165), Joint.SPINE: (220, 225), Joint.PELVIS: (220, 290),
    Joint.RIGHT_SHOULDER: (160, 170), Joint.RIGHT_ELBOW: (110, 235), Joint.RIGHT_WRIST: (75, 300),
    Joint.LEFT_SHOULDER: (280, 170), Joint.LEFT_ELBOW: (330, 235), Joint.LEFT_WRIST: (365, 300),
    Joint.RIGHT_HIP: (180, 305), Joint.RIGHT_KNEE: (165, 400), Joint.RIGHT_ANKLE: (155, 500),
    Joint.LEFT_HIP: (260, 305), Joint.LEFT_KNEE: (275, 400), Joint.LEFT_ANKLE: (285, 500),
}  # fmt: skip
"""A standing figure that faces the reader, so that the person's right is on the left."""


def png(image_HW3: Image) -> bytes:
    """Encode RGB as PNG."""
    import cv2

    _, buffer = cv2.imencode(".png", image_HW3[..., ::-1])
    return bytes(buffer)


def joint_error_chart(
    joints_mm: Mapping[str, float], *, title: str = "MPJPE by joint (mm)"
) -> bytes:
    """Mean error of each joint drawn on a standing figure, PNG.

    Area and colour of a dot grow with its joint's error; a joint without a figure is a dash.

    Args:
        joints_mm: by joint name, as ``Scores.joints_mm``.
        title: ASCII.

    Raises:
        DataError: A name is no joint's.
    """
    import cv2

    unknown = sorted(set(joints_mm) - set(JOINTS))
    if unknown:
        raise DataError(f"no such joints: {', '.join(unknown)}", expected=", ".join(JOINTS))
    picture: Image = np.full((*_CHART, 3), 250, np.uint8)
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
        # Between the hips there is room only above the line.
        down = -8 if joint == Joint.PELVIS else 5
        at = (x - 20 - 9 * len(text), y + 5) if left_of else (x + 20, y + down)
        _dark_text(picture, text, at, 0.5)
    _dark_text(picture, title, (12, 20), 0.5)
    _dark_text(picture, "person's right", (20, 545), 0.45)
    _dark_text(picture, "person's left", (310, 545), 0.45)
    return png(picture)


def pick_samples(errors_mm: Array, count: int) -> npt.NDArray[np.intp]:
    """Rows from best to worst at even steps of rank, so that a sheet flatters nobody.

    Args:
        errors_mm: (N,) a metric by sample; NaN rows are never picked.
        count: rows wanted; fewer where there are fewer.
    """
    errors = np.asarray(errors_mm, np.float64)
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    steps = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return np.asarray(order[steps], np.intp)


def prediction_tile(
    image_HW3: Image,
    predictions: Predictions,
    annotations: Annotations,
    sample_id: str,
    *,
    size: int = 256,
) -> Image:
    """One sample: the image with both skeletons, and both from the side.

    The truth is drawn thin and pale with open dots, the prediction bold; warm is the person's
    right, cool the left.

    Args:
        image_HW3: RGB, the annotated image.
        predictions: with this sample.
        annotations: with this sample.
        sample_id: the sample.
        size: height of the tile, pixels; it is twice as wide.

    Returns:
        RGB (size, 2·size, 3).

    Raises:
        DataError: The sample is not in both tables.
    """
    import cv2

    rows = np.flatnonzero(predictions.sample_id == sample_id)
    if not rows.size or sample_id not in annotations.row_of:
        raise DataError(
            "the sample can't be drawn",
            where=sample_id,
            expected="a sample of both the predictions and the annotations",
        )
    ours, truth = int(rows[0]), annotations.row_of[sample_id]
    height, width = image_HW3.shape[:2]
    factor = size / max(height, width)
    fitted = cv2.resize(
        image_HW3,
        (max(1, round(width * factor)), max(1, round(height * factor))),
        interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR,
    )
    left: Image = np.zeros((size, size, 3), np.uint8)
    left[: fitted.shape[0], : fitted.shape[1]] = fitted
    draw_bones(
        left, annotations.joints2d_px[truth] * factor, annotations.valid2d[truth], truth=True
    )
    if "joints2d_px" not in predictions.info.absent:
        draw_bones(left, predictions.joints2d_px[ours] * factor)

    true = annotations.joints3d_mm[truth]
    valid = annotations.valid3d[truth] & annotations.valid3d[truth, Joint.PELVIS]
    pose = predictions.joints3d_mm[ours]
    right = side_view(pose, true - true[Joint.PELVIS], valid, size=size)
    error = mpjpe_mm(pose[None], true[None], valid[None])[0]
    put_text(left, sample_id[:36], (4, 14))
    put_text(right, f"MPJPE {error:.0f} mm" if math.isfinite(error) else "no 3D truth", (4, 14))
    return np.concatenate([left, right], axis=1)


def contact_sheet(
    images: Mapping[str, Image],
    predictions: Predictions,
    annotations: Annotations,
    *,
    sample_ids: Sequence[str] | None = None,
    columns: int = 3,
    size: int = 256,
) -> Image:
    """Tiles of several samples above a legend.

    Args:
        images: RGB by sample id.
        predictions: of these samples.
        annotations: of these samples.
        sample_ids: in which order; that of ``images`` when omitted.
        columns: tiles a row.
        size: height of a tile, pixels.

    Returns:
        RGB.

    Raises:
        DataError: There is nothing to draw, or a sample is not in all three.
    """
    names = list(images) if sample_ids is None else list(sample_ids)
    if not names:
        raise DataError("there are no samples to draw", where="contact sheet")
    absent = [name for name in names if name not in images]
    if absent:
        raise DataError("samples have no image", where=", ".join(absent[:10]))
    tiles = [
        prediction_tile(images[name], predictions, annotations, name, size=size) for name in names
    ]
    across = min(columns, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    rows = [np.concatenate(tiles[at : at + across], 1) for at in range(0, len(tiles), across)]
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


def _dark_text(picture: Image, text: str, at: tuple[int, int], scale: float) -> None:
    import cv2

    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 50), 1, cv2.LINE_AA)


def _heat(share: float) -> tuple[int, int, int]:
    """Pale yellow to dark red."""
    stops = np.array([(255, 245, 200), (253, 174, 97), (215, 48, 39), (120, 0, 30)], np.float64)
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    below = min(int(place), len(stops) - 2)
    mixed = stops[below] + (place - below) * (stops[below + 1] - stops[below])
    return int(mixed[0]), int(mixed[1]), int(mixed[2])
