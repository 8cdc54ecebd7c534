"""Draw views: position and rotation of the camera, and the framing of the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hemlets.body.raster import SquareCamera
from hemlets.core.arrays import Float, Floating
from hemlets.data.synthetic.config import OpenDataConfig

_FLIP_Y_AND_Z = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
"""From y up and z towards the viewer to the camera frame: y down and z forward."""

_MAX_OFF_AXIS = np.tan(np.radians([9.0, 6.0]))
_FRAMING_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class View:
    """Pose of the person in the camera frame.

    Attributes:
        rotation: From the motion's world (y up) to the camera frame.
        target_mm: The middle of the body in the camera frame, (3,).
    """

    rotation: Rotation
    target_mm: Float


def draw_view(rng: np.random.Generator, config: OpenDataConfig) -> View:
    """Draw a heading over the full circle, an elevation, a roll, a distance and an offset."""
    heading = rng.uniform(0.0, 2.0 * np.pi)
    elevation = np.radians(rng.uniform(*config.elevation_deg))
    roll = np.radians(rng.normal(0.0, config.roll_std_deg))
    turn = Rotation.from_euler("yxz", [heading, elevation, roll])
    depth_mm = 1000.0 * rng.uniform(*config.distance_m)
    off_x, off_y = rng.uniform(-1.0, 1.0, 2) * _MAX_OFF_AXIS
    return View(
        rotation=_FLIP_Y_AND_Z * turn,
        target_mm=depth_mm * np.array([off_x, off_y, 1.0]),
    )


def frame_person(
    rng: np.random.Generator,
    config: OpenDataConfig,
    vertices_cam_mm: Floating,
    joints_cam_mm: Floating,
) -> SquareCamera:
    """Choose focal length and principal point so that the person fills the image as configured.

    The image is a crop of a larger photograph: its principal point need not be in its middle.

    Args:
        rng: The sample's random numbers.
        config: Sizes and odds.
        vertices_cam_mm: The skin (V, 3) in the camera frame.
        joints_cam_mm: The joints (18, 3) in the camera frame.
    """
    slopes = vertices_cam_mm[:, :2].astype(np.float64) / vertices_cam_mm[:, 2:]
    low, high = slopes.min(0), slopes.max(0)
    middle, extent = (low + high) / 2, float((high - low).max())
    side = config.image_px

    if rng.random() < config.truncation_probability:
        for _ in range(_FRAMING_TRIES):
            fraction = rng.uniform(0.9, 1.55)
            focus = middle + rng.uniform(-0.55, 0.55, 2) * (high - low)
            camera = _aimed(fraction * side / extent, focus, np.full(2, side / 2))
            if _cut_but_recognisable(camera, side, joints_cam_mm, low, high):
                return camera

    fraction = rng.uniform(*config.box_fraction)
    slack = 0.4 * (1.0 - fraction) * side
    place = side / 2 + rng.uniform(-slack, slack, 2)
    return _aimed(fraction * side / extent, middle, place)


def _aimed(focal_px: float, slope: Float, place_px: Float) -> SquareCamera:
    """Return the camera that projects the ray of a slope (x/z, y/z) to a point in the image."""
    centre = place_px - focal_px * slope
    return SquareCamera(focal_px=focal_px, centre_px=(float(centre[0]), float(centre[1])))


def _cut_but_recognisable(
    camera: SquareCamera,
    side: int,
    joints_cam_mm: Floating,
    low: Float,
    high: Float,
) -> bool:
    joints = camera.project(joints_cam_mm)
    inside = ((joints >= 0) & (joints < side)).all(-1).sum()
    corners = camera.focal_px * np.stack([low, high]) + np.array(camera.centre_px)
    seen = np.ptp(np.clip(corners, 0, side), axis=0)
    return bool(8 <= inside < len(joints) and seen.max() >= 0.5 * side and seen.min() > 0.15 * side)
