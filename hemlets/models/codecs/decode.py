"""Convert crop coordinates and relative depth to metric joints in the camera frame."""

from __future__ import annotations

import numpy as np

from hemlets.core.arrays import Float, Floating
from hemlets.core.skeleton import PART_CHILD, PART_PARENT, Joint
from hemlets.models.codecs.bones import BoneLengths, part_lengths

_NEAREST_MM, _FARTHEST_MM = 300.0, 1e5
_GRIDS = (160, *(33,) * 6)
"""Number of distances in each grid of the search.

The first grid has steps of 3.7 %; each later one covers the two intervals next to the best distance
of the grid before.
"""


def _factors() -> list[Float]:
    """Distances of each grid relative to its middle."""
    reach, factors = (_FARTHEST_MM / _NEAREST_MM) ** 0.5, []
    for count in _GRIDS:
        factors.append(np.geomspace(1 / reach, reach, count))
        reach **= 2 / (count - 1)
    return factors


_FACTORS = _factors()


def root_depth(
    rays_BJ2: Floating,
    depth_mm_BJ: Floating,
    bones: BoneLengths,
) -> Float:
    """Compute the pelvis' distance at which the skeleton's part lengths fit best.

    With rays a = ((u − cx)/fx, (v − cy)/fy) a joint is at (a·(Z + z), Z + z), so a part's squared
    length is a parabola in Z. Minimises the sum over parts of squared length deviations over their
    spreads, so that parts that are predicted too short weigh little. Uses only prediction and
    camera.

    Args:
        rays_BJ2: Ray slopes of the joints.
        depth_mm_BJ: Depth relative to the pelvis.
        bones: Part lengths of predicted skeletons, see :func:`lengths_at_depth`.

    Returns:
        Z of shape (B,) in millimetres, from 300 to 100,000.
    """
    a = np.asarray(rays_BJ2, np.float64)
    z = np.asarray(depth_mm_BJ, np.float64)
    parent, child = list(PART_PARENT), list(PART_CHILD)
    slope = a[:, child] - a[:, parent]
    offset = a[:, child] * z[:, child, None] - a[:, parent] * z[:, parent, None]
    along_BK = z[:, child] - z[:, parent]
    mean_K, spread_K = np.array(bones.mean_mm), np.array(bones.spread_mm)
    # Squared length in spreads: (quadratic · Z + linear) · Z + constant.
    quadratic_B1K = ((slope**2).sum(-1) / spread_K**2)[:, None]
    linear_B1K = (2 * (slope * offset).sum(-1) / spread_K**2)[:, None]
    constant_B1K = (((offset**2).sum(-1) + along_BK**2) / spread_K**2)[:, None]
    rows_B = np.arange(len(a))
    best_B = np.full(len(a), (_NEAREST_MM * _FARTHEST_MM) ** 0.5)
    for factors_N in _FACTORS:
        at_BN = best_B[:, None] * factors_N
        at_BN1 = at_BN[..., None]
        square_BNK = (quadratic_B1K * at_BN1 + linear_B1K) * at_BN1 + constant_B1K
        off_BNK = np.sqrt(np.maximum(square_BNK, 0)) - mean_K / spread_K
        best_B = at_BN[rows_B, (off_BNK**2).sum(-1).argmin(-1)]
    distance_B: Float = best_B.clip(_NEAREST_MM, _FARTHEST_MM)
    return distance_B


def undistorted_px(
    image_px_BJ2: Floating,
    camera_B4: Floating,
    distortion_B5: Floating,
) -> Float:
    """Undistort pixels of joints in images of a lens with distortion.

    On the cameras of Human3.6M distortion moves a joint in space by 1 to 6 mm.

    Args:
        image_px_BJ2: Joints in the images.
        camera_B4: fx, fy, cx, cy.
        distortion_B5: k1, k2, p1, p2, k3; rows of zeros change nothing.
    """
    import cv2

    straight = np.array(image_px_BJ2, np.float64)
    for row in np.flatnonzero(np.asarray(distortion_B5).any(1)):
        fx, fy, cx, cy = (float(v) for v in camera_B4[row])
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        lens = np.asarray(distortion_B5[row], np.float64)
        straight[row] = cv2.undistortPoints(straight[row][:, None], matrix, lens, P=matrix)[:, 0]
    return straight


def metric_joints(
    image_px_BJ2: Floating,
    depth_mm_BJ: Floating,
    camera_B4: Floating,
    bones: BoneLengths,
) -> tuple[Float, Float]:
    """Compute metric joints from image joints and pelvis-relative depth.

    Args:
        image_px_BJ2: Joints in the image.
        depth_mm_BJ: Predicted depth; made relative to the predicted pelvis here.
        camera_B4: fx, fy, cx, cy.
        bones: Part lengths, which determine the distance, see :func:`root_depth`.

    Returns:
        Pelvis-relative joints (B, 18, 3) and the pelvis (B, 3), camera frame, millimetres.
    """
    rays, depth = _rays_and_depth(image_px_BJ2, depth_mm_BJ, camera_B4)
    return place_joints(rays, depth, root_depth(rays, depth, bones))


def lengths_at_depth(
    image_px_BJ2: Floating,
    depth_mm_BJ: Floating,
    camera_B4: Floating,
    root_depth_mm_B: Floating,
) -> Floating:
    """Compute part lengths (B, 14) of predicted skeletons at a known pelvis distance.

    A network's skeletons are systematically shorter than people, because the expectation over an
    uncertain position contracts. So the distance follows from their own mean lengths; true mean
    lengths would move every prediction away from the camera and enlarge it.
    """
    rays, depth = _rays_and_depth(image_px_BJ2, depth_mm_BJ, camera_B4)
    joints, _ = place_joints(rays, depth, np.asarray(root_depth_mm_B, np.float64))
    return part_lengths(joints)


def _rays_and_depth(
    image_px_BJ2: Floating,
    depth_mm_BJ: Floating,
    camera_B4: Floating,
) -> tuple[Float, Float]:
    camera = np.asarray(camera_B4, np.float64)
    depth = np.asarray(depth_mm_BJ, np.float64)
    depth = depth - depth[:, [Joint.PELVIS]]
    rays = (np.asarray(image_px_BJ2, np.float64) - camera[:, None, 2:]) / camera[:, None, :2]
    return rays, depth


def place_joints(rays_BJ2: Float, depth_mm_BJ: Float, distance_mm_B: Float) -> tuple[Float, Float]:
    """Return pelvis-relative joints (B, 18, 3) and pelvises (B, 3) in the camera frame.

    Args:
        rays_BJ2: Ray slopes of the joints.
        depth_mm_BJ: Depth relative to the pelvis.
        distance_mm_B: The pelvises' depth.
    """
    z = np.maximum(distance_mm_B[:, None] + depth_mm_BJ, 1.0)
    joints = np.concatenate([rays_BJ2 * z[..., None], z[..., None]], -1)
    root = joints[:, Joint.PELVIS]
    return joints - root[:, None], root
