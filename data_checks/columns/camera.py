"""Intrinsics, and 3D joints seen through them."""

from __future__ import annotations

import numpy as np

from data_checks.columns.anatomy import known_joints
from data_checks.columns.base import Array, Column, Columns, Float
from data_checks.datasets import DATASETS
from hemlets.core.skeleton import JOINTS
from hemlets.data.table import Annotations

_TOLERANCE_PX = 1.0
_TOLERANCE_OF_BOX = 0.01
_FEWEST_JOINTS = 6


def camera_columns(table: Annotations) -> Columns:
    """Plausible intrinsics, joints in front of the camera, and reprojection onto 2D joints."""
    camera_N4 = table.camera.astype(np.float64)
    known_N = table.camera_valid & np.isfinite(camera_N4).all(1)
    camera_N4 = np.where(known_N[:, None], camera_N4, np.nan)
    focal_N2, centre_N2 = camera_N4[:, :2], camera_N4[:, 2:]
    size_N2 = np.stack([table.image_width, table.image_height], 1).astype(np.float64)
    positive_N = (focal_N2 > 0).all(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_N = np.where(positive_N, focal_N2[:, 0] / focal_N2[:, 1], np.nan)
        off_N = np.maximum(-centre_N2, centre_N2 - size_N2).max(1) / size_N2.max(1)
    source_N2 = _source_centre(table, centre_N2)
    skew_N = _skew(table, source_N2)
    apart_N = _apart_without_camera(table)

    joints_NJ3 = known_joints(table)
    depth_NJ = joints_NJ3[..., 2]
    nearest_N = np.where(np.isnan(depth_NJ), np.inf, depth_NJ).min(1)
    nearest_N = np.where(np.isinf(nearest_N), np.nan, nearest_N)
    error_NJ = _reprojection_error(table, joints_NJ3, focal_N2, centre_N2)
    error_N = error_NJ.max(1)
    limit_N = _limit(table)

    def intrinsics(row: int) -> str:
        fx, fy, cx, cy = camera_N4[row]
        width, height = size_N2[row]
        return f"fx, fy, cx, cy = {fx:g}, {fy:g}, {cx:g}, {cy:g} px, image {width:g}×{height:g} px"

    def source_centre(row: int) -> str:
        x, y = source_N2[row]
        return (
            f"principal point {x:.0f}, {y:.0f} px of the dataset's own image: one of its sides "
            "is not what the camera says"
        )

    def nearest(row: int) -> str:
        joint = int(np.nanargmin(depth_NJ[row]))
        return f"{JOINTS[joint]} has depth {depth_NJ[row, joint]:,.1f} mm"

    def reprojection(row: int) -> str:
        joint = int(np.argmax(error_NJ[row]))
        count = int((error_NJ[row] > limit_N[row]).sum())
        return (
            f"{JOINTS[joint]} is projected {error_NJ[row, joint]:.1f} px from its 2D joint "
            f"(limit {limit_N[row]:.1f} px; {count} joints beyond it)"
        )

    return {
        "camera_focal_positive": Column(values=focal_N2.min(1), observed=intrinsics),
        "camera_pixels_square": Column(values=ratio_N, observed=intrinsics),
        "camera_centre_near": Column(values=np.maximum(off_N, 0.0), observed=intrinsics),
        "camera_centre_in_source": Column(values=skew_N, observed=source_centre),
        "joints3d_over_2d": Column(
            values=apart_N,
            observed=lambda row: (
                f"scaled and shifted, x and y of the 3D joints miss the 2D joints by "
                f"{100 * apart_N[row]:.0f} % of the person's extent"
            ),
        ),
        "depth_positive": Column(values=nearest_N, observed=nearest),
        "reprojection_matches": Column(
            values=np.where(np.isfinite(error_N), error_N / limit_N, np.nan), observed=reprojection
        ),
    }


def distorted(plane_NJ2: Float, coefficients_N5: Float) -> Float:
    """Apply a lens's distortion to points of the plane at depth 1.

    Args:
        plane_NJ2: x/z and y/z.
        coefficients_N5: k1, k2, p1, p2, k3 of OpenCV's model (its documentation of calib3d).
    """
    k1, k2, p1, p2, k3 = (coefficients_N5[:, i, None] for i in range(5))
    x, y = plane_NJ2[..., 0], plane_NJ2[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def _reprojection_error(
    table: Annotations, joints_NJ3: Float, focal_N2: Float, centre_N2: Float
) -> Float:
    """Distance (N, 18) in pixels; -inf where 2D, 3D or camera are unknown or unusable."""
    joints2d_NJ2 = table.joints2d_px.astype(np.float64)
    depth_NJ1 = np.where(joints_NJ3[..., 2:] > 0, joints_NJ3[..., 2:], np.nan)
    plane_NJ2 = distorted(joints_NJ3[..., :2] / depth_NJ1, table.distortion.astype(np.float64))
    seen_NJ2 = focal_N2[:, None] * plane_NJ2 + centre_N2[:, None]
    error_NJ = np.linalg.norm(seen_NJ2 - joints2d_NJ2, axis=2)
    return np.where(table.valid2d & np.isfinite(error_NJ), error_NJ, -np.inf)


def _limit(table: Annotations) -> Float:
    box_N4 = table.box_xyxy.astype(np.float64)
    side_N = np.nan_to_num((box_N4[:, 2:] - box_N4[:, :2]).max(1), posinf=0.0, neginf=0.0)
    share_N = _of_source(
        table, {name: facts.reprojection_of_box for name, facts in DATASETS.items()},
        _TOLERANCE_OF_BOX,
    )  # fmt: skip
    return np.asarray(_TOLERANCE_PX + share_N * np.maximum(side_N, 0.0))


def _of_source(table: Annotations, values: dict[str, float], default: float) -> Float:
    """A number of each row's dataset."""
    result = np.full(len(table), default)
    source_N = table.source
    for name, value in values.items():
        result[source_N == name] = value
    return result


def _source_centre(table: Annotations, centre_N2: Float) -> Float:
    """Principal points (N, 2) in the dataset's own images, px."""
    placed_N3 = table.stored_from_source.astype(np.float64)
    scale_N1 = np.where(placed_N3[:, 2:] > 0, placed_N3[:, 2:], np.nan)
    return np.asarray(centre_N2 / scale_N1 + placed_N3[:, :2])


def _skew(table: Annotations, centre_N2: Float) -> Float:
    """How far principal points are from the middle of the dataset's images, in their sides.

    Where a dataset has images of several sizes, the one that fits best counts.
    """
    skew_N = np.full(len(table), np.nan)
    source_N = table.source
    for name in set(source_N.tolist()) & set(DATASETS):
        sizes_S2 = np.array(DATASETS[name].image_sizes, np.float64)
        if not len(sizes_S2):
            continue
        rows = np.flatnonzero(source_N == name)
        off_NS = np.abs(centre_N2[rows, None] / sizes_S2 - 0.5).max(2)
        skew_N[rows] = off_NS.min(1)
    return skew_N


def _apart_without_camera(table: Annotations) -> Float:
    """How badly 3D joints, scaled and shifted, fit the 2D joints where no camera is known.

    Root of the mean squared distance over that of the 2D joints from their middle: 0 for a
    person far away, 1 where x and y have nothing to do with the picture.
    """
    joints_NJ3 = known_joints(table)
    flat_NJ2 = joints_NJ3[..., :2]
    seen_NJ2 = table.joints2d_px.astype(np.float64)
    used_NJ = (
        table.valid2d & np.isfinite(seen_NJ2).all(2) & np.isfinite(flat_NJ2).all(2)
        & ~table.camera_valid[:, None]
    )  # fmt: skip
    count_N = used_NJ.sum(1)
    a, b = _centred(flat_NJ2, used_NJ), _centred(seen_NJ2, used_NJ)
    with np.errstate(divide="ignore"):
        scale_N = np.maximum((a * b).sum((1, 2)) / (a * a).sum((1, 2)), 0)
        missed_N = ((scale_N[:, None, None] * a - b) ** 2).sum((1, 2)) / (b * b).sum((1, 2))
    return np.where(count_N >= _FEWEST_JOINTS, np.sqrt(missed_N), np.nan)


def _centred(points_NJ2: Float, used_NJ: Array) -> Float:
    kept = np.where(used_NJ[..., None], points_NJ2, 0)
    middle = kept.sum(1) / np.maximum(used_NJ.sum(1), 1)[:, None]
    return np.where(used_NJ[..., None], points_NJ2 - middle[:, None], 0)
