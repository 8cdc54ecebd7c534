"""Bootstrap intervals from resampled sequences.

Frames of a sequence are similar, so whole sequences are drawn with replacement (cluster bootstrap,
Field & Welsh 2007); the interval is the percentile interval (Efron & Tibshirani 1993, chapter 13).
With fewer than about twenty sequences it is too narrow, so the number of sequences is always
reported.

Each figure resamples the sequences that have it, in the order of their names: equal numbers have
equal intervals everywhere. More than 1,000 sequences are grouped into 1,000 blocks, which bounds
time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hemlets.core.arrays import Array, Float, Int64
from hemlets.core.errors import DataError
from hemlets.core.wording import counted

RESAMPLES = 2_000
LEVEL = 0.95

_MOST_BLOCKS = 1_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: Mean over the samples that have the metric; NaN without any.
        low: Lower end; NaN with fewer than two sequences.
        high: Upper end.
        samples: Number of samples that have the metric.
        sequences: Number of their sequences.
    """

    mean: float
    low: float
    high: float
    samples: int
    sequences: int

    def to_json(self) -> dict[str, float | int | None]:
        """Convert to plain values; None for undefined ones."""
        return {
            "mean": _number(self.mean),
            "low": _number(self.low),
            "high": _number(self.high),
            "samples": self.samples,
            "sequences": self.sequences,
        }


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """Relative difference of the challenger's mean from the champion's, on the same samples.

    Attributes:
        ratio: Challenger's mean / champion's mean − 1; 0.01 is 1 % larger.
        low: Lower end of the interval.
        high: Upper end.
        challenger: The challenger's mean.
        champion: The champion's mean.
        samples: Number of common samples.
        sequences: Number of their sequences.
        level: Coverage of the interval.
        resamples: Number of resamples.
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
        """Convert to plain values."""
        return dict(self.__dict__)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Resampler:
    """Bootstrap of means over sequences.

    Args:
        sequence_N: Sequence of each sample, as names or as numbers in the same order.
        resamples: Number of resamples.
        seed: Equal seeds give equal intervals.
    """

    def __init__(
        self,
        sequence_N: Array,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        found, self._sequence = np.unique(sequence_N, return_inverse=True)
        self._sequences = len(found)
        self._resamples, self._seed = resamples, seed

    def mean(self, values_N: Array, rows_N: Array | None = None) -> Interval:
        """Compute the mean of non-NaN values, optionally of some rows, with its interval.

        Raises:
            DataError: The number of values is not that of the samples.
        """
        values = np.asarray(values_N, np.float64)
        if values.shape != self._sequence.shape:
            raise DataError(
                f"there are {values.shape} values for {self._sequence.shape} samples",
                expected="one value a sample",
            )
        known = ~np.isnan(values) if rows_N is None else ~np.isnan(values) & rows_N
        if not known.any():
            return Interval(mean=math.nan, low=math.nan, high=math.nan, samples=0, sequences=0)
        drawn = self._drawn(known)
        return self._interval(float(values[known].mean()), drawn.ratio(values, known), drawn, known)

    def mean_of_groups(self, values_N: Array, groups: Sequence[Array]) -> Interval:
        """Compute the unweighted mean of the groups' means; NaN if a group has no value."""
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
        """Compute a function of summed counts, such as a segmentation's F1, with its interval."""
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
        """Resample the sequences that have a value."""
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
            low, high = _ends(defined)
        return Interval(
            mean=mean, low=low, high=high, samples=int(known.sum()), sequences=drawn.sequences
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """Resamples of the sequences that have a figure.

    Attributes:
        sequences: Number of sequences.
        block_N: Block of each sample; undefined for samples of other sequences.
        draws_RB: Count of each of B blocks in each of R resamples.
    """

    sequences: int
    block_N: Int64
    draws_RB: Float

    @property
    def blocks(self) -> int:
        """Number of units in a resample: sequences, or blocks of several sequences."""
        return int(self.draws_RB.shape[1])

    def ratio(self, values_N: Float, known_N: Array) -> Float:
        """Compute the mean of the known values in each resample, (R,); NaN without any."""
        block = self.block_N[known_N]
        total = np.bincount(block, values_N[known_N], self.blocks).astype(np.float64)
        count = np.bincount(block, minlength=self.blocks).astype(np.float64)
        above, below = self.draws_RB @ total, self.draws_RB @ count
        empty = np.full(len(above), math.nan)
        return np.asarray(np.divide(above, below, out=empty, where=below > 0))


@lru_cache(maxsize=4)
def _draws(blocks: int, resamples: int, seed: int) -> Float:
    """Count how often each block is drawn, (resamples, blocks)."""
    rng = np.random.default_rng(seed)
    share = np.full(blocks, 1 / max(blocks, 1))
    draws = rng.multinomial(blocks, share, resamples).astype(np.float64)
    draws.flags.writeable = False
    return draws


def _ends(replicates: Float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(replicates, [tail, 100.0 - tail])
    return float(low), float(high)


def paired_ratio(
    challenger_N: Array,
    champion_N: Array,
    sequences_N: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedRatio:
    """Compute challenger's mean / champion's mean − 1, both over the same resampled sequences.

    Args:
        challenger_N: A metric by sample.
        champion_N: The same metric on the same samples.
        sequences_N: Sequence of each sample.
        resamples: Number of resamples.
        seed: Equal seeds give equal intervals.

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
    above = draws @ np.bincount(cluster, challenger, len(names))
    below = draws @ np.bincount(cluster, champion, len(names))
    # A draw in which the champion is perfect counts as the largest loss, or as none.
    even = np.where(above > 0, np.inf, 1.0)
    replicates = np.divide(above, below, out=even, where=below > 0) - 1.0
    low, high = _ends(replicates)
    return PairedRatio(
        ratio=float(challenger.mean() / champion.mean() - 1.0),
        low=low,
        high=high,
        challenger=float(challenger.mean()),
        champion=float(champion.mean()),
        samples=int(challenger.size),
        sequences=len(names),
        level=LEVEL,
        resamples=resamples,
    )
