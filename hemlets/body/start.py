"""Fits that stay near the body which they start from.

A shape network knows more than joints tell: how far the torso leans, how limbs twist, what motion
makes of a bend. A fit that takes nothing but the network's θ and β for a starting point forgets
this and follows the joints' errors, above all those of depth. So the start is taken for what it
is, a measurement with Gaussian errors: its negative log-likelihood joins the objective, and stands
in place of the general priors, which the network has learned already. SMPLify-X (Pavlakos et al.
2019) calls this regularising to the initial pose; in SPIN (Kolotouros et al. 2019) and EFT (Joo et
al. 2021) the network is the prior of the fit in the same sense.

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
    """How far from the start a fit may go: standard deviations of the start's errors."""

    pose_share: float = Field(gt=0)
    """Of the pose, as a share of how much motion varies: joints that move much may move much."""
    root_rad: float = Field(gt=0)
    """Of the whole body's turn, about each axis."""
    betas: float = Field(gt=0)
    """Of each coefficient of β."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The bodies that fits start from.

    Attributes:
        root_B33: Turns of the root into the targets' frame.
        theta_BJ3: Axis-angles (B, 23, 3) of the joints below it.
        betas_BK: β.
    """

    root_B33: Tensor
    theta_BJ3: Tensor
    betas_BK: Tensor

    def take(self, chosen_B: Tensor) -> Start:
        """Some of the bodies."""
        return Start(
            root_B33=self.root_B33[chosen_B],
            theta_BJ3=self.theta_BJ3[chosen_B],
            betas_BK=self.betas_BK[chosen_B],
        )

    def root_residual(self, root_B33: Tensor, trust: StartTrust) -> tuple[Tensor, Tensor]:
        """How far (B, 3) roots have turned, and its derivative (B, 3, 3) by a further turn.

        In standard deviations; the further turn is about the targets' axes.
        """
        turn = roma.rotmat_to_rotvec(root_B33 @ self.root_B33.mT)
        return turn / trust.root_rad, torch.linalg.inv(left_jacobian(turn)) / trust.root_rad

    def pose_residual(
        self, theta_BJ3: Tensor, whitening_PP: Tensor, trust: StartTrust
    ) -> tuple[Tensor, Tensor]:
        """How far (B, 69) poses have gone, and its derivative (69, 69).

        Args:
            theta_BJ3: (B, 23, 3).
            whitening_PP: The pose prior's: what makes motion's variation independent and of
                unit variance.
            trust: How far they may go.
        """
        slope = whitening_PP / trust.pose_share
        return (theta_BJ3 - self.theta_BJ3).flatten(1) @ slope.T, slope
