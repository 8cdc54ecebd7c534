"""Place a predicted body in front of the camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hemlets.core.arrays import Float, Float32, Floating, Int32
from hemlets.core.skeleton import Joint

if TYPE_CHECKING:
    from hemlets.body import BodyModel

_ROUNDS: Final = 5
_FAR_PX: Final = 0.05
"""Distance, relative to the person's size in the image, beyond which a joint's weight falls."""
_NEAREST_MM: Final = 100.0
_LEAST_TRUST: Final = 1e-3
"""Of a joint, so that three joints always fix a place."""


@dataclass(frozen=True, kw_only=True)
class PlacedBody:
    """A posed body in the camera frame: x right, y down, z forward, millimetres.

    Attributes:
        vertices_V3_mm: Vertices.
        joints_J3_mm: The project's 18 joints, regressed from the vertices.
        faces_F3: Vertex indices of the triangles.
        transl_mm: (3,) translation of the body model's own output.
    """

    vertices_V3_mm: Float32
    joints_J3_mm: Float32
    faces_F3: Int32
    transl_mm: Float32


def place_body(
    model: BodyModel,
    theta_J3: Floating,
    betas_K: Floating,
    root_mm: Floating,
) -> PlacedBody:
    """Pose a body and translate it so that its pelvis, joint 0 of the 18, is at a point.

    That pelvis is the middle of the hips, not SMPL's kinematic pelvis.

    Args:
        model: Body model of θ and β.
        theta_J3: (24, 3) axis-angles in radians; the root turns into the camera frame.
        betas_K: (10,) shape.
        root_mm: (3,) position of the pelvis, camera frame.
    """
    import torch

    with torch.inference_mode():
        body = model(
            torch.from_numpy(np.array(theta_J3, np.float32))[None],
            torch.from_numpy(np.array(betas_K, np.float32))[None],
        )
    vertices = body.vertices_BV3_mm[0].contiguous().numpy()
    joints = body.joints18_B183_mm[0].numpy()
    transl = np.asarray(np.asarray(root_mm, np.float32) - joints[Joint.PELVIS], np.float32)
    return PlacedBody(
        vertices_V3_mm=vertices + transl,
        joints_J3_mm=joints + transl,
        faces_F3=model.faces_F3.numpy().astype(np.int32),
        transl_mm=transl,
    )


def align_to_image(
    placed: PlacedBody,
    joints2d_px: Floating,
    camera: tuple[float, float, float, float],
    *,
    confidence: Floating | None = None,
    size: tuple[int, int] | None = None,
) -> PlacedBody:
    """Translate a body so that its joints project onto joints in the image.

    The predicted distance comes from average bone lengths; a body with other lengths would look
    larger or smaller than the person. The translation is a robust least-squares fit.

    Args:
        placed: The body.
        joints2d_px: (18, 2) joints in the image; NaN where unknown.
        camera: fx, fy, cx, cy in pixels.
        confidence: (18,) in 0–1; a joint counts by its square. All count alike when omitted, and
            where it is not finite.
        size: Width and height of the image: a joint outside of it is a guess, and counts little.

    Returns:
        The translated body; unchanged with fewer than three known joints, or without a solution.
    """
    fx, fy, cx, cy = camera
    rays_J2 = (np.asarray(joints2d_px, float) - (cx, cy)) / (fx, fy)
    known = np.isfinite(rays_J2).all(-1)
    if known.sum() < 3:
        return placed
    rays_N2, points_N3 = rays_J2[known], placed.joints_J3_mm[known].astype(float)
    # x + tx = u (z + tz) and y + ty = v (z + tz), for the ray (u, v, 1) of each joint.
    n = len(points_N3)
    rows = np.zeros((n, 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[..., 2] = -rays_N2
    right = rays_N2 * points_N3[:, 2:] - points_N3[:, :2]
    far = _FAR_PX * float(np.ptp(rays_N2, axis=0).max()) + 1e-9
    trust_N = _trust(joints2d_px, confidence, size)[known]
    weight_N = trust_N
    move = np.zeros(3)
    for _ in range(_ROUNDS):
        scaled = np.sqrt(weight_N)[:, None, None]
        move = np.linalg.lstsq((rows * scaled).reshape(-1, 3), (right * scaled[..., 0]).ravel())[0]
        depth_N = points_N3[:, 2] + move[2]
        if depth_N.min() < _NEAREST_MM:
            return placed
        seen_N2 = (points_N3[:, :2] + move[:2]) / depth_N[:, None]
        off_N = np.linalg.norm(seen_N2 - rays_N2, axis=-1)
        weight_N = trust_N / (1 + (off_N / far) ** 2)
    shift = move.astype(np.float32)
    return replace(
        placed,
        vertices_V3_mm=placed.vertices_V3_mm + shift,
        joints_J3_mm=placed.joints_J3_mm + shift,
        transl_mm=placed.transl_mm + shift,
    )


def _trust(
    joints2d_px: Floating,
    confidence: Floating | None,
    size: tuple[int, int] | None,
) -> Float:
    """How much each joint in the image counts, before its distance."""
    trust_J = np.ones(len(joints2d_px))
    if confidence is not None:
        given = np.asarray(confidence, float)
        trust_J = np.where(np.isfinite(given), np.clip(given, 0.0, 1.0) ** 2, 1.0)
    if size is not None:
        inside = ((joints2d_px >= 0) & (joints2d_px <= size)).all(-1)
        trust_J = np.where(inside, trust_J, 0.0)
    return np.maximum(trust_J, _LEAST_TRUST)
