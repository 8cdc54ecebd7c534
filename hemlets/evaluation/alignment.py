"""Least-squares alignment of one pose with another: similarity or rigid, never a reflection.

Shapes: N samples, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.errors import DataError

__all__ = ["MIN_JOINTS", "Alignment", "align", "checked"]

MIN_JOINTS = 3
"""With fewer valid joints a similarity fits anything: the result is undefined, NaN."""

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """``aligned = scale · rotation @ predicted + translation``, one of each a sample.

    Attributes:
        aligned: (N, J, 3) the predicted poses after alignment, millimetres; NaN throughout a sample
            with fewer than ``MIN_JOINTS`` valid joints.
        rotation: (N, 3, 3) proper rotations (determinant +1).
        scale: (N,) at least 0.
        translation: (N, 3) millimetres.
    """

    aligned: Float
    rotation: Float
    scale: Float
    translation: Float


def checked(
    predicted_NJ3: npt.NDArray[Any], true_NJ3: npt.NDArray[Any], valid_NJ: npt.NDArray[Any] | None
) -> tuple[Float, Float, Bool]:
    """Both poses in float64 with the mask of joints that count.

    Raises:
        DataError: The shapes differ, or a joint that counts is not finite; rows are named.
    """
    predicted = np.asarray(predicted_NJ3, np.float64)
    true = np.asarray(true_NJ3, np.float64)
    if predicted.ndim != 3 or predicted.shape[2] != 3 or predicted.shape != true.shape:
        raise DataError(
            f"predicted poses have shape {predicted.shape}, true ones {true.shape}",
            expected="the same shape (samples, joints, 3)",
        )
    valid = np.ones(true.shape[:2], bool) if valid_NJ is None else np.asarray(valid_NJ, bool)
    if valid.shape != true.shape[:2]:
        raise DataError(
            f"the joints' validity has shape {valid.shape}", expected=f"{true.shape[:2]}"
        )
    for which, pose in (("predicted", predicted), ("true", true)):
        bad = np.flatnonzero((valid[..., None] & ~np.isfinite(pose)).any((1, 2)))
        if bad.size:
            raise DataError(
                f"{bad.size} {which} poses have a joint that is not finite",
                where="rows " + ", ".join(str(row) for row in bad[:10]),
                expected="finite millimetres wherever a joint is valid",
            )
    return predicted, true, valid


def align(
    predicted_NJ3: npt.NDArray[Any],
    true_NJ3: npt.NDArray[Any],
    valid_NJ: npt.NDArray[Any] | None = None,
    *,
    scale: bool,
) -> Alignment:
    """Fit each predicted pose to the true one over the valid joints.

    The fit minimises the sum of squared distances (Umeyama 1991: the last
    singular vector's sign is turned where the best orthogonal map would be a reflection).

    Degenerate poses have a defined result. A predicted pose collapsed into a point comes to
    lie on the true pose's centroid, with scale 1. Of the rotations that fit poses on a line
    equally well one is taken; all give the same sum of squares.

    Args:
        predicted_NJ3: predicted joints, millimetres.
        true_NJ3: true joints, millimetres.
        valid_NJ: joints that count; all when omitted. The others are moved along.
        scale: fit a scale too (similarity), or keep 1 (rigid).

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    weight = valid[..., None].astype(np.float64)
    count = np.maximum(weight.sum(1), 1.0)
    # An invalid joint may hold anything, and NaN times zero is NaN.
    mean_p = np.where(weight > 0, predicted, 0.0).sum(1) / count
    mean_t = np.where(weight > 0, true, 0.0).sum(1) / count
    centred_p = np.where(weight > 0, predicted - mean_p[:, None], 0.0)
    centred_t = np.where(weight > 0, true - mean_t[:, None], 0.0)

    u, singular, vt = np.linalg.svd(np.swapaxes(centred_p, 1, 2) @ centred_t)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.swapaxes(vt, 1, 2) @ (sign[:, :, None] * np.swapaxes(u, 1, 2))
    factor = np.ones(len(predicted))
    if scale:
        spread = np.square(centred_p).sum((1, 2))
        # Never below 0: |σ₃| is the smallest, so turning its sign leaves the sum positive.
        np.divide((singular * sign).sum(1), spread, out=factor, where=spread > 0)
    translation = mean_t - factor[:, None] * np.einsum("nij,nj->ni", rotation, mean_p)
    turned = np.einsum("nij,nkj->nki", rotation, predicted)
    aligned = factor[:, None, None] * turned + translation[:, None]
    aligned[valid.sum(1) < MIN_JOINTS] = np.nan
    return Alignment(aligned=aligned, rotation=rotation, scale=factor, translation=translation)
