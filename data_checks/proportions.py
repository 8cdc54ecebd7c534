"""Proportions of skeletons: usual shares and lengths of bones, and mirrored parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hemlets.core.arrays import Array, Float, Int32
from hemlets.core.skeleton import FLIP_PARTS, N_PARTS, PART_CHILD, PART_PARENT, PARTS, Joint

_MIN_GROUP = 20
_LENGTH_NOISE = 0.03
_SYMMETRY_NOISE = 0.02

# Parts that make up a standing skeleton from head top to ankle, and their usual share of that
# height, after Drillis and Contini (1966) and adapted to joints that lie between the bones' ends.
_STANDING_SHARE = {
    "head": 0.165, "torso": 0.29, "left_thigh": 0.25, "right_thigh": 0.25,
    "left_shin": 0.26, "right_shin": 0.26, "left_upper_arm": 0.17, "right_upper_arm": 0.17,
    "left_forearm": 0.15, "right_forearm": 0.15,
}  # fmt: skip

NAMES: Final = tuple(part.name for part in PARTS)
LARGE: Final = [NAMES.index(name) for name in _STANDING_SHARE]
"""Large parts; the head comes first."""

SHARES: Final = np.array(list(_STANDING_SHARE.values()))
LEFT: Final = [i for i, name in enumerate(NAMES) if name.startswith("left_")]
RIGHT: Final = [FLIP_PARTS[i] for i in LEFT]


def left_parts_at(joint: Joint) -> list[int]:
    """Return parts of the left side that begin or end at a joint."""
    return [part for part in LEFT if joint in (PART_PARENT[part], PART_CHILD[part])]


def with_twins(parts: list[int]) -> list[int]:
    """Return parts followed by their mirror images."""
    return parts + [FLIP_PARTS[part] for part in parts]


def median(values_NK: Float, *, fewest: int = 1, lower: bool = False) -> Float:
    """Compute the median of each row (N, K), ignoring NaN.

    Args:
        values_NK: Numbers.
        fewest: Fewest numbers for a median; NaN below.
        lower: Take the lower of the two middle numbers instead of their mean.
    """
    ordered = np.sort(values_NK, axis=1)
    count_N = np.isfinite(ordered).sum(1)
    last = np.maximum(count_N, 1)
    row = np.arange(len(ordered))
    below = ordered[row, (last - 1) // 2]
    middle = below if lower else (below + ordered[row, last // 2]) / 2
    return np.asarray(np.where(count_N >= fewest, middle, np.nan), np.float64)


def standing_height(lengths_NP: Float) -> Float:
    """Sum the known bones from head top to ankle (N,); NaN without any."""
    known_NP = np.isfinite(lengths_NP[:, LARGE])
    shares_N = (known_NP * SHARES).sum(1)
    total_N = np.nansum(lengths_NP[:, LARGE], axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(shares_N > 0, total_N / shares_N, np.nan)


def typical_size(log_NP: Float) -> Float:
    """Estimate the log size (N,) of each skeleton as the median over its bones' log lengths.

    In a mean, four wrong bones of ten would hide themselves.
    """
    return median(log_NP[:, LARGE] - np.log(SHARES).astype(log_NP.dtype))


def log_lengths(lengths: Float) -> Float:
    """Return logs of lengths; 0 counts as 1e-9, for a huge but finite ratio."""
    return np.asarray(np.log(lengths + np.asarray(1e-9, lengths.dtype)))


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Usual lengths of bones of each row's subject or dataset, and their noise.

    Attributes:
        groups: (N, 2) dataset and subject of each row as numbers, -1 for groups of few rows.
        usual: (G, 14) log lengths of each group; a dataset's are relative to the row's size.
        noise: (G, 14) standard deviations of the logs.
    """

    groups: Int32
    usual: Float
    noise: Float

    @classmethod
    def of(cls, lengths_NP: Array, sources: Array, subjects: Array) -> Reference:
        """Estimate usual lengths from a whole table.

        Args:
            lengths_NP: Lengths (N, 14) in mm, NaN where unknown.
            sources: (N,) dataset of each row, as text or numbers.
            subjects: (N,) subject of each row, distinct between datasets.
        """
        with np.errstate(divide="ignore"):
            log_NP = log_lengths(lengths_NP)
        size_N = typical_size(log_NP)
        groups = np.full((len(log_NP), 2), -1, np.int32)
        usual: list[Float] = []
        noise: list[Float] = []
        for kind, names in enumerate((sources, subjects)):
            _, group_N = np.unique(names, return_inverse=True)
            order = np.argsort(group_N, kind="stable")
            edges = np.flatnonzero(np.diff(group_N[order])) + 1
            for rows in np.split(order, edges):
                if len(rows) < _MIN_GROUP:
                    continue
                relative = log_NP[rows] - (size_N[rows, None] if kind == 0 else 0)
                middle_P = median(relative.T)
                spread_P = 1.48 * median(np.abs(relative - middle_P).T)
                groups[rows, kind] = len(usual)
                usual.append(middle_P)
                noise.append(np.maximum(spread_P, _LENGTH_NOISE))
        unknown = np.full((1, N_PARTS), np.nan)
        # The last entry stands for "no group": index -1 finds it.
        return cls(
            groups=groups,
            usual=np.concatenate([np.reshape(usual, (-1, N_PARTS)), unknown]),
            noise=np.concatenate([np.reshape(noise, (-1, N_PARTS)), unknown]),
        )

    def at(self, rows: Array, lengths_NP: Float) -> Expected:
        """Return usual lengths of some rows, by their numbers and bones' lengths."""
        source, subject = self.groups[rows].T
        size_N1 = typical_size(log_lengths(lengths_NP))[:, None]
        own = (subject >= 0)[:, None]
        return Expected(
            usual=np.where(own, self.usual[subject], self.usual[source] + size_N1),
            noise=np.where(own, self.noise[subject], self.noise[source]),
        )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Usual log lengths of bones (N, 14) of some rows, and their noise."""

    usual: Float
    noise: Float

    def misfit(self, lengths_NP: Float, parts: list[int]) -> Float:
        """Compute the misfit of pairs of bones (N,), in squared standard deviations.

        Left and right share their deviation from the usual length, so their mean counts once; their
        difference counts separately.
        """
        mirrored = [FLIP_PARTS[part] for part in parts]
        left, right = log_lengths(lengths_NP[:, parts]), log_lengths(lengths_NP[:, mirrored])
        difference = (left - right) / (2 * _SYMMETRY_NOISE)
        mean = ((left + right) / 2 - self.usual[:, parts]) / self.noise[:, parts]
        return np.asarray(np.nansum(difference**2 + np.nan_to_num(mean) ** 2, axis=1))
