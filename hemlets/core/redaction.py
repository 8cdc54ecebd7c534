"""Redact credentials in displayed URLs."""

from __future__ import annotations

import re
from typing import Final

_USERINFO: Final = re.compile(
    # Everything before the last @ of scheme://user:password@host …
    r"(?<=://)[^\s/?#]*@"
    # … even if the password is not encoded and contains a slash; the 5000 of host:5000/ is none.
    r"|(?<=://)[^\s/?#:@]+:(?!\d+(?:[/?#\s]|$))[^\s@]*@"
)


def redact_url(text: str) -> str:
    """Replace the user name and password of every URL in a text by ``***``.

    Examples:
        >>> redact_url("http://ann:secret@mlflow.example/, run 1")
        'http://***@mlflow.example/, run 1'
    """
    return _USERINFO.sub("***@", text)
