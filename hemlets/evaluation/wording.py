"""How messages list names."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["some"]


def some(values: Iterable[object], most: int = 10) -> str:
    """The first names, and how many more there are.

    Examples:
        >>> some(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
