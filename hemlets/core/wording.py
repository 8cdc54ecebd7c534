"""Format counts, lists of names and messages for people."""

from __future__ import annotations

import textwrap
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


def code_block(text: str, width: int = 110) -> str:
    r"""A message as a Markdown code block, whose long lines pages would cut off.

    Examples:
        >>> print(code_block("what is wrong\n  remedy: try again", width=16))
        ```text
        what is wrong
          remedy: try
            again
        ```
    """
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines += textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]  # fmt: skip
    return "\n".join(["```text", *lines, "```"])
