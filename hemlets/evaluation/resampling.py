"""One set of draws for every figure of a benchmark, so that figures can be compared.

The unit that is drawn is the sequence (see ``bootstrap``). More than 1,000 sequences are drawn in
1,000 blocks of several each, which leaves the spread as it is and bounds time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.evaluation.bootstrap import LEVEL, RESAMPLES, Interval

__all__ = ["Resampler"]

_MOST_BLOCKS = 1_000

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]


class Resampler:
    """Draws sequences with replacement and computes any mean on the same draws.

    Args:
        sequence_N: the sequence of each sample, as numbers.
        resamples: draws.
        level: share that an interval is to cover.
        seed: the same seed gives the same intervals.
    """

    def __init__(
        self,
        sequence_N: Array,
        *,
        resamples: int = RESAMPLES,
        level: float = LEVEL,
        seed: int = 0,
    ) -> None:
        found, code = np.unique(sequence_N, return_inverse=True)
        self._sequence, self._sequences = code, len(found)
        self._blocks = min(len(found), _MOST_BLOCKS)
        self._level = level
        rng = np.random.default_rng(seed)
        block_of = rng.permutation(np.arange(len(found)) % max(self._blocks, 1))
        self._block = block_of[code]
        share = np.full(self._blocks, 1 / max(self._blocks, 1))
        self._draws = rng.multinomial(self._blocks, share, resamples).astype(np.float64)

    def mean(self, values_N: Array, rows_N: Array | None = None) -> Interval:
        """Mean of the values that are not NaN, over all samples or some, with its interval."""
        values = np.asarray(values_N, np.float64)
        known = ~np.isnan(values) if rows_N is None else ~np.isnan(values) & rows_N
        total, count = self._totals(values, known)
        if not count.sum():
            return Interval(mean=math.nan, low=math.nan, high=math.nan, samples=0, stretches=0)
        return self._interval(float(values[known].mean()), self._ratio(total, count), known)

    def mean_of_groups(self, values_N: Array, groups: Sequence[Array]) -> Interval:
        """Mean of the groups' means, each group counting once; NaN if a group has no value."""
        values = np.asarray(values_N, np.float64)
        masks = [~np.isnan(values) & rows for rows in groups]
        together = np.any(masks, axis=0) if masks else np.zeros(len(values), bool)
        if not masks or not all(rows.any() for rows in masks):
            return self._interval(math.nan, np.full(1, math.nan), together)
        draws = np.stack([self._ratio(*self._totals(values, rows)) for rows in masks])
        mean = float(np.mean([values[rows].mean() for rows in masks]))
        known = ~np.isnan(draws)
        replicates = np.where(known, draws, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        return self._interval(mean, replicates, together)

    def pooled(self, counts_NAB: Array, figure: Any, key: str) -> Interval:
        """A figure of summed counts, such as a segmentation's F1, with its interval."""
        flat = np.asarray(counts_NAB, np.float64).reshape(len(counts_NAB), -1)
        totals = np.zeros((self._blocks, flat.shape[1]))
        np.add.at(totals, self._block, flat)
        shape = np.shape(counts_NAB)[1:]
        whole = float(figure(flat.sum(0).reshape(shape))[key])
        replicates = figure((self._draws @ totals).reshape(-1, *shape))[key]
        return self._interval(whole, replicates, flat.sum(1) > 0)

    def _totals(self, values: Float, known: Array) -> tuple[Float, Float]:
        block = self._block[known]
        total = np.bincount(block, values[known], self._blocks).astype(np.float64)
        return total, np.bincount(block, minlength=self._blocks).astype(np.float64)

    def _ratio(self, total: Float, count: Float) -> Float:
        above, below = self._draws @ total, self._draws @ count
        empty = np.full(len(above), math.nan)
        return np.asarray(np.divide(above, below, out=empty, where=below > 0))

    def _interval(self, mean: float, replicates: Float, known: Array) -> Interval:
        sequences = len(np.unique(self._sequence[known]))
        defined = replicates[~np.isnan(replicates)]
        low = high = math.nan
        if sequences > 1 and defined.size and math.isfinite(mean):
            tail = 50.0 * (1.0 - self._level)
            low, high = (float(v) for v in np.percentile(defined, [tail, 100.0 - tail]))
        return Interval(
            mean=mean, low=low, high=high, samples=int(known.sum()), stretches=sequences
        )
