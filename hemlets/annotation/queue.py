"""What to label next."""

from __future__ import annotations

from pathlib import Path

from hemlets.core.errors import ConfigError


def read_queue(path: Path) -> list[str]:
    """Names of samples, one a line; each counts once.

    Raises:
        ConfigError: The file can't be read, or names nothing.
    """
    try:
        names = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the queue can't be read: {error}",
            where=f"--queue {path}",
            expected="a text file with the name of a sample a line",
        ) from error
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise ConfigError("the queue is empty", where=f"--queue {path}")
    return found
