"""What a derived column is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One value a row, and how to say in words what was seen there.

    Attributes:
        values: (N,) numbers, NaN where the expectation does not apply, or (N,) text.
        observed: The observation at a row for people; called for failing rows only.
    """

    values: Array
    observed: Callable[[int], str]


Columns = dict[str, Column]


def names_where(names: tuple[str, ...], flags: Array, limit: int = 4) -> str:
    """The names that a mask picks, with the number of those left out."""
    picked = [name for name, flag in zip(names, flags, strict=True) if flag]
    rest = len(picked) - limit
    return ", ".join(picked[:limit]) + (f" and {rest} more" if rest > 0 else "")
