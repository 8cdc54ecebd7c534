"""Least-squares alignment of one pose with another: similarity or rigid, never a reflection.

Shapes: N samples, J joints.
"""

from __future__ import annotations

import numpy as np

from hemlets.core.arrays import Array, Bool, Float
from hemlets.core.errors import DataError

MIN_JOINTS = 3
"""With fewer valid joints the alignment is undefined: NaN."""


def checked(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None
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


def lengths(vectors: Array) -> Float:
    """Compute Euclidean lengths along the last axis, of three coordinates."""
    x, y, z = (vectors[..., axis] for axis in range(3))
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def _fit(predicted: Float, true: Float, valid: Bool) -> tuple[Float, Float, Float, Float]:
    """Fit each sample: both centred poses, the rotation, and the similarity's scale."""
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
    return centred_p, centred_t, rotation, scale


def _turned(rotation_N33: Float, pose_NJ3: Float) -> Float:
    out = np.empty_like(pose_NJ3)
    for i in range(3):
        row = rotation_N33[:, i, :, None]
        out[..., i] = sum(row[:, k] * pose_NJ3[..., k] for k in range(3))
    return out


def aligned_errors_mm(
    predicted_NJ3: Array,
    true_NJ3: Array,
    valid_NJ: Array | None = None,
) -> tuple[Float, Float]:
    """Compute joint distances after the best similarity, and after the best rigid motion.

    Both minimise the sum of squared distances and have the same rotation, so one fit gives both
    (Umeyama 1991: the last singular vector's sign is turned where the best orthogonal map would be
    a reflection). A pose collapsed into a point is moved to the true centroid with scale 1.

    Returns:
        (N, J) millimetres each; NaN where a joint is not valid, and throughout a sample with fewer
        than ``MIN_JOINTS`` valid joints.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    centred_p, centred_t, rotation, scale = _fit(predicted, true, valid)
    turned = _turned(rotation, centred_p)
    # About the centroids, where no translation is left.
    errors = lengths(scale[:, None, None] * turned - centred_t), lengths(turned - centred_t)
    known = valid & (valid.sum(1) >= MIN_JOINTS)[:, None]
    if known.all():
        return errors
    similarity, rigid = (np.where(known, error, np.nan) for error in errors)
    return similarity, rigid
