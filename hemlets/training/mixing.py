"""Mix sources of training samples by share in every batch.

As in the "2D and 3D mixed training strategy" of Sun et al. (2018), which the paper follows in
section 3.2, by default half of each batch is 3D data and half 2D data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hemlets.core.arrays import Integers
from hemlets.core.errors import ConfigError
from hemlets.data.table import Annotations

_WHERE = "training.mix"


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedSource:
    """The samples of one source.

    Attributes:
        members: Their indices.
        share: Their share of every batch.
    """

    members: Integers
    share: float


def mixed_rows(rows: Annotations, mix: Mapping[str, float]) -> Annotations:
    """Return the rows of the sources in a mix, in order; all rows if it is empty.

    Raises:
        ConfigError: A source of the mix has no row.
    """
    if not mix:
        return rows
    found = sorted(set(map(str, rows.source)))
    missing = sorted(set(mix) - set(found))
    if missing:
        raise ConfigError(
            f"there is no training row of {', '.join(missing)}",
            where=_WHERE,
            expected=f"sources of the data version: {', '.join(found)}",
        )
    return rows.take(np.isin(rows.source.astype(str), list(mix)))


def mixed_sources(rows: Annotations, mix: Mapping[str, float]) -> list[MixedSource]:
    """Return each source's samples and share; empty if batches are drawn from all rows.

    Without a mix, one source with 3D joints and one without are mixed half and half; with more
    sources, every row is drawn equally often.

    Args:
        rows: Rows from :func:`mixed_rows`.
        mix: Weight of each source.
    """
    names = rows.source.astype(str)
    if not mix:
        found = {name: bool(rows.valid3d[names == name].any()) for name in sorted(set(names))}
        if sorted(found.values()) != [False, True]:
            return []
        mix = dict.fromkeys(found, 0.5)
    total = sum(mix.values())
    return [
        MixedSource(members=np.flatnonzero(names == name), share=weight / total)
        for name, weight in sorted(mix.items())
    ]


def batch_counts(shares: list[float], batch_size: int) -> list[int]:
    """Round shares to numbers of samples that sum to the batch, at least one per source.

    Raises:
        ConfigError: The batch is too small for so many sources.
    """
    if batch_size < len(shares):
        raise ConfigError(
            f"{len(shares)} sources don't fit a batch of {batch_size}",
            where="training.batch_size",
            expected=f"at least {len(shares)}",
        )
    exact = [share * batch_size for share in shares]
    counts = [max(int(value), 1) for value in exact]
    while sum(counts) != batch_size:
        step = 1 if sum(counts) < batch_size else -1
        gaps = [(value - count) * step for value, count in zip(exact, counts, strict=True)]
        able = [i for i, count in enumerate(counts) if step > 0 or count > 1]
        counts[max(able, key=lambda i: gaps[i])] += step
    return counts
