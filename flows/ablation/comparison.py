"""Compare arms: means, and paired differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from flows.ablation.arms import Comparison
from flows.ablation.results import Row

_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean paired difference with Student's t interval; NaN below two pairs."""

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """Row of a comparison table.

    Attributes:
        arm: Name of the arm.
        means: Mean of each figure over the seeds.
        seeds: Number of seeds.
        differences: Paired difference of each figure from the first arm's, over common seeds.
    """

    arm: str
    means: dict[str, float]
    seeds: int
    differences: dict[str, Difference]


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float]
) -> Difference:  # fmt: skip
    """Mean of ``values`` minus ``reference`` over their common seeds.

    Pairing cancels the effects of a seed that all arms share: initial weights, sample order and
    augmentation.
    """
    from scipy.stats import t

    seeds = sorted(values.keys() & reference.keys())
    differences = np.array([values[seed] - reference[seed] for seed in seeds])
    if not seeds:
        return Difference(mean=math.nan, low=math.nan, high=math.nan, pairs=0)
    mean = float(differences.mean())
    if len(seeds) < 2:
        return Difference(mean=mean, low=math.nan, high=math.nan, pairs=1)
    error = float(differences.std(ddof=1)) / math.sqrt(len(seeds))
    reach = float(t.ppf(0.5 + _LEVEL / 2, len(seeds) - 1)) * error
    return Difference(mean=mean, low=mean - reach, high=mean + reach, pairs=len(seeds))


def compare(comparison: Comparison, rows: Iterable[Row], figures: Iterable[str]) -> list[Line]:
    """Compute the rows of a comparison table for the arms that have runs."""
    names = tuple(figures)
    by_arm: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, {})[row.seed] = row
    first = by_arm.get(comparison.arms[0], {})
    lines = []
    for arm in comparison.arms:
        runs = by_arm.get(arm, {})
        if not runs:
            continue
        values = {name: {seed: row.figures[name] for seed, row in runs.items()} for name in names}
        lines.append(
            Line(
                arm=arm,
                means={name: float(np.mean(list(values[name].values()))) for name in names},
                seeds=len(runs),
                differences={
                    name: paired_difference(
                        values[name], {seed: row.figures[name] for seed, row in first.items()}
                    )
                    for name in names
                },
            )
        )
    return lines
