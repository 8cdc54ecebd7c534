"""Intervals from resampled sequences.

Frames of one sequence resemble each other, so resampling frames would make any difference look
certain. Whole sequences are drawn with replacement (cluster bootstrap, Field & Welsh 2007); the
interval is the percentile interval (Efron & Tibshirani 1993, chapter 13). With fewer than about
twenty sequences it is too narrow: the number of sequences is always reported beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.wording import counted

__all__ = ["RESAMPLES", "Interval", "PairedRatio", "bootstrap_mean", "paired_ratio"]

RESAMPLES = 2_000
LEVEL = 0.95

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: over the samples that have the metric; NaN without any.
        low: lower end; NaN with fewer than two sequences, from which nothing can be told.
        high: upper end.
        samples: that have the metric.
        sequences: they come from.
    """

    mean: float
    low: float
    high: float
    samples: int
    sequences: int

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values; None for what is not defined."""
        return {
            "mean": _number(self.mean),
            "low": _number(self.low),
            "high": _number(self.high),
            "samples": self.samples,
            "sequences": self.sequences,
        }


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """How much larger the challenger's mean is than the champion's, on the same samples.

    Attributes:
        ratio: challenger's mean / champion's mean − 1: 0.01 is 1 % more.
        low: lower end of the interval.
        high: upper end.
        challenger: its mean.
        champion: its mean.
        samples: in both.
        sequences: they come from.
        level: of the interval.
        resamples: drawn.
    """

    ratio: float
    low: float
    high: float
    challenger: float
    champion: float
    samples: int
    sequences: int
    level: float
    resamples: int

    def to_json(self) -> dict[str, float | int]:
        """Plain values."""
        return dict(self.__dict__)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _draws(clusters: int, resamples: int, seed: int) -> Float:
    """How often each cluster is drawn, (resamples, clusters)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(np.float64)


def _totals(values_N: Float, cluster_N: npt.NDArray[np.int64], clusters: int) -> Float:
    totals = np.bincount(cluster_N, weights=values_N, minlength=clusters)
    return totals.astype(np.float64)


def _ends(replicates: Float, level: float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(replicates, [tail, 100.0 - tail])
    return float(low), float(high)


def bootstrap_mean(
    values_N: Array,
    sequences_N: Array,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Mean over samples, with an interval from resampled sequences.

    Args:
        values_N: a metric by sample; samples without it (NaN) are left out.
        sequences_N: the sequence of each sample.
        resamples: number of draws.
        level: share that the interval is to cover.
        seed: the same seed gives the same interval.

    Raises:
        DataError: The lengths differ.
    """
    values = np.asarray(values_N, np.float64)
    sequences = np.asarray(sequences_N)
    if values.shape != sequences.shape or values.ndim != 1:
        raise DataError(
            f"there are {values.shape} values and {sequences.shape} names of sequences",
            expected="one of each a sample",
        )
    known = ~np.isnan(values)
    values, sequences = values[known], sequences[known]
    names, cluster = np.unique(sequences, return_inverse=True)
    mean = float(values.mean()) if values.size else math.nan
    low = high = math.nan
    if len(names) > 1:
        draws = _draws(len(names), resamples, seed)
        total = _totals(values, cluster, len(names))
        count = _totals(np.ones_like(values), cluster, len(names))
        low, high = _ends((draws @ total) / (draws @ count), level)
    return Interval(mean=mean, low=low, high=high, samples=int(values.size), sequences=len(names))


def paired_ratio(
    challenger_N: Array,
    champion_N: Array,
    sequences_N: Array,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedRatio:
    """Challenger's mean / champion's mean − 1, both over the same draws of sequences.

    Args:
        challenger_N: a metric by sample.
        champion_N: the same metric on the same samples in the same order.
        sequences_N: the sequence of each sample.
        resamples: number of draws.
        level: share that the interval is to cover.
        seed: the same seed gives the same interval.

    Raises:
        DataError: The lengths differ, one model lacks a value that the other has, there are
            fewer than two sequences, or the champion's mean is not above 0.
    """
    challenger = np.asarray(challenger_N, np.float64)
    champion = np.asarray(champion_N, np.float64)
    sequences = np.asarray(sequences_N)
    if not challenger.shape == champion.shape == sequences.shape or sequences.ndim != 1:
        raise DataError(
            f"challenger, champion and sequences have {challenger.shape}, {champion.shape} and "
            f"{sequences.shape} values",
            expected="one of each a sample",
        )
    known = np.isfinite(challenger)
    if not np.array_equal(known, np.isfinite(champion)):
        rows = np.flatnonzero(known != np.isfinite(champion))
        raise DataError(
            counted(rows.size, "sample has", "samples have")
            + " a finite value from one model only",
            where="rows " + ", ".join(str(row) for row in rows[:10]),
            remedy="score both models on the same samples",
        )
    challenger, champion, sequences = challenger[known], champion[known], sequences[known]
    names, cluster = np.unique(sequences, return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"the samples come from {counted(len(names), 'sequence')}: no interval can be drawn",
            expected="at least two sequences",
            remedy="compare on a split with more sequences",
        )
    if not champion.mean() > 0:
        raise DataError(
            f"the champion's mean is {champion.mean()}, so no ratio to it is defined",
            expected="a mean above 0",
        )
    draws = _draws(len(names), resamples, seed)
    above = draws @ _totals(challenger, cluster, len(names))
    below = draws @ _totals(champion, cluster, len(names))
    # A draw in which the champion is perfect counts as the largest loss, or as none.
    even = np.where(above > 0, np.inf, 1.0)
    replicates = np.divide(above, below, out=even, where=below > 0) - 1.0
    low, high = _ends(replicates, level)
    return PairedRatio(
        ratio=float(challenger.mean() / champion.mean() - 1.0),
        low=low,
        high=high,
        challenger=float(challenger.mean()),
        champion=float(champion.mean()),
        samples=int(challenger.size),
        sequences=len(names),
        level=level,
        resamples=resamples,
    )
