"""Errors of θ over the moving joints, and the error of a body at rest.

Joints that never move in the data are left out, because they lower the mean of any model. Every
error of θ is reported with the rest pose's error on the same samples, because small motions give
small errors. The root is left out of both: it is the person's facing, not their pose.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Array, Bool, Float
from hemlets.evaluation.metrics.joints import mean_over_joints, moving_joints, rotation_errors_rad

REST_OF: Final = {"theta_deg": "theta_rest_deg"}
"""Key of the rest pose's error, by key of an error of θ."""

_ROOT: Final = 0
_BLOCK: Final = 16_384


def turning_joints(true_NR3: Array) -> Bool:
    """Mark joints below the root whose true rotation differs between samples, (R,).

    With a single sample, all joints count.
    """
    count, joints = true_NR3.shape[:2]
    moving = np.full(joints, count == 1)
    for start in range(0, count, _BLOCK):
        block = np.concatenate([true_NR3[:1], true_NR3[start : start + _BLOCK]])
        moving |= moving_joints(block)
        if np.delete(moving, _ROOT).all():
            break
    moving[_ROOT] = False
    return moving


def pose_errors_deg(predicted_NR3: Array, true_NR3: Array, moving_R: Bool) -> tuple[Float, Float]:
    """Compute the mean geodesic errors over the moving joints, of prediction and rest pose.

    Args:
        predicted_NR3: Axis-angles, radians.
        true_NR3: Axis-angles, radians.
        moving_R: Joints that count: :func:`turning_joints` of all samples together.

    Returns:
        (N,) degrees each; NaN where no joint counts.

    Raises:
        DataError: Shapes differ or an angle is not finite.
    """
    true = np.asarray(true_NR3)[:, moving_R]
    ours = rotation_errors_rad(np.asarray(predicted_NR3)[:, moving_R], true)
    rest = rotation_errors_rad(np.zeros_like(true), true)
    return np.degrees(mean_over_joints(ours)), np.degrees(mean_over_joints(rest))
