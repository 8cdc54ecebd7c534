"""The rest pose that the open body and the retargeted motions share.

SMPL's θ is measured from the body's rest pose, so whoever writes θ must know that pose. It is a
T-pose in SMPL's axes (x to the body's left, y up, z to the front): arms along ±x with the palms
down, legs nearly vertical, feet to the front.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from hemlets.core.skeleton import MIRROR_SMPL_JOINTS

THIGH_DIRECTION: tuple[float, float, float] = (0.06, -1.0, 0.0)
"""Left hip → left knee, not normalised; the right side is its mirror image."""

SHIN_DIRECTION: tuple[float, float, float] = (0.04, -1.0, -0.03)
"""Left knee → left ankle, not normalised."""

ARM_DIRECTION: tuple[float, float, float] = (1.0, 0.0, 0.0)
"""Left shoulder → left elbow → left wrist."""


def side_sign(joint: int) -> float:
    """+1 for SMPL's left joints, −1 for its right ones, 0 on the midline."""
    return float(np.sign(MIRROR_SMPL_JOINTS[joint] - joint))


def aim(target: npt.ArrayLike, source: npt.ArrayLike, *, sign: float = 1.0) -> Rotation:
    """Compute the smallest rotation from one direction to another.

    Args:
        target: (3,) new direction; its x is multiplied by ``sign``.
        source: (3,) present direction.
        sign: −1 for the right side of the body.
    """
    goal = np.asarray(target, dtype=np.float64) * (sign, 1.0, 1.0)
    rotation, _ = Rotation.align_vectors(goal[None], np.asarray(source, dtype=np.float64)[None])
    return rotation
