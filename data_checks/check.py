"""What an expectation is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Severity(StrEnum):
    """What a failure does."""

    BLOCK = "block"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation.

    Attributes:
        name: Names the expectation and the derived column that it bounds.
        field: Field of the annotation table that is wrong when it fails.
        says: The expectation in plain words.
        reason: What would go wrong without it.
        severity: Whether a failure stops the flow.
        kind: A bound on numbers, unique values, or membership.
        low: Smallest accepted number; no bound when None.
        high: Largest accepted number; no bound when None.
        among: Accepted values of a membership.
    """

    name: str
    field: str
    says: str
    reason: str
    severity: Severity = Severity.BLOCK
    kind: Literal["between", "unique", "among"] = "between"
    low: float | None = None
    high: float | None = None
    among: tuple[str, ...] = ()


def at_most(
    name: str,
    field: str,
    high: float,
    says: str,
    reason: str,
    severity: Severity = Severity.BLOCK,
) -> Check:
    """An upper bound on the column of the expectation's name."""
    return Check(name=name, field=field, high=high, says=says, reason=reason, severity=severity)


def within(
    name: str, field: str, low: float | None, high: float | None, says: str, reason: str
) -> Check:
    """A lower bound, an upper one or both."""
    return Check(name=name, field=field, low=low, high=high, says=says, reason=reason)
