"""The lock and the number of a retraining; importing them costs nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

from hemlets.core.errors import ConfigError

_FIRST_DAY: Final = date(2026, 1, 1)
RETRAIN_LOCK: Final = "retrain.lock"
RETRAINING: Final = "a retraining in this workspace"


def run_number(given: int | str, start: datetime) -> int:
    """The number of a retraining.

    Args:
        given: A whole number from 0 on, or ``date``: the days since the start of 2026.
        start: When it was scheduled to start, so that a repeated attempt has the same number.

    Raises:
        ConfigError: Neither a number nor ``date``.
    """
    if given == "date":
        return max((start.astimezone(UTC).date() - _FIRST_DAY).days, 0)
    try:
        number = int(given)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(
            f"{given!r} is not the number of a retraining",
            where="--number",
            expected="a whole number from 0 on, or date",
        )
    return number
