"""Addresses as people may see them: without the name and the password in them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["masked"]

_USERINFO: Final = re.compile(
    # What stands before the last @ of scheme://user:password@host …
    r"(?<=://)[^\s/?#]*@"
    # … also where a password was not encoded and holds a slash; host:5000/ is none.
    r"|(?<=://)[^\s/?#:@]+:(?!\d+(?:[/?#\s]|$))[^\s@]*@"
)


def masked(text: str) -> str:
    """A text with the userinfo of every URL in it replaced by ``***``.

    Examples:
        >>> masked("http://ann:secret@mlflow.example/, run 1")
        'http://***@mlflow.example/, run 1'
    """
    return _USERINFO.sub("***@", text)
