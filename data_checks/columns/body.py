"""θ and β, and the body that they pose, against the 3D joints."""

from __future__ import annotations

import numpy as np

from data_checks.columns.anatomy import known_joints
from data_checks.columns.base import Array, Column, Columns, Float
from data_checks.expectations import BODY_LIMIT_MM, RENDERED_SOURCES
from hemlets.core.skeleton import JOINTS, SMPL_JOINTS
from hemlets.data.table import Annotations

_BLOCK = 256
"""Bodies posed at once: bounds the memory for vertices."""


def body_columns(table: Annotations, posed_N: Array) -> Columns:
    """Plausible θ and β, and joints regressed from the posed body where it was rendered.

    Args:
        table: Some rows.
        posed_N: (N,) rows whose body is posed.
    """
    theta_N243 = table.theta.astype(np.float64)
    betas_NK = table.betas.astype(np.float64)
    known_N = (
        table.smpl_valid
        & np.isfinite(theta_N243).all((1, 2))
        & np.isfinite(betas_NK).all(1)
        & np.isfinite(table.transl_mm).all(1)
    )
    angle_N24 = np.where(known_N[:, None], np.linalg.norm(theta_N243, axis=2), np.nan)
    size_NK = np.where(known_N[:, None], np.abs(betas_NK), np.nan)
    rendered_N = np.isin(table.source.astype(str), RENDERED_SOURCES)
    distance_NJ = _distance_to_body(table, known_N & rendered_N & table.transl_valid & posed_N)
    worst_N = np.where(np.isnan(distance_NJ), -np.inf, distance_NJ).max(1)

    def angle(row: int) -> str:
        joint = int(np.argmax(angle_N24[row]))
        return f"{SMPL_JOINTS[joint]} is turned by {angle_N24[row, joint]:.2f} rad"

    def betas(row: int) -> str:
        which = int(np.argmax(size_NK[row]))
        return f"β{which} = {betas_NK[row, which]:.2f}"

    def distance(row: int) -> str:
        joint = int(np.nanargmax(distance_NJ[row]))
        count = int((distance_NJ[row] > BODY_LIMIT_MM).sum())
        return (
            f"{JOINTS[joint]} is {distance_NJ[row, joint]:.0f} mm from the posed body's "
            f"({count} joints beyond {BODY_LIMIT_MM:g} mm)"
        )

    return {
        "theta_within_half_turn": Column(values=angle_N24.max(1), observed=angle),
        "betas_plausible": Column(values=size_NK.max(1), observed=betas),
        "body_matches_joints": Column(
            values=np.where(np.isfinite(worst_N), worst_N, np.nan), observed=distance
        ),
    }


def posed_joints_mm(theta_N243: Array, betas_NK: Array, transl_N3_mm: Array) -> Float:
    """Joints (N, 18, 3) of the open body in the camera frame, millimetres."""
    import torch

    from hemlets.body import BodyModel

    body = BodyModel.load(resolution="lite")
    joints = np.empty((len(theta_N243), len(JOINTS), 3))
    with torch.inference_mode():
        for start in range(0, len(joints), _BLOCK):
            block = slice(start, start + _BLOCK)
            posed = body(
                torch.tensor(theta_N243[block], dtype=torch.float32),
                torch.tensor(betas_NK[block], dtype=torch.float32),
            )
            joints[block] = posed.joints18_B183_mm.numpy()
    return joints + transl_N3_mm[:, None]


def _distance_to_body(table: Annotations, rows_N: Array) -> Float:
    distance_NJ = np.full((len(table), len(JOINTS)), np.nan)
    if rows_N.any():
        posed_NJ3 = posed_joints_mm(
            table.theta[rows_N], table.betas[rows_N], table.transl_mm[rows_N].astype(np.float64)
        )
        distance_NJ[rows_N] = np.linalg.norm(posed_NJ3 - known_joints(table)[rows_N], axis=2)
    return distance_NJ
