"""Sparse joint regressors: a joint as a convex combination of nearby vertices.

Rows are non-negative and sum to one, so a regressed joint moves with the body and lies inside it.
They are found by non-negative least squares (Lawson & Hanson 1974) with a small ridge, which
spreads a row over many vertices instead of resting on a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.optimize import nnls

from hemlets.body.kinematics import pose_skeleton
from hemlets.body.rotations import rotation_matrices
from hemlets.core.arrays import Float, Int64
from hemlets.core.skeleton import FLIP_JOINTS, MIRROR_SMPL_JOINTS, SMPL_JOINTS, SMPL_PARENTS, Joint

MAX_CANDIDATES: Final = 360
SUM_WEIGHT: Final = 100.0
TEMPLATE_WEIGHT: Final = 5.0
"""How much more the joints of the mean body count than their change with shape."""
REST_RIDGE: Final = 1e-2
POSED_RIDGE: Final = 3e-2
_TRUNK: Final = ("pelvis", "hip", "spine1", "spine2", "spine3", "neck", "collar", "shoulder")

KINEMATIC_TWIN: Final[dict[Joint, str]] = {
    Joint.LEFT_HIP: "left_hip",
    Joint.LEFT_KNEE: "left_knee",
    Joint.LEFT_ANKLE: "left_ankle",
    Joint.LEFT_SHOULDER: "left_shoulder",
    Joint.LEFT_ELBOW: "left_elbow",
    Joint.LEFT_WRIST: "left_wrist",
    Joint.NECK: "neck",
}
"""Joints of the 18 that sit on one of SMPL's kinematic joints; the right side mirrors."""


@dataclass(frozen=True, kw_only=True)
class PosedBody:
    """What posing and fitting need of one mesh; float64, metres, rest pose.

    Attributes:
        v_template_V3: template.
        shapedirs_V3K: shape directions.
        weights_VJ: skinning weights.
        joints_JK3: the 24 joints' template (first of K = 11) and shape directions.
        mirror_V: mirror image of each vertex.
    """

    v_template_V3: Float
    shapedirs_V3K: Float
    weights_VJ: Float
    joints_JK3: Float
    mirror_V: Int64

    def joints(self, betas_PK: Float) -> Float:
        """Compute rest joints (P, 24, 3) of each β."""
        moved_PJ3: Float = np.einsum("pk,jkc->pjc", betas_PK, self.joints_JK3[:, 1:])
        return self.joints_JK3[:, 0] + moved_PJ3

    def transforms(self, theta_P72: Float, betas_PK: Float) -> tuple[Float, Float]:
        """Compute posed joints (P, 24, 3) and their transforms from rest (P, 24, 3, 4)."""
        theta_PJ3 = torch.from_numpy(theta_P72).view(len(theta_P72), -1, 3)
        rest_PJ3 = torch.from_numpy(self.joints(betas_PK))
        joints_PJ3, turn_PJ33, shift_PJ3 = pose_skeleton(rotation_matrices(theta_PJ3), rest_PJ3)
        return joints_PJ3.numpy(), torch.cat([turn_PJ33, shift_PJ3[..., None]], -1).numpy()

    def vertices(self, transforms_PJ34: Float, betas_PK: Float, keep_C: Int64) -> Float:
        """Compute posed positions (P, C, 3) of some vertices."""
        rest = self.v_template_V3[keep_C]
        rest = rest + np.einsum("pk,vck->pvc", betas_PK, self.shapedirs_V3K[keep_C])
        blend = np.einsum("vj,pjab->pvab", self.weights_VJ[keep_C], transforms_PJ34)
        turned: Float = np.einsum("pvab,pvb->pva", blend[..., :3], rest) + blend[..., 3]
        return turned


def _candidates(body: PosedBody, centre_3: Float, family: Sequence[int], radius_m: float) -> Int64:
    """Return vertices near a point that skin mainly to a family of joints, nearest first."""
    distance_m = np.linalg.norm(body.v_template_V3 - centre_3, axis=1)
    mainly = body.weights_VJ[:, list(family)].sum(axis=1) > 0.5
    order = np.argsort(distance_m, kind="stable")
    near = order[(distance_m[order] < radius_m) & mainly[order]]
    if len(near) < 12:
        near = order[mainly[order]][:40]
    stride = -(-len(near) // MAX_CANDIDATES)
    return np.asarray(near[::stride], dtype=np.int64)


def _fit_row(
    vertices_OC3: Float,
    target_O3: Float,
    is_point_O: Float,
    ridge: float,
    importance_O: Float | None = None,
) -> Float:
    """Fit non-negative weights (C,) with sum 1 that map vertices to the target.

    ``is_point_O`` is 1 for observed positions and 0 for directions (differences of positions).
    """
    n = vertices_OC3.shape[1]
    # Positions are taken relative to the target's, so that rounding does not eat millimetres.
    rows = np.moveaxis(vertices_OC3 - target_O3[:, None], 1, 2)
    rows = np.where(is_point_O[:, None, None] > 0, rows, np.moveaxis(vertices_OC3, 1, 2))
    goal = np.where(is_point_O[:, None] > 0, 0.0, target_O3)
    if importance_O is not None:
        rows, goal = rows * importance_O[:, None, None], goal * importance_O[:, None]
    system = np.concatenate([rows.reshape(-1, n), np.full((1, n), SUM_WEIGHT), ridge * np.eye(n)])
    right = np.concatenate([goal.ravel(), [SUM_WEIGHT], np.zeros(n)])
    # The normal equations' triangular factor: the same minimum from a much smaller system.
    factor = np.linalg.cholesky(system.T @ system)
    weights, _ = nnls(factor.T, np.linalg.solve(factor, system.T @ right), maxiter=30 * n)
    return np.asarray(weights / weights.sum())


def _spread(weights_C: Float, left_C: Int64, body: PosedBody, *, central: bool) -> Float:
    row_V = np.zeros(len(body.mirror_V))
    np.add.at(row_V, left_C, weights_C * (0.5 if central else 1.0))
    if central:
        np.add.at(row_V, body.mirror_V[left_C], weights_C * 0.5)
    return row_V


def _half(candidates_C: Int64, body: PosedBody) -> Int64:
    """Select one of each mirrored pair: the vertex on the left or the midline."""
    left_C = body.v_template_V3[candidates_C, 0] >= 0
    return np.asarray(candidates_C[left_C], dtype=np.int64)


def _radius_m(joint: str) -> float:
    return 0.24 if joint.removeprefix("left_") in _TRUNK else 0.12


def _kin(joint: int) -> list[int]:
    children = [child for child, parent in enumerate(SMPL_PARENTS) if parent == joint]
    parent = SMPL_PARENTS[joint]
    return [joint, *children, *([parent] if parent >= 0 else [])]


def fit_rest_regressor(body: PosedBody) -> Float:
    """Fit SMPL's joints to vertices of the unposed, shaped body: (24, V)."""
    regressor_JV = np.zeros((len(SMPL_JOINTS), len(body.mirror_V)))
    for joint, mirrored in enumerate(MIRROR_SMPL_JOINTS):
        if mirrored < joint:  # the right side, whose left twin is done
            regressor_JV[joint] = regressor_JV[mirrored][body.mirror_V]
        else:
            regressor_JV[joint] = fit_rest_point(body, joint, body.joints_JK3[joint])
    return regressor_JV


def fit_rest_point(body: PosedBody, joint: int, target_K3: Float) -> Float:
    """(V,): one point of the unposed body, carried by a joint on the left or the midline.

    Args:
        body: The mesh.
        joint: The SMPL joint whose surroundings may be used.
        target_K3: Template and shape directions of the point, (11, 3) in metres.
    """
    shapes_OV3 = np.concatenate([body.v_template_V3[None], np.moveaxis(body.shapedirs_V3K, 2, 0)])
    is_point_O = np.eye(len(shapes_OV3))[0]
    central = MIRROR_SMPL_JOINTS[joint] == joint
    near = _candidates(body, target_K3[0], _kin(joint), _radius_m(SMPL_JOINTS[joint]))
    near = _half(near, body) if central else near
    columns = shapes_OV3[:, near]
    if central:
        columns = (columns + shapes_OV3[:, body.mirror_V[near]]) / 2
    importance_O = np.where(is_point_O > 0, TEMPLATE_WEIGHT, 1.0)
    weights_C = _fit_row(columns, target_K3, is_point_O, REST_RIDGE, importance_O)
    return _spread(weights_C, near, body, central=central)


def fit_posed_regressor(
    body: PosedBody,
    landmarks: dict[Joint, tuple[int, Float]],
    theta_P72: Float,
    betas_PK: Float,
) -> Float:
    """(18, V): the project's joints from the vertices of the posed body.

    Args:
        body: The mesh.
        landmarks: For each left or central joint but pelvis and thorax, the SMPL joint that
            carries it and its rest position's template and shape directions (11, 3) in metres.
        theta_P72: Poses to fit on, axis-angle in radians.
        betas_PK: Their shapes.
    """
    regressor_NV = np.zeros((len(Joint), len(body.mirror_V)))
    _, transforms = body.transforms(theta_P72, betas_PK)
    is_point_O = np.ones(len(theta_P72))
    for joint, (carrier, position_K3) in landmarks.items():
        central = FLIP_JOINTS[joint] == joint
        target_O3 = carried(transforms, betas_PK, carrier, position_K3)
        near = _candidates(body, position_K3[0], _kin(carrier), _posed_radius_m(joint))
        near = _half(near, body) if central else near
        columns = body.vertices(transforms, betas_PK, near)
        if central:
            columns = (columns + body.vertices(transforms, betas_PK, body.mirror_V[near])) / 2
        weights_C = _fit_row(columns, target_O3, is_point_O, POSED_RIDGE)
        regressor_NV[joint] = _spread(weights_C, near, body, central=central)
        if not central:
            regressor_NV[FLIP_JOINTS[joint]] = regressor_NV[joint][body.mirror_V]
    hips = [Joint.LEFT_HIP, Joint.RIGHT_HIP]
    shoulders = [Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]
    regressor_NV[Joint.PELVIS] = regressor_NV[hips].mean(axis=0)
    regressor_NV[Joint.THORAX] = regressor_NV[shoulders].mean(axis=0)
    return regressor_NV


def _posed_radius_m(joint: Joint) -> float:
    if joint in (Joint.NOSE, Joint.HEAD_TOP):
        return 0.05
    return 0.24 if joint in (Joint.LEFT_HIP, Joint.SPINE, Joint.LEFT_SHOULDER) else 0.14


def carried(transforms_PJ34: Float, betas_PK: Float, carrier: int, position_K3: Float) -> Float:
    """Move a rest-pose point rigidly with one SMPL joint: (P, 3)."""
    rest = position_K3[0] + betas_PK @ position_K3[1:]
    move = transforms_PJ34[:, carrier]
    posed: Float = np.einsum("pab,pb->pa", move[..., :3], rest) + move[..., 3]
    return posed


def posed_error_mm(
    body: PosedBody,
    regressor_NV: Float,
    landmarks: dict[Joint, tuple[int, Float]],
    theta_P72: Float,
    betas_PK: Float,
) -> dict[str, dict[str, float]]:
    """Measure each joint's distance from its landmark, mm: mean, 95th percentile, maximum."""
    _, transforms = body.transforms(theta_P72, betas_PK)
    report: dict[str, dict[str, float]] = {}
    for joint, (carrier, position_K3) in landmarks.items():
        used = np.flatnonzero(regressor_NV[joint])
        vertices = body.vertices(transforms, betas_PK, used)
        regressed = np.einsum("pvc,v->pc", vertices, regressor_NV[joint, used])
        wanted = carried(transforms, betas_PK, carrier, position_K3)
        error_mm = 1000 * np.linalg.norm(regressed - wanted, axis=1)
        report[joint.name.lower()] = {
            "mean": round(float(error_mm.mean()), 2),
            "p95": round(float(np.percentile(error_mm, 95)), 2),
            "max": round(float(error_mm.max()), 2),
        }
    return report
