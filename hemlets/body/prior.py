"""A pose prior: a Gaussian over each limb, learned from the training motion.

Limbs are independent, because the bundled motion has too few kinds of motion to learn which limbs
move together. Both sides learn from both, by mirroring. Joints at rest in the motion get a spread
from their anatomical range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from hemlets.assets.clips import load_clips
from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.core.arrays import Float, Floating
from hemlets.core.skeleton import MIRROR_SMPL_JOINTS, SMPL_JOINTS

_LIMBS: Final = (
    "spine1 spine2 spine3",
    "neck head",
    "left_collar left_shoulder left_elbow left_wrist left_hand",
    "right_collar right_shoulder right_elbow right_wrist right_hand",
    "left_hip left_knee left_ankle left_foot",
    "right_hip right_knee right_ankle right_foot",
)

_RANGE_SHARE: Final = 1 / 8
"""Least standard deviation of a joint, as a share of its anatomical range."""

_FREE_RAD: Final = 0.35
"""The same for joints without a range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PosePrior:
    """A Gaussian over the 23 joints below the root, axis-angles in radians.

    Attributes:
        mean_J3: (23, 3).
        whitening_PP: (69, 69): maps a pose's difference from the mean to independent numbers of
            unit variance.
    """

    mean_J3: Float
    whitening_PP: Float

    def energy(self, theta_BJ3: Floating) -> Float:
        """Compute the squared Mahalanobis distance (B,) of poses (B, 23, 3); its mean is 69."""
        difference = (np.asarray(theta_BJ3, np.float64) - self.mean_J3).reshape(len(theta_BJ3), -1)
        return np.asarray(np.square(difference @ self.whitening_PP.T).sum(-1))


@cache
def learned_prior() -> PosePrior:
    """Learn the prior of the bundled training clips."""
    theta = np.concatenate([clip.theta_F72 for clip in load_clips("train")]).astype(np.float64)
    theta = theta.reshape(-1, len(SMPL_JOINTS), 3)
    # Frames of a clip are correlated: each family has the same weight, regardless of its length.
    weights = np.concatenate([np.full(len(c), 1.0 / len(c)) for c in load_clips("train")])
    mirrored = theta[:, list(MIRROR_SMPL_JOINTS)] * np.array([1.0, -1.0, -1.0])
    samples = np.concatenate([theta, mirrored])[:, 1:].reshape(2 * len(theta), -1)
    weights = np.concatenate([weights, weights])
    weights = weights / weights.sum()
    mean = weights @ samples
    centred = samples - mean
    covariance = (centred * weights[:, None]).T @ centred
    covariance = covariance * _same_limb() + np.diag(_floor().reshape(-1) ** 2)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return PosePrior(mean_J3=mean.reshape(-1, 3), whitening_PP=whitening)


def _same_limb() -> Float:
    limb = np.empty(len(SMPL_JOINTS), int)
    for number, names in enumerate(_LIMBS):
        limb[[SMPL_JOINTS.index(name) for name in names.split()]] = number
    axes = np.repeat(limb[1:], 3)
    return np.asarray(axes[:, None] == axes, np.float64)


def _floor() -> Float:
    span = (UPPER_J3_RAD - LOWER_J3_RAD)[1:]
    return np.where(np.isfinite(span), _RANGE_SHARE * span, _FREE_RAD)
