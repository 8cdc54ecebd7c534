"""From crop coordinates and relative depth to metric joints in the camera frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemlets.skeleton import PART_CHILD, PART_PARENT, Joint

__all__ = ["bone_length_sum", "length_at_depth", "metric_joints", "root_depth"]

Array = npt.NDArray[np.float64]

_NEAREST_MM, _FARTHEST_MM = 300.0, 1e5


def bone_length_sum(joints_BJ3_mm: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Summed length of the 14 parts, (B,) in the joints' unit."""
    bones = joints_BJ3_mm[..., PART_CHILD, :] - joints_BJ3_mm[..., PART_PARENT, :]
    total: npt.NDArray[np.floating] = np.linalg.norm(bones, axis=-1).sum(-1)
    return total


def root_depth(
    rays_BJ2: npt.NDArray[np.floating],
    depth_mm_BJ: npt.NDArray[np.floating],
    bone_length_mm: float,
) -> Array:
    """Distance of the pelvis at which the skeleton has the training set's mean bone length.

    With rays a = ((u − cx)/fx, (v − cy)/fy) a joint lies at (a·(Z + z), Z + z). The summed bone
    length is a convex function of Z, so Newton's method from afar falls to its outermost
    root without overshooting; where there is none, its minimum is bisected. Uses nothing of
    the sample but its prediction and its camera.

    Args:
        rays_BJ2: Ray slopes of the joints.
        depth_mm_BJ: Depth relative to the pelvis.
        bone_length_mm: Mean summed bone length of skeletons like these, see
            :func:`length_at_depth`.

    Returns:
        Z of shape (B,) in millimetres, from 300 to 100,000. Where depth alone already exceeds the
        bone length, the distance at which the skeleton is shortest.
    """
    a = np.asarray(rays_BJ2, np.float64)
    z = np.asarray(depth_mm_BJ, np.float64)
    parent, child = list(PART_PARENT), list(PART_CHILD)
    slope = a[:, child] - a[:, parent]
    offset = a[:, child] * z[:, child, None] - a[:, parent] * z[:, parent, None]
    along = z[:, child] - z[:, parent]

    def length_and_gradient(at_mm: Array) -> tuple[Array, Array]:
        plane = slope * at_mm[:, None, None] + offset
        length = np.sqrt((plane**2).sum(-1) + along**2 + 1e-12)
        return length.sum(-1), ((plane * slope).sum(-1) / length).sum(-1)

    distance = np.full(len(a), _FARTHEST_MM)
    for _ in range(60):
        length, gradient = length_and_gradient(distance)
        step = np.where(
            gradient > 1e-9, (length - bone_length_mm) / np.maximum(gradient, 1e-9), 0.0
        )
        update = np.where(step > 0, np.maximum(distance - step, _NEAREST_MM), distance)
        moved = np.abs(update - distance) > 1e-6 * distance
        distance = update
        if not moved.any():
            break
    length, gradient = length_and_gradient(distance)
    rootless = (gradient <= 0) | (length > bone_length_mm * (1 + 1e-6))
    if rootless.any():
        near, far = np.full(len(a), _NEAREST_MM), np.full(len(a), _FARTHEST_MM)
        for _ in range(60):
            middle = (near + far) / 2
            falling = length_and_gradient(middle)[1] < 0
            near, far = np.where(falling, middle, near), np.where(falling, far, middle)
        distance = np.where(rootless, (near + far) / 2, distance)
    return distance


def metric_joints(
    image_px_BJ2: npt.NDArray[np.floating],
    depth_mm_BJ: npt.NDArray[np.floating],
    camera_B4: npt.NDArray[np.floating],
    bone_length_mm: float,
) -> tuple[Array, Array]:
    """Metric joints from image joints and pelvis-relative depth.

    Args:
        image_px_BJ2: Joints in the image.
        depth_mm_BJ: Predicted depth; made relative to the predicted pelvis here.
        camera_B4: fx, fy, cx, cy.
        bone_length_mm: Summed bone length that fixes the distance, see :func:`root_depth`.

    Returns:
        Pelvis-relative joints (B, 18, 3) and the pelvis (B, 3), camera frame, millimetres.
    """
    rays, depth = _rays_and_depth(image_px_BJ2, depth_mm_BJ, camera_B4)
    return _placed(rays, depth, root_depth(rays, depth, bone_length_mm))


def length_at_depth(
    image_px_BJ2: npt.NDArray[np.floating],
    depth_mm_BJ: npt.NDArray[np.floating],
    camera_B4: npt.NDArray[np.floating],
    root_depth_mm_B: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """Summed bone length (B,) of predicted skeletons whose pelvis stands at a known distance.

    An expectation over what is uncertain is shorter than a skeleton, so a network's skeletons
    are systematically shorter than people. Their own mean length, measured where the distance
    is known, is what must fix it where it is not; the true mean length would push every
    prediction away from the camera and blow it up.
    """
    rays, depth = _rays_and_depth(image_px_BJ2, depth_mm_BJ, camera_B4)
    joints, _ = _placed(rays, depth, np.asarray(root_depth_mm_B, np.float64))
    return bone_length_sum(joints)


def _rays_and_depth(
    image_px_BJ2: npt.NDArray[np.floating],
    depth_mm_BJ: npt.NDArray[np.floating],
    camera_B4: npt.NDArray[np.floating],
) -> tuple[Array, Array]:
    camera = np.asarray(camera_B4, np.float64)
    depth = np.asarray(depth_mm_BJ, np.float64)
    depth = depth - depth[:, [Joint.PELVIS]]
    rays = (np.asarray(image_px_BJ2, np.float64) - camera[:, None, 2:]) / camera[:, None, :2]
    return rays, depth


def _placed(rays_BJ2: Array, depth_mm_BJ: Array, distance_mm_B: Array) -> tuple[Array, Array]:
    z = np.maximum(distance_mm_B[:, None] + depth_mm_BJ, 1.0)
    joints = np.concatenate([rays_BJ2 * z[..., None], z[..., None]], -1)
    root = joints[:, Joint.PELVIS]
    return joints - root[:, None], root
