"""Drift: has a window of observations another distribution than a reference?

Each feature has two measures: the population stability index (PSI) over the deciles of the
reference measures the size of a shift, the two-sample Kolmogorov–Smirnov test its significance. An
alarm needs both, so that neither a tiny shift of many rows nor chance in few rows causes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array

PSI_BOUND: Final = 0.25
"""PSI above which a shift is usually called large; 0.1 is called small."""

P_BOUND: Final = 0.001

_BINS: Final = 10
_LEAST_SHARE: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A feature in the reference and in the window.

    Attributes:
        feature: Name of the feature.
        reference: Number of reference values.
        window: Number of values in the window.
        psi: Population stability index.
        p_value: p-value of the Kolmogorov–Smirnov test.
        quantiles: 5, 25, 50, 75 and 95 % of the reference, then of the window.
        alarm: Whether both measures exceed their bounds.
    """

    feature: str
    reference: int
    window: int
    psi: float
    p_value: float
    quantiles: tuple[tuple[float, ...], tuple[float, ...]]
    alarm: bool


def population_stability_index(reference: npt.ArrayLike, window: npt.ArrayLike) -> float:
    """PSI over the deciles of the reference: the sum of (w − r)·ln(w / r) of both shares.

    >>> round(population_stability_index(range(100), range(100)), 6)
    0.0
    """
    first, second = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    edges = np.unique(np.quantile(first, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
                   / len(values), _LEAST_SHARE)
        for values in (first, second)
    ]  # fmt: skip
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def find_shifts(
    reference: Mapping[str, Array],
    window: Mapping[str, Array],
    features: Sequence[str],
    *,
    psi: float = PSI_BOUND,
    p_value: float = P_BOUND,
) -> list[Shift]:
    """Compare features, the largest shift first; those without values on both sides are left out.

    Args:
        reference: Values by feature.
        window: Values by feature.
        features: Names of the compared features.
        psi: Lower bound of the index for an alarm.
        p_value: Upper bound of the p-value for an alarm.
    """
    from scipy.stats import ks_2samp

    shifts = []
    for name in features:
        pair = [np.asarray(side.get(name, ()), np.float64) for side in (reference, window)]
        first, second = (values[np.isfinite(values)] for values in pair)
        if min(len(first), len(second)) < 2:
            continue
        index = population_stability_index(first, second)
        chance = float(ks_2samp(first, second).pvalue)
        levels = (0.05, 0.25, 0.5, 0.75, 0.95)
        shifts.append(
            Shift(
                feature=name,
                reference=len(first),
                window=len(second),
                psi=index,
                p_value=chance,
                quantiles=(
                    tuple(map(float, np.quantile(first, levels))),
                    tuple(map(float, np.quantile(second, levels))),
                ),
                alarm=index > psi and chance < p_value,
            )
        )
    return sorted(shifts, key=lambda shift: -shift.psi)
