"""Draw predictions and ground truth of the samples of two tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.evaluation.metrics.joints import mpjpe_mm
from hemlets.evaluation.predictions import Predictions
from hemlets.reports.drawing import comparison_tile, draw_bones, sheet
from hemlets.reports.drawing.bones import put_text

BAR_MM: Final = 500.0
"""Length of the bar in side views."""

SKELETON_LEGEND: Final = (
    "Left the image, right both poses from the side with the camera on the left and both pelves "
    "at the crossing of the lines; the bar is half a metre long. Bold with filled dots: "
    "predicted; thin and pale with open dots: the truth. Orange is the person's right, blue the "
    "left; spine and head are yellow where predicted and white where true."
)
"""Legend of pictures of samples, in words."""

_SPAN_MM: Final = 2_200.0
"""Width of a side view, as in `hemlets.reports.drawing.side_view`."""

_TEXT: Final = 0.4
_LINE_PX: Final = 15
_MARGIN_PX: Final = 6

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


def pick_samples(errors_mm: Array, count: int) -> npt.NDArray[np.intp]:
    """Pick rows from best to worst at even steps of rank, for an unbiased sheet.

    Args:
        errors_mm: (N,) a metric by sample; NaN rows are never picked.
        count: Largest number of rows.
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
    """Draw one sample: the image with both skeletons, and both from the side with a scale bar.

    See `hemlets.reports.drawing.comparison_tile`. The sample's full name is written on the side
    view.

    Returns:
        RGB (size, 2·size, 3).

    Raises:
        DataError: The sample is not in both tables.
    """
    rows = np.flatnonzero(predictions.sample_id == sample_id)
    if not rows.size or sample_id not in annotations.row_of:
        raise DataError(
            "the sample can't be drawn",
            where=sample_id,
            expected="a sample of both the predictions and the annotations",
        )
    ours, truth = int(rows[0]), annotations.row_of[sample_id]
    true = annotations.joints3d_mm[truth]
    valid = annotations.valid3d[truth] & annotations.valid3d[truth, Joint.PELVIS]
    pose = predictions.joints3d_mm[ours]
    error = mpjpe_mm(pose[None], true[None], valid[None])[0]
    has_px = "joints2d_px" not in predictions.info.absent
    note = f"MPJPE {error:.0f} mm" if math.isfinite(error) else "no 3D truth"
    tile = comparison_tile(
        image_HW3,
        predicted_px=predictions.joints2d_px[ours] if has_px else None,
        true_px=annotations.joints2d_px[truth],
        valid2d=annotations.valid2d[truth],
        predicted_mm=pose,
        true_mm=true - true[Joint.PELVIS],
        valid3d=valid,
        title="",
        note="",
        size=size,
    )
    side = tile[:, size:]
    for number, line in enumerate([*_lines(sample_id, size - 2 * _MARGIN_PX), note], 1):
        put_text(side, line, (_MARGIN_PX, number * _LINE_PX), scale=_TEXT)
    _draw_bar(side)
    return tile


def legend() -> Image:
    """Draw the legend of both skeletons' colours: predicted above, true below; RGB."""
    columns = (
        ("person's right", Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST),
        ("person's left", Joint.LEFT_ELBOW, Joint.LEFT_WRIST),
        ("spine and head", Joint.SPINE, Joint.THORAX),
    )
    high, first, wide = 26, 92, 176
    picture: Image = np.full((2 * high, first + wide * len(columns), 3), (38, 40, 46), np.uint8)
    for row, (title, truth) in enumerate((("predicted", False), ("truth", True))):
        middle = row * high + high // 2
        put_text(picture, title, (_MARGIN_PX, middle + 4), scale=_TEXT)
        for column, (name, near, far) in enumerate(columns):
            left = first + column * wide
            joints_px, shown = np.zeros((N_JOINTS, 2)), np.zeros(N_JOINTS, bool)
            joints_px[near], joints_px[far] = (left, middle + 0.5), (left + 40, middle + 0.5)
            shown[[near, far]] = True
            draw_bones(picture, joints_px, shown, truth=truth)
            put_text(picture, name, (left + 52, middle + 4), scale=_TEXT)
    return picture


def contact_sheet(
    images: Mapping[str, Image],
    predictions: Predictions,
    annotations: Annotations,
    *,
    sample_ids: Sequence[str] | None = None,
    columns: int = 3,
    size: int = 256,
) -> Image:
    """Arrange tiles of several samples above a legend.

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
    return sheet(tiles, columns=columns)


def _lines(text: str, width_px: int) -> list[str]:
    """Wrap a name in ASCII to the picture's width."""
    left, lines = text.encode("ascii", "replace").decode(), []
    while left:
        fits = next(n for n in range(len(left), 0, -1) if n == 1 or _wide(left[:n]) <= width_px)
        lines.append(left[:fits])
        left = left[fits:]
    return lines


def _wide(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, 1)[0][0])


def _draw_bar(side_view: Image) -> None:
    """Draw a bar of half a metre at the foot of a side view, in place."""
    size = side_view.shape[0]
    right, foot = size - 1 - _MARGIN_PX, size - 1 - _MARGIN_PX
    left = right - round(BAR_MM / _SPAN_MM * size)
    white = (255, 255, 255)
    cv2.line(side_view, (left, foot), (right, foot), white, 1, cv2.LINE_8)
    for end in (left, right):
        cv2.line(side_view, (end, foot - 4), (end, foot), white, 1, cv2.LINE_8)
    text = f"{BAR_MM / 1000:g} m"
    put_text(side_view, text, ((left + right - _wide(text)) // 2, foot - 5), scale=_TEXT)
