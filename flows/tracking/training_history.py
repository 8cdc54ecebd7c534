"""The training history as the trainer writes it, read for the tracker."""

from __future__ import annotations

import json
from pathlib import Path

from hemlets.core.errors import DataError

__all__ = ["read_history"]


def read_history(path: Path) -> list[tuple[int, list[tuple[str, float]]]]:
    """Read a training history: JSON lines of ``{"step": …, "epoch": …, metric: number, …}``.

    Values that are not numbers are passed over. A last line without its end is what a killed
    trainer leaves behind, and is passed over too.

    Returns:
        For each line its step and its named values.

    Raises:
        DataError: The file is absent, or a line is not such an object; the line is named.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the training history can't be read: {error}", where=path) from None
    lines = text.split("\n")[:-1]
    history = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = record.pop("step")
            if isinstance(step, bool) or not isinstance(step, int):
                raise TypeError("step")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise DataError(
                f"line {number} of the training history can't be used: {line[:80]!r}",
                where=f"{path}:{number}",
                expected='a JSON object with a whole number "step"',
                remedy="delete the file and run the stage again",
            ) from None
        numbers = [
            (name, float(value))
            for name, value in record.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        history.append((step, numbers))
    return history
