"""Lengths of the parts of skeletons, which determine a prediction's distance."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from hemlets.core.arrays import Array, Floating
from hemlets.core.config import Config
from hemlets.core.skeleton import N_PARTS, PART_CHILD, PART_PARENT

_LEAST_SPREAD = 0.05
"""Least relative spread, however similar the measured people are."""

Millimetres = Annotated[float, Field(gt=0, lt=10_000)]
OfParts = Annotated[tuple[Millimetres, ...], Field(min_length=N_PARTS, max_length=N_PARTS)]


def part_lengths(joints_BJ3_mm: Floating) -> Floating:
    """Compute lengths of the 14 parts, (B, 14) in the joints' unit."""
    bones = joints_BJ3_mm[..., PART_CHILD, :] - joints_BJ3_mm[..., PART_PARENT, :]
    lengths: Floating = np.linalg.norm(bones, axis=-1)
    return lengths


class BoneLengths(Config):
    """Lengths of the 14 parts over many skeletons, in millimetres.

    Attributes:
        mean_mm: By part.
        spread_mm: Standard deviations: the smaller a part's spread, the larger its weight in the
            distance. Trunks vary little; forearms are predicted too short.
    """

    mean_mm: OfParts
    spread_mm: OfParts

    @classmethod
    def measured(cls, lengths_NK: Array) -> Self:
        """Compute mean and spread of skeletons' :func:`part_lengths`."""
        mean_K = np.asarray(lengths_NK, np.float64).mean(0)
        spread_K = np.maximum(np.asarray(lengths_NK, np.float64).std(0), _LEAST_SPREAD * mean_K)
        return cls(mean_mm=tuple(mean_K.tolist()), spread_mm=tuple(spread_K.tolist()))

    @property
    def sum_mm(self) -> float:
        """Mean summed length of the parts."""
        return sum(self.mean_mm)

    def scaled(self, factor: float) -> Self:
        """Scale the lengths by a factor."""
        return type(self)(
            mean_mm=tuple(factor * length for length in self.mean_mm),
            spread_mm=tuple(factor * spread for spread in self.spread_mm),
        )
