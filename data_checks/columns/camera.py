"""Intrinsics, and 3D joints seen through them."""

from __future__ import annotations

import numpy as np

from data_checks.columns.anatomy import known_joints
from data_checks.columns.base import Column, Columns, Float
from hemlets.annotations import Annotations
from hemlets.skeleton import JOINTS

__all__ = ["camera_columns"]

_TOLERANCE_PX = 1.0
_TOLERANCE_OF_BOX = 0.01


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
        "depth_positive": Column(values=nearest_N, observed=nearest),
        "reprojection_matches": Column(
            values=np.where(np.isfinite(error_N), error_N / limit_N, np.nan), observed=reprojection
        ),
    }


def _reprojection_error(
    table: Annotations, joints_NJ3: Float, focal_N2: Float, centre_N2: Float
) -> Float:
    """Distance (N, 18) in pixels; -inf where 2D, 3D or camera are unknown or unusable."""
    joints2d_NJ2 = table.joints2d_px.astype(np.float64)
    depth_NJ1 = np.where(joints_NJ3[..., 2:] > 0, joints_NJ3[..., 2:], np.nan)
    seen_NJ2 = focal_N2[:, None] * joints_NJ3[..., :2] / depth_NJ1 + centre_N2[:, None]
    error_NJ = np.linalg.norm(seen_NJ2 - joints2d_NJ2, axis=2)
    return np.where(table.valid2d & np.isfinite(error_NJ), error_NJ, -np.inf)


def _limit(table: Annotations) -> Float:
    box_N4 = table.box_xyxy.astype(np.float64)
    side_N = np.nan_to_num((box_N4[:, 2:] - box_N4[:, :2]).max(1), posinf=0.0, neginf=0.0)
    return np.asarray(_TOLERANCE_PX + _TOLERANCE_OF_BOX * np.maximum(side_N, 0.0))
