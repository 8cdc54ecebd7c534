"""Damped least squares for a batch of independent problems.

Shape suffixes: B batch, M rows of a term, P parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Term:
    """Residuals and their robust cost.

    Attributes:
        residual_BM: In standard deviations.
        slope_BMP: Their derivative; None if only the cost is needed.
        cut: Scale of the Geman–McClure cost, which saturates beyond it; None for plain squares.
    """

    residual_BM: Tensor
    slope_BMP: Tensor | None
    cut: float | Tensor | None = None

    def energy(self) -> Tensor:
        """Compute the cost (B,)."""
        square = self.residual_BM**2
        if self.cut is not None:
            square = square / (1 + square / self.cut**2)
        return square.sum(-1) / 2

    def weight(self) -> Tensor:
        """Compute each residual's robust weight (B, M), 1 for plain squares."""
        if self.cut is None:
            return torch.ones_like(self.residual_BM)
        return (1 + (self.residual_BM / self.cut) ** 2) ** -2


def energy(terms: Iterable[Term]) -> Tensor:
    """Sum the cost (B,) of all terms."""
    return torch.stack([term.energy() for term in terms]).sum(0)


def normal_equations(terms: Iterable[Term], like_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Compute Gauss–Newton's matrix (B, P, P) and gradient (B, P)."""
    n_params = like_BP.shape[1]
    hessian = like_BP.new_zeros(len(like_BP), n_params, n_params)
    gradient = torch.zeros_like(like_BP)
    for term in terms:
        if term.slope_BMP is None:
            continue
        weighted = term.slope_BMP * term.weight()[..., None]
        hessian += weighted.mT @ term.slope_BMP
        gradient += (weighted.mT @ term.residual_BM[..., None])[..., 0]
    return hessian, gradient


class Damping:
    """Levenberg–Marquardt damping of each problem (Marquardt 1963).

    Args:
        like_B: A tensor (B,) of the type and device to use.
        tolerance: A problem has converged when a step lowers its cost by less than this share.
    """

    def __init__(self, like_B: Tensor, *, tolerance: float) -> None:
        self._damping_B = torch.full_like(like_B, 1e-3)
        self._tolerance = tolerance

    def step(self, hessian_BPP: Tensor, gradient_BP: Tensor) -> Tensor:
        """Compute the next step (B, P)."""
        scale_BP = hessian_BPP.diagonal(dim1=1, dim2=2)
        damped = hessian_BPP + torch.diag_embed(self._damping_B[:, None] * scale_BP + 1e-9)
        factor = torch.linalg.cholesky_ex(damped).L
        return -torch.cholesky_solve(gradient_BP[..., None], factor)[..., 0]

    def judge(self, before_B: Tensor, after_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the accepted steps (B,) and the converged problems; update the damping."""
        better_B = after_B < before_B
        small_B = (before_B - after_B).abs() < self._tolerance * (before_B + 1e-3)
        # A problem that even the smallest steps can't improve is at its minimum.
        stuck_B = ~better_B & (self._damping_B > 1e6)
        changed = torch.where(better_B, self._damping_B / 5, self._damping_B * 6)
        self._damping_B = changed.clamp(1e-9, 1e8)
        return better_B, small_B | stuck_B

    def take(self, chosen_B: Tensor) -> None:
        """Continue with some of the problems."""
        self._damping_B = self._damping_B[chosen_B]
