"""Calibrated cameras: from a dataset's world frame to the camera frame and to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.errors import DataError
from hemlets.core.intrinsics import intrinsics_fault

CENTRE_TO_CORNER: Final = 0.5
"""Offset of pixel coordinates whose origin is the centre of the top-left pixel."""

MM_PER_M: Final = 1000.0

_NO_DISTORTION: Final = np.zeros(5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """A calibrated camera.

    Attributes:
        rotation_33: World to camera frame (x right, y down, z forward).
        translation_3_mm: Added after the rotation.
        intrinsics_4_px: fx, fy, cx, cy, with the origin at the top-left corner.
        distortion_5: k1, k2, p1, p2, k3 in OpenCV's order.
        size: Width and height in pixels; zeros where unknown.
    """

    rotation_33: Array
    translation_3_mm: Array
    intrinsics_4_px: Array
    distortion_5: Array
    size: tuple[int, int] = (0, 0)

    def to_camera(self, world_FJ3_mm: Array) -> Array:
        """Transform points of the world (..., 3) to the camera frame."""
        return np.asarray(world_FJ3_mm @ self.rotation_33.T + self.translation_3_mm)

    def project(self, points_FJ3_mm: Array) -> Array:
        """Project points of the camera frame (..., 3) to pixels (..., 2)."""
        return project(points_FJ3_mm, self.intrinsics_4_px, self.distortion_5)

    def require_sane(self, *, where: str) -> Camera:
        """Return the camera itself, or refuse an implausible one.

        Raises:
            DataError: The rotation matrix is not a rotation; the focal lengths are not positive,
                not in pixels or differ by more than a quarter; or the principal point lies
                outside the image.
        """
        fx, fy, cx, cy = (float(v) for v in self.intrinsics_4_px)
        parts = (self.rotation_33, self.translation_3_mm, self.intrinsics_4_px, self.distortion_5)
        width, height = self.size
        fault = ""
        if not all(np.isfinite(part).all() for part in parts):
            fault = "the camera holds values that are not finite"
        elif not np.allclose(self.rotation_33 @ self.rotation_33.T, np.eye(3), atol=1e-3):
            fault = "the camera's rotation is not orthogonal"
        elif np.linalg.det(self.rotation_33) < 0:
            fault = "the camera's rotation mirrors"
        elif min(fx, fy) <= 0 or not 0.8 < fx / fy < 1.25:
            fault = f"the camera's focal lengths are {fx:.1f} and {fy:.1f}"
        elif width and height and (found := intrinsics_fault((fx, fy, cx, cy), self.size)):
            fault = found
        elif (width and not 0 < cx < width) or (height and not 0 < cy < height):
            fault = f"the principal point {cx:.0f}, {cy:.0f} lies outside {width}×{height} pixels"
        if fault:
            raise DataError(
                fault,
                where=where,
                expected="a calibrated camera with its centre inside the image",
                remedy="fetch the calibration again, or leave this camera out",
            )
        return self


def project(
    points_FJ3: Array, intrinsics_4_px: Array, distortion_5: Array = _NO_DISTORTION
) -> Array:
    """Project points (..., 3) of the camera frame to pixels (..., 2), with OpenCV's lens model.

    Args:
        points_FJ3: Points in any unit; those behind the camera give NaN.
        intrinsics_4_px: fx, fy, cx, cy of shape (4,), or broadcasting with the points.
        distortion_5: k1, k2, p1, p2, k3.
    """
    depth = points_FJ3[..., 2]
    depth = np.where(depth > 0, depth, np.nan)
    x, y = points_FJ3[..., 0] / depth, points_FJ3[..., 1] / depth
    k1, k2, p1, p2, k3 = np.moveaxis(np.asarray(distortion_5), -1, 0)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    fx, fy, cx, cy = np.moveaxis(np.asarray(intrinsics_4_px), -1, 0)
    return np.stack([fx * u + cx, fy * v + cy], -1)


def fitted_intrinsics(
    joints_FJ3_mm: Array, joints_FJ2_px: Array, *, within_px: float = 2.0
) -> Array | None:
    """Fit fx, fy, cx, cy of the pinhole that projects 3D joints to 2D ones; None if none fits.

    Args:
        joints_FJ3_mm: Joints in the camera frame.
        joints_FJ2_px: Projections of these joints, not independent measurements.
        within_px: Largest accepted root mean square residual.
    """
    points = joints_FJ3_mm.reshape(-1, 3)
    pixels = joints_FJ2_px.reshape(-1, 2)
    usable = (points[:, 2] > 0) & np.isfinite(points).all(1) & np.isfinite(pixels).all(1)
    points, pixels = points[usable], pixels[usable]
    if len(points) < 8:
        return None
    found = []
    for axis in range(2):
        ratio = points[:, axis] / points[:, 2]
        system = np.stack([ratio, np.ones_like(ratio)], 1)
        solution, *_ = np.linalg.lstsq(system, pixels[:, axis], rcond=None)
        residual = system @ solution - pixels[:, axis]
        if solution[0] <= 0 or np.sqrt((residual**2).mean()) > within_px:
            return None
        found.append(solution)
    (fx, cx), (fy, cy) = found
    return np.array([fx, fy, cx, cy])
