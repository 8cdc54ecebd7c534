"""The rows of a large table that decide its expectations.

A bound holds for all rows when it holds for those with the largest and smallest values, so Great
Expectations is shown the most extreme rows of every column, whichever side of the bound they are
on, and judges these. How many rows are beyond a bound is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_checks.check import Check
from data_checks.columns.base import Array, Columns
from data_checks.stream import Rows

ROWS_EACH = 20
"""Rows kept at either end of a column."""


class Extremes:
    """The most extreme rows of each column, chunk by chunk, and the rows beyond each bound."""

    def __init__(self, checks: Sequence[Check], repeated: Rows) -> None:
        self._checks = list(checks)
        self._kept: dict[str, tuple[Rows, npt.NDArray[np.float64]]] = {}
        self._words: dict[str, dict[str, int]] = {}
        self._repeated = repeated
        self.beyond: dict[str, int] = {check.name: 0 for check in checks}

    def add(self, rows: Rows, columns: Columns) -> None:
        """Add a chunk.

        Args:
            rows: Numbers of the chunk's rows.
            columns: Their derived columns.
        """
        for check in self._checks:
            values = columns[check.name].values
            if check.kind == "among":
                names, first, counts = _distinct(values)
                seen = self._words.setdefault(check.name, {})
                for name, position, count in zip(names, first, counts, strict=True):
                    if name not in check.among:
                        self.beyond[check.name] += int(count)
                    if name not in seen and len(seen) < ROWS_EACH * 2:
                        seen[name] = int(rows[position])
            elif check.kind == "between":
                self._add_numbers(check, rows, np.asarray(values, np.float64))

    def _add_numbers(self, check: Check, rows: Rows, values: npt.NDArray[np.float64]) -> None:
        known = np.flatnonzero(~np.isnan(values))
        rows, values = rows[known], values[known]
        low = -np.inf if check.low is None else check.low
        high = np.inf if check.high is None else check.high
        self.beyond[check.name] += int(((values < low) | (values > high)).sum())
        if check.name in self._kept:
            before_rows, before = self._kept[check.name]
            rows, values = np.concatenate([before_rows, rows]), np.concatenate([before, values])
        if len(values) > 2 * ROWS_EACH:
            edge = len(values) - ROWS_EACH
            order = np.argpartition(values, (ROWS_EACH, edge))
            picked = np.concatenate([order[:ROWS_EACH], order[edge:]])
            rows, values = rows[picked], values[picked]
        self._kept[check.name] = rows, values

    @property
    def rows(self) -> Rows:
        """Numbers of the kept rows, sorted."""
        parts = [kept for kept, _ in self._kept.values()]
        parts += [np.array(list(seen.values()), np.int64) for seen in self._words.values()]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *parts, self._repeated]))


def _distinct(values: Array) -> tuple[list[str], Array, Array]:
    names, first, counts = np.unique(values.astype(str), return_index=True, return_counts=True)
    return names.tolist(), first, counts
