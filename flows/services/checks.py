"""Results of the doctor's checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Outcome of a check. The demo can't run with a ``FAIL``."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of one check.

    Attributes:
        name: Subject of the check.
        status: Outcome.
        found: Observed state.
        remedy: What to do if the check did not pass.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
