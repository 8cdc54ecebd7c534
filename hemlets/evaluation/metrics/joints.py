"""Errors of predicted poses and shapes, vectorised over samples.

Shapes: N samples, J joints, V vertices, R rotations. Functions of joints take poses in millimetres
in the camera frame. A joint or sample without a truth is NaN, never zero. They raise `DataError`
where shapes differ or a valid joint is not finite.
"""

from __future__ import annotations

import warnings

import numpy as np

from hemlets.core.arrays import Array, Bool, Float
from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.evaluation.metrics.alignment import aligned_errors_mm, checked, lengths

PCK_THRESHOLD_MM = 150.0
"""About half a head (Mehta et al. 2017)."""

AUC_THRESHOLDS_MM: tuple[float, ...] = tuple(float(t) for t in range(0, 151, 5))
"""0:5:150 mm, the 31 thresholds of MPI-INF-3DHP's own evaluation."""


def root_aligned_errors_mm(
    predicted_NJ3: Array,
    true_NJ3: Array,
    valid_NJ: Array | None = None,
    *,
    root: int = Joint.PELVIS,
) -> Float:
    """Compute joint distances with both roots at the origin.

    Returns:
        (N, J) millimetres; the root's own error is 0. NaN where a joint is not valid, and
        throughout a sample whose root is not.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    valid = valid & valid[:, root, None]
    gap = (predicted - predicted[:, root, None]) - (true - true[:, root, None])
    return np.where(valid, lengths(gap), np.nan)


def similarity_aligned_errors_mm(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None
) -> Float:
    """Compute joint distances after the best similarity (rotation, translation, scale).

    The poses are not moved to a common root afterwards; the centroids of valid joints coincide.

    Returns:
        (N, J) millimetres; NaN where a joint is not valid, and throughout a sample with fewer
        than three valid joints.
    """
    return aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ)[0]


def mean_over_joints(errors_NJ: Array) -> Float:
    """Average the non-NaN joints, (N,); NaN for a sample without any."""
    errors = np.asarray(errors_NJ, np.float64)
    total = errors.sum(1)
    if errors.shape[1] and not np.isnan(total).any():
        return np.asarray(total / errors.shape[1])
    known = ~np.isnan(errors)
    count = known.sum(1)
    total = np.where(known, errors, 0.0).sum(1)
    mean = np.full(len(errors), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def mpjpe_mm(
    predicted_NJ3: Array,
    true_NJ3: Array,
    valid_NJ: Array | None = None,
    *,
    root: int = Joint.PELVIS,
) -> Float:
    """Compute the mean per-joint position error, (N,) millimetres, pelvis at the origin.

    The mean includes the root's zero, as in Human3.6M's evaluation (Ionescu et al. 2014).
    """
    return mean_over_joints(root_aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ, root=root))


def pa_mpjpe_mm(predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None) -> Float:
    """Compute the mean joint error after similarity (Procrustes) alignment, (N,) millimetres.

    The alignment minimises squared distances, so this mean of distances can slightly exceed the
    error about the centroids.
    """
    return mean_over_joints(similarity_aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ))


def aligned_mpjpe_mm(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None
) -> tuple[Float, Float]:
    """Compute :func:`pa_mpjpe_mm`, and the same after the best rigid motion, from one fit."""
    similarity, rigid = aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ)
    return mean_over_joints(similarity), mean_over_joints(rigid)


def pck_pct(errors_NJ: Array, threshold_mm: float = PCK_THRESHOLD_MM) -> Float:
    """Compute the share of joints strictly nearer than a threshold, (N,) per cent.

    As in MPI-INF-3DHP (Mehta et al. 2017, ``mpii_compute_3d_pck.m``). Leave the root out of
    ``errors_NJ``: after root alignment its error is 0. NaN joints do not count.
    """
    errors = np.asarray(errors_NJ, np.float64)
    hit = np.where(np.isnan(errors), np.nan, errors < threshold_mm)
    return np.asarray(100.0 * mean_over_joints(hit))


def auc_pct(errors_NJ: Array, thresholds_mm: tuple[float, ...] = AUC_THRESHOLDS_MM) -> Float:
    """Average :func:`pck_pct` over the thresholds 0:5:150 mm, (N,) per cent.

    No error is strictly below 0, so a perfect pose reaches 30/31 = 96.8 %, as in MPI-INF-3DHP.
    """
    errors = np.asarray(errors_NJ, np.float64)
    limits = np.sort(np.asarray(thresholds_mm, np.float64))
    # A joint counts at every threshold strictly above its error; NaN would sort behind them all.
    shares = 1.0 - np.searchsorted(limits, errors, side="right") / len(limits)
    return np.asarray(100.0 * mean_over_joints(np.where(np.isnan(errors), np.nan, shares)))


def vertex_errors_mm(
    predicted_NV3: Array,
    true_NV3: Array,
    *,
    predicted_pelvis_N3: Array,
    true_pelvis_N3: Array,
) -> Float:
    """Compute the mean vertex distance with both pelvises at the origin, (N,) millimetres.

    The surface error of the paper's shape tables (Varol et al. 2018, "BodyNet").

    Args:
        predicted_NV3: Predicted vertices, millimetres.
        true_NV3: Vertices of the true θ and β on the same mesh.
        predicted_pelvis_N3: Pelvis of each predicted body, in the frame of its vertices.
        true_pelvis_N3: The same for the true body.

    Raises:
        DataError: The meshes differ, or a vertex is not finite.
    """
    predicted, true, _ = checked(predicted_NV3, true_NV3, None)
    predicted = predicted - np.asarray(predicted_pelvis_N3, np.float64)[:, None]
    true = true - np.asarray(true_pelvis_N3, np.float64)[:, None]
    return np.asarray(np.linalg.norm(predicted - true, axis=-1).mean(1))


def rotation_errors_rad(predicted_NR3: Array, true_NR3: Array) -> Float:
    """Compute geodesic distances between axis-angles, (N, R) radians in 0–π (Huynh 2009, Φ₆).

    Raises:
        DataError: Shapes differ or an angle is not finite.
    """
    from scipy.spatial.transform import Rotation

    predicted, true, _ = checked(predicted_NR3, true_NR3, None)
    if not predicted.size:
        return np.zeros(predicted.shape[:2])
    between = Rotation.from_rotvec(predicted.reshape(-1, 3)).inv() * Rotation.from_rotvec(
        true.reshape(-1, 3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        angle = between.magnitude()
    return np.asarray(angle, np.float64).reshape(predicted.shape[:2])


def moving_joints(true_NR3: Array, *, tolerance_rad: float = 1e-3) -> Bool:
    """Mark joints whose true rotation differs between samples, (R,).

    A joint that never moves in the data, such as an untracked hand, would lower a mean over joints.

    Raises:
        DataError: There are no samples.
    """
    true = np.asarray(true_NR3, np.float64)
    if not len(true):
        raise DataError("no sample has a known θ", expected="at least one")
    first = np.broadcast_to(true[:1], true.shape)
    return np.asarray((rotation_errors_rad(first, true) > tolerance_rad).any(0))
