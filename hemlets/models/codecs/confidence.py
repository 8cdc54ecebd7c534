"""Presence confidence from the joints' confidences."""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Float, Floating
from hemlets.core.skeleton import N_JOINTS

_SURE_JOINTS: Final = N_JOINTS // 2

PERSON_STATISTIC: Final = f"mean-of-highest-{_SURE_JOINTS}-joint-confidences"
"""Name of the statistic of `person_confidence`; thresholds apply to it only."""


def person_confidence(confidence_BJ: Floating) -> Float:
    """Compute the presence confidence in 0–1: the mean of the joints' surer half.

    Hidden or truncated joints have low heatmaps in images of people too; the surer half has not.

    Args:
        confidence_BJ: Peaks of the joints' heatmaps (..., 18); NaN from a network without.

    Returns:
        One number per person (...); NaN if a joint's confidence is NaN.
    """
    ordered = np.sort(np.asarray(confidence_BJ, np.float64), axis=-1)
    surest = ordered[..., -_SURE_JOINTS:]
    return np.asarray(surest.mean(-1))
