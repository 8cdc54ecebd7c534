"""Format counts and lists of names for messages."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun, in the plural unless it is 1.

    Examples:
        >>> counted(1, "sample"), counted(2_000, "sample"), counted(2, "has", "have")
        ('1 sample', '2,000 samples', '2 have')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def truncate_list(values: Iterable[object], most: int = 10) -> str:
    """The first names, and how many more there are.

    Examples:
        >>> truncate_list(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
