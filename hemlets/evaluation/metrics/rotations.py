"""Errors of θ over the joints that move, and beside each what a body at rest would have.

A mean over joints which the data leave at rest flatters every model, and an angle by itself says
little: small motions give small errors. So joints that never move don't count, and no error of θ
stands without that of the rest pose on the same samples. The root is left out of both: it says
where the person faces, not what they do, and a body at rest has no facing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.evaluation.metrics.joints import mean_over_joints, moving_joints, rotation_errors_rad

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

REST_OF: Final = {"theta_deg": "theta_rest_deg"}
"""By key of an error of θ, that of the rest pose, which stands beside it."""

_ROOT: Final = 0
_BLOCK: Final = 16_384


def turning_joints(true_NR3: npt.NDArray[Any]) -> Bool:
    """Joints below the root whose true rotation is not the same in all samples, (R,).

    Args:
        true_NR3: axis-angles, radians. A single sample doesn't tell what moves: all count.
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


def pose_errors_deg(
    predicted_NR3: npt.NDArray[Any], true_NR3: npt.NDArray[Any], moving_R: Bool
) -> tuple[Float, Float]:
    """Mean geodesic error over the joints that move: the prediction's, and the rest pose's.

    Args:
        predicted_NR3: axis-angles, radians.
        true_NR3: the truth.
        moving_R: which joints count: :func:`turning_joints` of all samples together.

    Returns:
        (N,) degrees each; NaN where no joint counts.

    Raises:
        DataError: Shapes differ or an angle is not finite.
    """
    true = np.asarray(true_NR3)[:, moving_R]
    ours = rotation_errors_rad(np.asarray(predicted_NR3)[:, moving_R], true)
    rest = rotation_errors_rad(np.zeros_like(true), true)
    return np.degrees(mean_over_joints(ours)), np.degrees(mean_over_joints(rest))
