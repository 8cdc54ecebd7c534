"""How smooth tracks are, and how late."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def jitter(points_TNC: npt.NDArray[np.floating[Any]]) -> float:
    """Mean length of points' second differences, in their unit per frame²."""
    return float(np.linalg.norm(np.diff(points_TNC, n=2, axis=0), axis=-1).mean())


def lag_frames(
    points_TNC: npt.NDArray[np.floating[Any]],
    truth_TNC: npt.NDArray[np.floating[Any]],
    *,
    most: int = 8,
) -> float:
    """By how many frames points are behind the truth: the shift at which they fit it best."""
    count = len(truth_TNC)
    inside = slice(most, count - most)
    errors = np.array(
        [
            np.square(points_TNC[inside] - truth_TNC[most - shift : count - most - shift]).mean()
            for shift in range(-most, most + 1)
        ]
    )
    best = int(np.clip(errors.argmin(), 1, len(errors) - 2))
    before, here, after = errors[best - 1 : best + 2]
    curve = before - 2 * here + after
    return float(best - most + (0.0 if curve <= 0 else 0.5 * (before - after) / curve))
