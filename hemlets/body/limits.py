"""Anatomical ranges of joints as ranges of SMPL's rotation vectors.

θ is measured from a T-pose with x to the body's left, y up and z to the front. There the knees
bend about +x, the left elbow about −y and the right elbow about +y.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from hemlets.core.arrays import Float, Floating
from hemlets.core.skeleton import SMPL_JOINTS

_Range = tuple[float, float]

# Range of each rotation vector's x, y, z for the left side; the right side mirrors y and z.
# Root, hips and shoulders move freely.
_RANGE_RAD: Final[Mapping[str, tuple[_Range, _Range, _Range]]] = {
    "knee": ((-0.02, 2.75), (-0.15, 0.15), (-0.15, 0.15)),
    "ankle": ((-1.0, 1.1), (-0.9, 0.9), (-0.8, 0.8)),
    "foot": ((-0.7, 0.3), (-0.08, 0.08), (-0.12, 0.12)),
    "spine1": ((-0.35, 0.7), (-0.4, 0.4), (-0.35, 0.35)),
    "spine2": ((-0.35, 0.7), (-0.4, 0.4), (-0.35, 0.35)),
    "spine3": ((-0.35, 0.6), (-0.4, 0.4), (-0.35, 0.35)),
    "neck": ((-0.5, 0.6), (-0.7, 0.7), (-0.4, 0.4)),
    "head": ((-0.5, 0.6), (-0.7, 0.7), (-0.4, 0.4)),
    "collar": ((-0.2, 0.2), (-0.4, 0.3), (-0.25, 0.6)),
    "elbow": ((-0.3, 0.3), (-2.5, 0.02), (-0.2, 0.2)),
    "wrist": ((-0.9, 0.9), (-0.5, 0.5), (-1.1, 1.0)),
    "hand": ((-0.15, 0.15), (-0.25, 0.25), (-0.8, 0.3)),
}


def _tables() -> tuple[Float, Float]:
    table = np.empty((len(SMPL_JOINTS), 3, 2))
    for joint, name in enumerate(SMPL_JOINTS):
        kind = name.removeprefix("left_").removeprefix("right_")
        bounds = np.array(_RANGE_RAD.get(kind, ((-np.inf, np.inf),) * 3))
        if name.startswith("right_"):
            bounds[1:] = -bounds[1:, ::-1]
        table[joint] = bounds
    return table[..., 0], table[..., 1]


LOWER_J3_RAD, UPPER_J3_RAD = _tables()
"""Bounds (24, 3) of the rotation vectors, infinite where a joint moves freely."""


def limit_pose(theta_J3: Floating) -> Float:
    """Clamp axis-angles (..., 24, 3) to the joints' anatomical ranges."""
    return np.clip(theta_J3, LOWER_J3_RAD, UPPER_J3_RAD)
