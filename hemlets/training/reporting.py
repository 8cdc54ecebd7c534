"""Report a run's figures and pictures; the engine knows no tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hemlets.core.arrays import Image

PROGRESS = "progress.json"
"""File in a run's folder: last row of figures, or progress before the first step."""


class Reporter(Protocol):
    """Receives figures and pictures on rank 0, a few times a minute.

    The run's folder holds all of them too (``history.jsonl`` and ``pictures/``).
    """

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Receive named figures of a step, such as mean losses since the last call."""
        ...

    def picture(self, step: int, name: str, image_HW3: Image) -> None:
        """Receive an RGB picture of predictions at a validation."""
        ...


@dataclass(frozen=True)
class Rows:
    """Passes each row of figures, with ``step`` and ``steps``, to a function."""

    take: Callable[[dict[str, float]], None]

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the row on."""
        self.take({"step": step, **values})

    def picture(self, step: int, name: str, image_HW3: Image) -> None:
        """Ignore the picture, which is in the run's folder."""
