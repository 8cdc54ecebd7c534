"""Keep a fit near the body that it starts from.

A shape network knows more than joints do: the lean of the torso, the twist of limbs, typical
bends. A fit that only starts at its θ and β forgets this and follows the joints' errors, above all
in depth. So the start is a measurement with Gaussian errors: its negative log-likelihood joins the
objective and replaces the general priors. SMPLify-X (Pavlakos et al. 2019) regularises to the
initial pose in the same sense, as SPIN (Kolotouros et al. 2019) and EFT (Joo et al. 2021) do.

Shape suffixes: B batch, Q parameters in the order of the method that yields them.
"""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from pydantic import Field
from torch import Tensor

from hemlets.body.rotations import left_jacobian
from hemlets.core.config import Config


class StartTrust(Config):
    """Standard deviations of the start's errors."""

    pose_share: float = Field(gt=0)
    """Error of the pose, as a share of each joint's variation in motion."""
    root_rad: float = Field(gt=0)
    """Error of the root's rotation, about each axis."""
    betas: float = Field(gt=0)
    """Error of each coefficient of β."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The starting bodies of fits.

    Attributes:
        root_B33: Rotations of the root into the targets' frame.
        theta_BJ3: Axis-angles (B, 23, 3) of the other joints.
        betas_BK: β.
    """

    root_B33: Tensor
    theta_BJ3: Tensor
    betas_BK: Tensor

    def take(self, chosen_B: Tensor) -> Start:
        """Select some of the bodies."""
        return Start(
            root_B33=self.root_B33[chosen_B],
            theta_BJ3=self.theta_BJ3[chosen_B],
            betas_BK=self.betas_BK[chosen_B],
        )

    def root_residual(self, root_B33: Tensor, trust: StartTrust) -> tuple[Tensor, Tensor]:
        """Compute the rotation of roots from the start (B, 3), and its derivative (B, 3, 3).

        In standard deviations; the derivative is by a further rotation about the targets' axes.
        """
        turn = roma.rotmat_to_rotvec(root_B33 @ self.root_B33.mT)
        return turn / trust.root_rad, torch.linalg.inv(left_jacobian(turn)) / trust.root_rad

    def pose_residual(
        self, theta_BJ3: Tensor, whitening_PP: Tensor, trust: StartTrust
    ) -> tuple[Tensor, Tensor]:
        """Compute the deviation (B, 69) of poses from the start, and its derivative (69, 69).

        Args:
            theta_BJ3: (B, 23, 3).
            whitening_PP: The pose prior's whitening matrix.
            trust: Errors of the start.
        """
        slope = whitening_PP / trust.pose_share
        return (theta_BJ3 - self.theta_BJ3).flatten(1) @ slope.T, slope
