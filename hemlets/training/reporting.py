"""Where a run's figures and pictures go. The engine knows no tracker: others plug theirs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

PROGRESS = "progress.json"
"""In a run's folder: the last row of figures, or how many images its network has looked at."""


class Reporter(Protocol):
    """Takes what rank 0 has to say, a few times a minute and never once a step.

    All of it also lies in the run's folder (``history.jsonl`` and ``pictures/``), so that one
    who comes later, or after a crash, misses nothing.
    """

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Named figures after a step: means of the losses since the last call, and more."""
        ...

    def picture(self, step: int, name: str, image_HW3: npt.NDArray[np.uint8]) -> None:
        """An RGB picture of what the network sees, with each validation."""
        ...


@dataclass(frozen=True)
class Rows:
    """Hands each row of figures to a function, ``step`` and ``steps`` among them."""

    take: Callable[[dict[str, float]], None]

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the row on."""
        self.take({"step": step, **values})

    def picture(self, step: int, name: str, image_HW3: npt.NDArray[np.uint8]) -> None:
        """Pictures lie in the run's folder."""
