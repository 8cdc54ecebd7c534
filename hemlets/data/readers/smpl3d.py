"""Transform SMPL's θ: rotate its root to another frame, or mirror it."""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Array
from hemlets.core.skeleton import SMPL_JOINTS

_TWIN: Final = tuple(
    SMPL_JOINTS.index(
        name.replace("left_", "right_")
        if name.startswith("left_")
        else name.replace("right_", "left_")
    )
    for name in SMPL_JOINTS
)


def rotated_root(theta_F243: Array, rotation_33: Array) -> Array:
    """Rotate the root of θ by a rotation (3, 3), or by one for each frame (F, 3, 3).

    Args:
        theta_F243: Axis-angles in radians.
        rotation_33: From θ's frame to the wanted one.
    """
    from scipy.spatial.transform import Rotation

    turned = theta_F243.astype(np.float64)
    root = Rotation.from_matrix(rotation_33) * Rotation.from_rotvec(turned[:, 0])
    turned[:, 0] = root.as_rotvec()
    return turned


def flipped_theta(theta_F243: Array) -> Array:
    """Mirror θ in the body's plane of symmetry, x to −x in SMPL's axes."""
    return np.asarray(theta_F243[:, _TWIN] * np.array([1.0, -1.0, -1.0]))
