"""Random initial weights, which a network whose weights are in a file doesn't need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

_OMITTED: ContextVar[bool] = ContextVar("initial weights are omitted", default=False)


@contextmanager
def without_initial_weights() -> Iterator[None]:
    """Build networks whose large convolutions have undefined weights, in a tenth of the time."""
    token = _OMITTED.set(True)
    try:
        yield
    finally:
        _OMITTED.reset(token)


class Convolution(nn.Conv2d):
    """A convolution that heeds :func:`without_initial_weights`."""

    def reset_parameters(self) -> None:
        """Draw the weights."""
        if not _OMITTED.get():
            super().reset_parameters()
