"""Pictures of predictions beside the truth, for the samples of two tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.annotations import Annotations
from hemlets.drawing import comparison_tile, sheet
from hemlets.errors import DataError
from hemlets.evaluation.metrics import mpjpe_mm
from hemlets.evaluation.predictions import Predictions
from hemlets.skeleton import Joint

__all__ = ["contact_sheet", "pick_samples", "prediction_tile"]

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


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

    See :func:`hemlets.drawing.comparison_tile` for what is drawn how.

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
    return comparison_tile(
        image_HW3,
        predicted_px=predictions.joints2d_px[ours] if has_px else None,
        true_px=annotations.joints2d_px[truth],
        valid2d=annotations.valid2d[truth],
        predicted_mm=pose,
        true_mm=true - true[Joint.PELVIS],
        valid3d=valid,
        title=sample_id[:36],
        note=f"MPJPE {error:.0f} mm" if math.isfinite(error) else "no 3D truth",
        size=size,
    )


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
    return sheet(tiles, columns=columns)
