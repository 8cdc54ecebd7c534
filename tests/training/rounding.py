"""How far two trainings may differ that add up the same numbers in another order.

Single precision rounds each operation by at most u = 2⁻²⁴ of its result, and a sum of n terms, in
whatever order, by about √n·u of their size (Higham 2002, sections 2.8 and 4.2). A network of L
layers is a chain of such sums, so that its rounding is about √(L·n)·u.

- A loss is a mean of terms that are not negative, over 8 samples of 18 joints whose roundings are
  independent: √(L·n / 144)·u with n = 4,608 products in a convolution's output.
- A gradient of a weight is a sum over the batch's pixels, n = 8 · 32 · 32 in the first layer, of
  terms of both signs, which cancel: √(L·n)·u, and sixteen times that where they nearly do.
- AdamW divides a gradient by its own size, so that one which is nothing but rounding still moves
  its weight by a whole step. To first order this changes the loss by the learning rate times the
  gradients' rounding: by `GRADIENT` of what training changes it by, which is less than the loss.
  It holds at small rates alone: at large ones training itself amplifies what it starts from.

A gradient of another scale is off by a half at least, and losses of one process by as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from safetensors.torch import load_file

_U: Final = 2.0**-24
_LAYERS: Final = 60
LOSS: Final = 4 * math.sqrt(_LAYERS * 4_608 / 144) * _U
GRADIENT: Final = 16 * math.sqrt(_LAYERS * 8 * 32 * 32) * _U

SMALL_RATE: Final = 1e-4


def assert_same_losses(
    found: Sequence[dict[str, float]], expected: Sequence[dict[str, float]]
) -> None:
    """Losses of all steps agree: of the first step's equal weights closely, then as they may."""
    assert len(found) == len(expected) > 0
    for step, (row, other) in enumerate(zip(found, expected, strict=True)):
        assert row == pytest.approx(other, rel=GRADIENT if step else LOSS), step


def assert_same_gradients(found: Path, expected: Path) -> None:
    """The gradients of each parameter, as `one_of_several.recording` wrote them, agree."""
    ours: dict[str, Any] = load_file(found)
    theirs: dict[str, Any] = load_file(expected)
    assert ours.keys() == theirs.keys()
    apart = {
        name: float((ours[name] - value).norm() / value.norm())
        for name, value in theirs.items()
        if value.any()
    }
    assert len(apart) > 10
    assert {name: share for name, share in apart.items() if share > GRADIENT} == {}
