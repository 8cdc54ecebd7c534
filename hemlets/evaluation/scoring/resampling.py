"""Means with intervals for many figures of a benchmark, quickly.

The unit that is drawn is the sequence (see ``bootstrap``). A figure is drawn over the sequences
that have it, in the order of their names, so that the same numbers have the same interval
wherever they are shown, and whichever samples stand around them. More than 1,000 sequences are
drawn in 1,000 blocks of several each, which leaves the spread as it is and bounds time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.evaluation.intervals import LEVEL, RESAMPLES, Interval

__all__ = ["Resampler"]

_MOST_BLOCKS = 1_000

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]


class Resampler:
    """Draws sequences with replacement and computes any mean on the draws.

    Args:
        sequence_N: the sequence of each sample, as names or as numbers that sort like them.
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
        found, self._sequence = np.unique(sequence_N, return_inverse=True)
        self._sequences = len(found)
        self._resamples, self._level, self._seed = resamples, level, seed

    def mean(self, values_N: Array, rows_N: Array | None = None) -> Interval:
        """Mean of the values that are not NaN, over all samples or some, with its interval."""
        values = np.asarray(values_N, np.float64)
        known = ~np.isnan(values) if rows_N is None else ~np.isnan(values) & rows_N
        if not known.any():
            return Interval(mean=math.nan, low=math.nan, high=math.nan, samples=0, sequences=0)
        drawn = self._drawn(known)
        return self._interval(float(values[known].mean()), drawn.ratio(values, known), drawn, known)

    def mean_of_groups(self, values_N: Array, groups: Sequence[Array]) -> Interval:
        """Mean of the groups' means, each group counting once; NaN if a group has no value."""
        values = np.asarray(values_N, np.float64)
        masks = [~np.isnan(values) & rows for rows in groups]
        together = np.any(masks, axis=0) if masks else np.zeros(len(values), bool)
        drawn = self._drawn(together)
        if not masks or not all(rows.any() for rows in masks):
            return self._interval(math.nan, np.full(1, math.nan), drawn, together)
        draws = np.stack([drawn.ratio(values, rows) for rows in masks])
        mean = float(np.mean([values[rows].mean() for rows in masks]))
        known = ~np.isnan(draws)
        replicates = np.where(known, draws, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        return self._interval(mean, replicates, drawn, together)

    def pooled(self, counts_NAB: Array, figure: Any, key: str) -> Interval:
        """A figure of summed counts, such as a segmentation's F1, with its interval."""
        flat = np.asarray(counts_NAB, np.float64).reshape(len(counts_NAB), -1)
        known = flat.sum(1) > 0
        drawn = self._drawn(known)
        totals = np.zeros((drawn.blocks, flat.shape[1]))
        np.add.at(totals, drawn.block_N[known], flat[known])
        shape = np.shape(counts_NAB)[1:]
        whole = float(figure(flat.sum(0).reshape(shape))[key])
        replicates = figure((drawn.draws_RB @ totals).reshape(-1, *shape))[key]
        return self._interval(whole, replicates, drawn, known)

    def _drawn(self, known_N: Array) -> _Drawn:
        """The sequences that have a value, drawn."""
        present = np.zeros(self._sequences, bool)
        present[self._sequence[known_N]] = True
        sequences = int(present.sum())
        blocks = min(sequences, _MOST_BLOCKS)
        place = np.cumsum(present) - 1
        if sequences > blocks:
            # Neighbours in name are of one clip: they are spread over the blocks.
            order = np.random.default_rng(self._seed).permutation(sequences) % blocks
            place = order[place]
        return _Drawn(
            sequences=sequences,
            block_N=place[self._sequence],
            draws_RB=_draws(blocks, self._resamples, self._seed),
        )

    def _interval(self, mean: float, replicates: Float, drawn: _Drawn, known: Array) -> Interval:
        defined = replicates[~np.isnan(replicates)]
        low = high = math.nan
        if drawn.sequences > 1 and defined.size and math.isfinite(mean):
            tail = 50.0 * (1.0 - self._level)
            low, high = (float(v) for v in np.percentile(defined, [tail, 100.0 - tail]))
        return Interval(
            mean=mean, low=low, high=high, samples=int(known.sum()), sequences=drawn.sequences
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """Draws of the sequences that have a figure.

    Attributes:
        sequences: their number.
        block_N: where each sample's sequence stands in a draw; of no meaning for a sample of
            another sequence.
        draws_RB: how often each of B blocks is in each of R draws.
    """

    sequences: int
    block_N: npt.NDArray[np.int64]
    draws_RB: Float

    @property
    def blocks(self) -> int:
        """That are drawn: the sequences, or fewer blocks of several."""
        return int(self.draws_RB.shape[1])

    def ratio(self, values_N: Float, known_N: Array) -> Float:
        """Mean of the known values in each draw, (R,); NaN in a draw without any."""
        block = self.block_N[known_N]
        total = np.bincount(block, values_N[known_N], self.blocks).astype(np.float64)
        count = np.bincount(block, minlength=self.blocks).astype(np.float64)
        above, below = self.draws_RB @ total, self.draws_RB @ count
        empty = np.full(len(above), math.nan)
        return np.asarray(np.divide(above, below, out=empty, where=below > 0))


@lru_cache(maxsize=4)
def _draws(blocks: int, resamples: int, seed: int) -> Float:
    """How often each block is drawn, (resamples, blocks); the same as in ``bootstrap``."""
    rng = np.random.default_rng(seed)
    share = np.full(blocks, 1 / max(blocks, 1))
    draws = rng.multinomial(blocks, share, resamples).astype(np.float64)
    draws.flags.writeable = False
    return draws
