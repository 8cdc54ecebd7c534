"""Rules: the measurement of each row or entry, its bound, its description and its scope.

A rule is one function with the `rule` decorator in `data_checks.rules`. Great Expectations'
suites, the pages and the messages are generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from hemlets.core.arrays import Array, Bool, Float


class Severity(StrEnum):
    """Effect of a failure."""

    BLOCK = "block"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One value per row, and a description of failing rows.

    Attributes:
        values: (N,) numbers, NaN where the rule does not apply, or (N,) text, None there.
        observed: Describes the finding in a row; called for failing rows only.
    """

    values: Array
    observed: Callable[[int], str]

    def where(self, applies_N: Array) -> Measured:
        """Restrict the measurement to some rows."""
        is_text = self.values.dtype == object
        other: Any = None if is_text else np.nan
        values_N = np.where(applies_N, self.values, other)
        return Measured(
            values=values_N if is_text else values_N.astype(np.float64), observed=self.observed
        )


@dataclass(frozen=True, kw_only=True)
class Entries:
    """One value for each of several entries: columns, splits, joints, datasets, distributions."""

    names: tuple[str, ...]
    fields: tuple[str, ...]
    values: tuple[float, ...]
    observed: tuple[str, ...]

    @classmethod
    def of(cls, field: str, values: Mapping[str, tuple[float, str]]) -> Entries:
        """Build entries of one field from each entry's value and description."""
        return cls(
            names=tuple(values),
            fields=(field,) * len(values),
            values=tuple(float(value) for value, _ in values.values()),
            observed=tuple(text for _, text in values.values()),
        )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One expectation.

    Attributes:
        name: Unique name, also the column of the measured values.
        suite: Great Expectations suite that the rule is part of: a kind of rows, or entries.
        field: Field of the annotation table that is wrong when the rule fails.
        says: What is expected, as a sentence.
        reason: What goes wrong where the rule fails.
        measure: Computes `Measured` from rows, or `Entries` from a whole version.
        severity: Whether a failure stops the flow.
        at_least: Smallest accepted number; no bound when None.
        at_most: Largest accepted number; no bound when None.
        one_of: Accepted text; any when empty.
        matches: Regular expression that the whole text must match; none when empty.
        unique: Whether each text may occur only once.
    """

    name: str
    suite: str
    field: str
    says: str
    reason: str
    measure: Callable[[Any], Any]
    severity: Severity = Severity.BLOCK
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    matches: str = ""
    unique: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the rule measures text rather than numbers."""
        return self.unique or bool(self.one_of or self.matches)

    def excess(self, values: Any) -> Float:
        """Return by how much numbers (N,) exceed the bound: positive where the rule fails."""
        low = -np.inf if self.at_least is None else self.at_least
        high = np.inf if self.at_most is None else self.at_most
        numbers_N = np.asarray(values, np.float64)
        return np.maximum(low - numbers_N, numbers_N - high)

    def fails(self, values_N: Array) -> Bool:
        """Mark numbers (N,) beyond the bound, or text that is not accepted.

        NaN and None never fail. Repeated text is not searched here.
        """
        if self.is_text:
            wrong = {v for v in set(values_N.tolist()) - {None} if not self._accepts(v)}
            return np.array([value in wrong for value in values_N.tolist()], bool)
        return np.asarray(self.excess(values_N) > 0)

    def _accepts(self, text: str) -> bool:
        accepted = not self.one_of or text in self.one_of
        return accepted and (not self.matches or bool(re.fullmatch(self.matches, text)))


RULES: dict[str, Rule] = {}
"""Every built-in rule by its name, in the order of definition."""


def register(new: Rule) -> Rule:
    """Add a rule to `RULES`.

    Raises:
        ValueError: The name is taken.
    """
    if new.name in RULES:
        raise ValueError(f"two rules are called {new.name}")
    RULES[new.name] = new
    return new


def rule(
    suite: str,
    field: str,
    *,
    severity: Severity = Severity.BLOCK,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
    unique: bool = False,
) -> Callable[[Callable[[Any], Any]], Rule]:
    """Make a rule of a function that measures it.

    The function's name is the rule's name. The first line of its docstring is the expectation
    as a sentence, the rest is the reason; both appear in messages and pages.

    Args:
        suite: Suite that the rule is part of.
        field: Field of the annotation table that is wrong when the rule fails.
        severity: Whether a failure stops the flow.
        at_least: Smallest accepted number.
        at_most: Largest accepted number.
        one_of: Accepted text.
        unique: Whether each text may occur only once.
    """

    def make(measure: Callable[[Any], Any]) -> Rule:
        says, _, reason = (measure.__doc__ or "").partition("\n\n")
        return register(
            Rule(
                name=measure.__name__, suite=suite, field=field, measure=measure,
                says=" ".join(says.split()), reason=" ".join(reason.split()),
                severity=severity, at_least=at_least, at_most=at_most, one_of=one_of,
                unique=unique,
            )
        )  # fmt: skip

    return make


def numbers(values_N: Array, observed: Callable[[int], str]) -> Measured:
    """Measure a number per row."""
    return Measured(values=np.asarray(values_N, np.float64), observed=observed)


def texts(values_N: Array, observed: Callable[[int], str]) -> Measured:
    """Measure a text per row."""
    return Measured(values=np.array([str(v) for v in values_N], object), observed=observed)


def largest(values_NK: Float, observed: Callable[[int, int], str]) -> Measured:
    """Measure the largest of several numbers per row; NaN where all are NaN or -inf.

    Args:
        values_NK: (N, K) numbers.
        observed: Describes a row and the place of its largest number.
    """
    filled_NK = np.where(np.isnan(values_NK), -np.inf, values_NK)
    most_N = filled_NK.max(1)
    return Measured(
        values=np.where(np.isneginf(most_N), np.nan, most_N),
        observed=lambda row: observed(row, int(np.argmax(filled_NK[row]))),
    )


def flagged(flags_NK: Array, names: Sequence[str], text: str) -> Measured:
    """Measure how many entries per row are flagged; the description names them before a text."""
    return numbers(flags_NK.sum(1), lambda row: f"{names_where(names, flags_NK[row])}{text}")


def names_where(names: Sequence[str], flags: Array, limit: int = 4) -> str:
    """List the names that a mask selects, with the number of omitted ones."""
    picked = [name for name, flag in zip(names, flags, strict=True) if flag]
    rest = len(picked) - limit
    return ", ".join(picked[:limit]) + (f" and {rest} more" if rest > 0 else "")
