"""How sure a prediction is that there is a person, from how sure it is of each joint."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import N_JOINTS

_SURE_JOINTS: Final = N_JOINTS // 2

PERSON_STATISTIC: Final = f"mean-of-highest-{_SURE_JOINTS}-joint-confidences"
"""Name of what `person_confidence` computes: a threshold on it is of no use for another."""


def person_confidence(confidence_BJ: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Confidence in 0–1 that there is a person at all: the mean of the surer half of the joints.

    Joints that are hidden or outside the image have low heatmaps in images of people, too; the
    surer half of them has not, so that half a person is still one.

    Args:
        confidence_BJ: Peaks of the joints' heatmaps (..., 18); NaN from a network without.

    Returns:
        One number for each person (...); NaN where a joint's confidence is.
    """
    ordered = np.sort(np.asarray(confidence_BJ, np.float64), axis=-1)
    surest = ordered[..., -_SURE_JOINTS:]
    return np.asarray(surest.mean(-1))
