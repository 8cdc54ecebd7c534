"""Least-squares alignment of one pose with another: similarity or rigid, never a reflection.

Shapes: N samples, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError

MIN_JOINTS = 3
"""With fewer valid joints the alignment is undefined: NaN."""

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
    """Convert both poses to float64 and return the mask of joints that count.

    The samples are contiguous in memory (Fortran order), which makes sums over coordinates and
    joints several times faster.

    Raises:
        DataError: The shapes differ, or a joint that counts is not finite; rows are named.
    """
    predicted = np.asarray(predicted_NJ3, np.float64, order="F")
    true = np.asarray(true_NJ3, np.float64, order="F")
    if predicted.ndim != 3 or predicted.shape[2] != 3 or predicted.shape != true.shape:
        raise DataError(
            f"predicted poses have shape {predicted.shape}, true ones {true.shape}",
            expected="the same shape (samples, joints, 3)",
        )
    shape = true.shape[:2]
    valid = np.ones(shape, bool, "F") if valid_NJ is None else np.asarray(valid_NJ, bool, "F")
    if valid.shape != shape:
        raise DataError(f"the joints' validity has shape {valid.shape}", expected=f"{shape}")
    for which, pose in (("predicted", predicted), ("true", true)):
        # One sum checks all numbers, which are nearly always finite.
        if np.isfinite(pose.sum()):
            continue
        bad = np.flatnonzero((valid[..., None] & ~np.isfinite(pose)).any((1, 2)))
        if bad.size:
            raise DataError(
                f"{bad.size} {which} poses have a joint that is not finite",
                where="rows " + ", ".join(str(row) for row in bad[:10]),
                expected="finite millimetres wherever a joint is valid",
            )
    return predicted, true, valid


def lengths(vectors: npt.NDArray[Any]) -> Float:
    """Compute Euclidean lengths along the last axis, of three coordinates."""
    x, y, z = (vectors[..., axis] for axis in range(3))
    return np.asarray(np.sqrt(x * x + y * y + z * z))


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """The least-squares rotation of each sample, and intermediate results of both alignments."""

    centred_p: Float
    centred_t: Float
    mean_p: Float
    mean_t: Float
    rotation: Float
    # Of the similarity; a rigid alignment has 1.
    scale: Float
    enough: Bool


def _fit(predicted: Float, true: Float, valid: Bool) -> _Fit:
    every = bool(valid.all())
    weight = valid[..., None]
    count = np.maximum(valid.sum(1), 1)[:, None]

    def known(pose: Float) -> Float:
        # An invalid joint may hold anything, and NaN times zero is NaN.
        return pose if every else np.where(weight, pose, 0.0)

    mean_p, mean_t = known(predicted).sum(1) / count, known(true).sum(1) / count
    centred_p, centred_t = (
        known(pose - mean[:, None]) for pose, mean in ((predicted, mean_p), (true, mean_t))
    )
    covariance = np.empty((len(predicted), 3, 3))
    for i in range(3):
        for k in range(3):
            covariance[:, i, k] = (centred_p[..., i] * centred_t[..., k]).sum(1)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.swapaxes(vt, 1, 2) @ (sign[:, :, None] * np.swapaxes(u, 1, 2))
    spread = np.square(centred_p).sum(2).sum(1)
    scale = np.ones(len(predicted))
    # Never below 0: |σ₃| is the smallest, so turning its sign leaves the sum positive.
    np.divide((singular * sign).sum(1), spread, out=scale, where=spread > 0)
    return _Fit(
        centred_p=centred_p,
        centred_t=centred_t,
        mean_p=mean_p,
        mean_t=mean_t,
        rotation=rotation,
        scale=scale,
        enough=valid.sum(1) >= MIN_JOINTS,
    )


def _turned(rotation_N33: Float, pose_NJ3: Float) -> Float:
    out = np.empty_like(pose_NJ3)
    for i in range(3):
        row = rotation_N33[:, i, :, None]
        out[..., i] = sum(row[:, k] * pose_NJ3[..., k] for k in range(3))
    return out


def aligned_errors_mm(
    predicted_NJ3: npt.NDArray[Any],
    true_NJ3: npt.NDArray[Any],
    valid_NJ: npt.NDArray[Any] | None = None,
) -> tuple[Float, Float]:
    """Compute joint distances after the best similarity, and after the best rigid motion.

    Both have the same rotation (Umeyama 1991), so one fit gives both.

    Returns:
        (N, J) millimetres each; NaN where a joint is not valid, and throughout a sample with fewer
        than ``MIN_JOINTS`` valid joints.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    fit = _fit(predicted, true, valid)
    turned = _turned(fit.rotation, fit.centred_p)
    # About the centroids, where no translation is left.
    errors = (
        lengths(fit.scale[:, None, None] * turned - fit.centred_t),
        lengths(turned - fit.centred_t),
    )
    known = valid & fit.enough[:, None]
    if known.all():
        return errors
    similarity, rigid = (np.where(known, error, np.nan) for error in errors)
    return similarity, rigid


def align(
    predicted_NJ3: npt.NDArray[Any],
    true_NJ3: npt.NDArray[Any],
    valid_NJ: npt.NDArray[Any] | None = None,
    *,
    scale: bool,
) -> Alignment:
    """Fit each predicted pose to the true pose over the valid joints.

    Minimises the sum of squared distances (Umeyama 1991: the last singular vector's sign is turned
    where the best orthogonal map would be a reflection). A predicted pose collapsed into a point is
    moved to the true centroid with scale 1. For collinear poses, one of the equally good rotations
    is used.

    Args:
        predicted_NJ3: Predicted joints, millimetres.
        true_NJ3: True joints, millimetres.
        valid_NJ: Joints that count, all by default; the others are transformed too.
        scale: Fit a scale too (similarity), or use 1 (rigid).

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    fit = _fit(predicted, true, valid)
    factor = fit.scale if scale else np.ones(len(predicted))
    turned_mean = _turned(fit.rotation, fit.mean_p[:, None])[:, 0]
    translation = fit.mean_t - factor[:, None] * turned_mean
    turned = _turned(fit.rotation, predicted)
    aligned = factor[:, None, None] * turned + translation[:, None]
    aligned[~fit.enough] = np.nan
    return Alignment(aligned=aligned, rotation=fit.rotation, scale=factor, translation=translation)
