"""Body: θ and β, and the body that they pose, against the 3D joints."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from data_checks.rows import Rows, once
from data_checks.rule import Entries, Measured, Severity, largest, rule
from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import JOINTS, SMPL_JOINTS
from hemlets.data.table import Annotations

_BLOCK = 256
"""Bodies posed at once: bounds the memory for vertices."""

RENDERED_SOURCES: Final[tuple[str, ...]] = ("open-rendered",)
"""Datasets whose 3D joints are regressed from the very body that θ and β describe."""

BODY_LIMIT_MM: Final = 5.0
"""Distance between a rendered person's joints and those of the body posed again."""

_TURN = math.pi + 0.1
"""A rotation of more than half a turn has a shorter axis-angle; 0.1 rad for rounding and noise."""


@once
def _known(rows: Rows) -> Array:
    """Rows (N,) with finite θ and β."""
    table = rows.table
    known_N = table.smpl_valid & np.isfinite(table.theta).all((1, 2))
    known_N &= np.isfinite(table.betas).all(1) & np.isfinite(table.transl_mm).all(1)
    return np.asarray(known_N)


@rule("SMPL", "theta", at_most=_TURN)
def theta_within_half_turn(rows: Rows) -> Measured:
    """No rotation of θ is larger than half a turn.

    Degrees in place of radians, or rotations that are not axis-angles.
    """
    angle_N24 = np.linalg.norm(rows.table.theta.astype(np.float64), axis=2)
    return largest(
        np.where(_known(rows)[:, None], angle_N24, np.nan),
        lambda row, joint: f"{SMPL_JOINTS[joint]} is turned by {angle_N24[row, joint]:.2f} rad",
    )


@rule("SMPL", "betas", at_most=5)
def betas_plausible(rows: Rows) -> Measured:
    """Every β lies within ±5 standard deviations.

    Such a shape does not occur; the mesh would be distorted.
    """
    betas_NK = rows.table.betas.astype(np.float64)
    return largest(
        np.where(_known(rows)[:, None], np.abs(betas_NK), np.nan),
        lambda row, which: f"β{which} = {betas_NK[row, which]:.2f}",
    )


@rule("SMPL", "joints3d_mm", at_most=BODY_LIMIT_MM)
def body_matches_joints(rows: Rows) -> Measured:
    """For rendered people, joints regressed from the posed body lie within 5 mm of joints3d.

    θ, β and joints contradict each other: a swapped label or another body model.
    """
    table = rows.table
    posed_N = _known(rows) & np.isin(rows.sources, RENDERED_SOURCES) & table.transl_valid
    posed_N &= rows.census.posed[rows.numbers]
    distance_NJ = np.full((len(rows), len(JOINTS)), np.nan)
    if posed_N.any():
        posed_NJ3 = posed_joints_mm(
            table.theta[posed_N], table.betas[posed_N], table.transl_mm[posed_N].astype(np.float64)
        )
        distance_NJ[posed_N] = np.linalg.norm(posed_NJ3 - rows.joints3d[posed_N], axis=2)
    return largest(
        distance_NJ,
        lambda row, joint: (
            f"{JOINTS[joint]} is {distance_NJ[row, joint]:.0f} mm from the posed body's "
            f"({int((distance_NJ[row] > BODY_LIMIT_MM).sum())} joints beyond {BODY_LIMIT_MM:g} mm)"
        ),
    )


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


class Moments:
    """Mean and spread of θ over a table, chunk by chunk."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = np.zeros((len(SMPL_JOINTS), 3))
        self._squares = np.zeros((len(SMPL_JOINTS), 3))

    def add(self, table: Annotations) -> None:
        """Add a chunk's rows with known θ."""
        theta_N243 = table.theta[table.smpl_valid].astype(np.float64)
        known = theta_N243[np.isfinite(theta_N243).all((1, 2))]
        self.rows += len(known)
        self._sum += known.sum(0)
        self._squares += (known**2).sum(0)

    def spread(self) -> Float:
        """Standard deviation (24,) of each joint, rad."""
        variance = self._squares / self.rows - (self._sum / self.rows) ** 2
        return np.asarray(np.sqrt(np.maximum(variance, 0).sum(1)))


@rule("theta", "theta", severity=Severity.WARN, at_least=0.01)
def every_joint_moves(theta: Moments) -> Entries | None:
    """Every one of the 24 joints of θ varies by at least 0.01 rad over the table.

    The shape network can't learn a joint that never moves.
    """
    if theta.rows < 2:
        return None
    spread = zip(SMPL_JOINTS, theta.spread(), strict=True)
    return Entries.of("theta", {name: (s, f"{name} varies by {s:.4f} rad") for name, s in spread})
