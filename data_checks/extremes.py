"""Select the rows of a large table that decide its rules.

A bound holds for all rows if it holds for the largest and smallest values. So Great Expectations
gets the most extreme rows of every rule, on both sides of the bound. Rows beyond a bound are
counted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_checks.rows import Rows
from data_checks.rule import Rule
from hemlets.core.arrays import Array, Float, Int64

ROWS_EACH = 20
"""Number of rows at either end of a rule's values."""


class Extremes:
    """Collects the most extreme rows of each rule, and counts the rows beyond each bound.

    Args:
        rules: Rules of rows.
        repeated: Numbers of rows with repeated text that must be unique.
    """

    def __init__(self, rules: Sequence[Rule], repeated: Int64) -> None:
        self._rules = list(rules)
        self._kept: dict[str, tuple[Int64, Float]] = {}
        self._texts: dict[str, dict[str, int]] = {}
        self._repeated = repeated
        self.beyond: dict[str, int] = {rule.name: 0 for rule in rules}

    def add(self, rows: Rows) -> None:
        """Add a chunk."""
        for rule in self._rules:
            values = rows.measured(rule).values
            if not rule.is_text:
                self._add_numbers(rule, rows.numbers, values)
            elif not rule.unique:
                self._add_texts(rule, rows.numbers, values)

    def _add_texts(self, rule: Rule, rows: Int64, values: Array) -> None:
        known = np.array([value is not None for value in values], bool)
        rows = rows[known]
        found, first, counts = np.unique(
            values[known].astype(str), return_index=True, return_counts=True
        )  # fmt: skip
        wrong = rule.fails(found)
        self.beyond[rule.name] += int(counts[wrong].sum())
        seen = self._texts.setdefault(rule.name, {})
        # Wrong texts first, so that right ones never crowd them out.
        for position in np.argsort(~wrong, kind="stable"):
            if found[position] not in seen and len(seen) < ROWS_EACH * 2:
                seen[str(found[position])] = int(rows[first[position]])

    def _add_numbers(self, rule: Rule, rows: Int64, values: Array) -> None:
        known = np.flatnonzero(~np.isnan(values))
        rows, values = rows[known], values[known]
        self.beyond[rule.name] += int(rule.fails(values).sum())
        if rule.name in self._kept:
            before_rows, before = self._kept[rule.name]
            rows, values = np.concatenate([before_rows, rows]), np.concatenate([before, values])
        if len(values) > 2 * ROWS_EACH:
            edge = len(values) - ROWS_EACH
            order = np.argpartition(values, (ROWS_EACH, edge))
            picked = np.concatenate([order[:ROWS_EACH], order[edge:]])
            rows, values = rows[picked], values[picked]
        self._kept[rule.name] = rows, values

    @property
    def rows(self) -> Int64:
        """Numbers of the selected rows, sorted."""
        parts = [selected for selected, _ in self._kept.values()]
        parts += [np.array(list(seen.values()), np.int64) for seen in self._texts.values()]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *parts, self._repeated]))
