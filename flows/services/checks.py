"""What a check of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check came out. The demo can't run with a ``FAIL``."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: Whether it will do.
        found: What there is.
        remedy: What to do, where it won't do.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
