"""Errors of predicted poses and shapes, vectorised over samples.

Shapes: N samples, J joints, V vertices, R rotations. Every function of joints takes poses in
millimetres in the camera frame and gives NaN where a joint, or a whole sample, has no truth to
be compared with; nothing undefined is ever counted as zero.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.skeleton import Joint
from hemlets.evaluation.metrics.alignment import aligned_errors_mm, checked, lengths

PCK_THRESHOLD_MM = 150.0
"""About half a head (Mehta et al. 2017, "Monocular 3D Human Pose Estimation In The Wild")."""

AUC_THRESHOLDS_MM: tuple[float, ...] = tuple(float(t) for t in range(0, 151, 5))
"""0:5:150 mm, the 31 thresholds of MPI-INF-3DHP's own evaluation."""

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


def root_aligned_errors_mm(
    predicted_NJ3: Array,
    true_NJ3: Array,
    valid_NJ: Array | None = None,
    *,
    root: int = Joint.PELVIS,
) -> Float:
    """Distance of each joint after both poses were moved to have their root at the origin.

    Returns:
        (N, J) millimetres; the root's own error is 0. NaN where a joint is not valid, and
        throughout a sample whose root is not.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    predicted, true, valid = checked(predicted_NJ3, true_NJ3, valid_NJ)
    valid = valid & valid[:, root, None]
    gap = (predicted - predicted[:, root, None]) - (true - true[:, root, None])
    return np.where(valid, lengths(gap), np.nan)


def similarity_aligned_errors_mm(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None
) -> Float:
    """Distance of each joint after the best similarity (rotation, translation, scale).

    The poses are not moved to a common root afterwards: they meet where the fit puts them, at
    the centroid of the valid joints.

    Returns:
        (N, J) millimetres; NaN where a joint is not valid, and throughout a sample with fewer
        than three valid joints.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    return aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ)[0]


def rigid_aligned_errors_mm(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None
) -> Float:
    """As :func:`similarity_aligned_errors_mm`, with the scale left at 1."""
    return aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ)[1]


def mean_over_joints(errors_NJ: Array) -> Float:
    """Mean over the joints that are not NaN, (N,); NaN for a sample without any."""
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
    """Mean per-joint position error, (N,) millimetres, root at the pelvis.

    The mean is over all valid joints, the root with its zero included, as the usual Human3.6M
    evaluation does over its 17 (Ionescu et al. 2014, "Human3.6M").

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    return mean_over_joints(root_aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ, root=root))


def pa_mpjpe_mm(predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None) -> Float:
    """Mean joint error after similarity (Procrustes) alignment, (N,) millimetres.

    The alignment minimises the sum of squared distances, not this mean of distances, so a
    sample's PA-MPJPE can exceed its error about the centroids by a little.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    return mean_over_joints(similarity_aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ))


def aligned_mpjpe_mm(
    predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None
) -> tuple[Float, Float]:
    """:func:`pa_mpjpe_mm` and :func:`rigid_mpjpe_mm` of one fit, (N,) millimetres each.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    similarity, rigid = aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ)
    return mean_over_joints(similarity), mean_over_joints(rigid)


def rigid_mpjpe_mm(predicted_NJ3: Array, true_NJ3: Array, valid_NJ: Array | None = None) -> Float:
    """Mean joint error after rigid alignment, (N,) millimetres.

    Raises:
        DataError: Shapes differ or a valid joint is not finite.
    """
    return mean_over_joints(rigid_aligned_errors_mm(predicted_NJ3, true_NJ3, valid_NJ))


def pck_pct(errors_NJ: Array, threshold_mm: float = PCK_THRESHOLD_MM) -> Float:
    """Share of joints nearer than a threshold, (N,) per cent.

    MPI-INF-3DHP counts a joint whose error is strictly below the threshold (Mehta et al. 2017,
    ``mpii_compute_3d_pck.m``). Leave the root out of ``errors_NJ``: after root alignment it is
    always right.

    Args:
        errors_NJ: millimetres; NaN joints do not count.
        threshold_mm: 150 in the papers.
    """
    errors = np.asarray(errors_NJ, np.float64)
    hit = np.where(np.isnan(errors), np.nan, errors < threshold_mm)
    return np.asarray(100.0 * mean_over_joints(hit))


def auc_pct(errors_NJ: Array, thresholds_mm: tuple[float, ...] = AUC_THRESHOLDS_MM) -> Float:
    """Mean of :func:`pck_pct` over the thresholds 0:5:150 mm, (N,) per cent.

    No error is strictly below 0, so a perfect pose reaches 30/31 = 96.8 %, as it does in
    MPI-INF-3DHP's own evaluation.
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
    """Mean distance over the vertices with both bodies' pelvis at the origin, (N,) millimetres.

    The "surface" error of the paper's shape tables (as in Varol et al. 2018, "BodyNet").

    Args:
        predicted_NV3: predicted vertices, millimetres.
        true_NV3: vertices of the true θ and β on the same mesh.
        predicted_pelvis_N3: pelvis of each predicted body, in the frame of its vertices.
        true_pelvis_N3: the same for the true body.

    Raises:
        DataError: The meshes differ, or a vertex is not finite.
    """
    predicted, true, _ = checked(predicted_NV3, true_NV3, None)
    predicted = predicted - np.asarray(predicted_pelvis_N3, np.float64)[:, None]
    true = true - np.asarray(true_pelvis_N3, np.float64)[:, None]
    return np.asarray(np.linalg.norm(predicted - true, axis=-1).mean(1))


def rotation_errors_rad(predicted_NR3: Array, true_NR3: Array) -> Float:
    """Geodesic distance between rotations given as axis-angles, (N, R) radians in 0–π.

    The angle of ``R_predictedᵀ R_true`` (Huynh 2009, Φ₆): an axis-angle and the same one a full
    turn longer are equal.

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
    """Joints whose true rotation is not the same in all samples, (R,).

    A joint that never moves in the data (a hand without finger tracking) is predicted for
    nothing, and would make a mean over the joints look better than it is.

    Raises:
        DataError: There are no samples to tell from.
    """
    true = np.asarray(true_NR3, np.float64)
    if not len(true):
        raise DataError("no sample has a known θ", expected="at least one")
    first = np.broadcast_to(true[:1], true.shape)
    return np.asarray((rotation_errors_rad(first, true) > tolerance_rad).any(0))
