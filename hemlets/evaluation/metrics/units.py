"""Check that poses are in millimetres, by bone lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemlets.core.arrays import Array, Bool, Float
from hemlets.core.errors import DataError
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.core.wording import counted, truncate_list
from hemlets.evaluation.metrics.alignment import lengths

LONGEST_BONE_MM = (100.0, 1_000.0)
"""Range of the longest part (torso or thigh) of any person."""

_METRE = 1_000.0


def _longest_bone(joints_NJ3: Float, valid_NJ: Bool) -> Float:
    # Part by part: samples stand next to each other in memory, joints don't.
    longest = np.full(len(joints_NJ3), -1.0)
    for parent, child in zip(PART_PARENT, PART_CHILD, strict=True):
        length = lengths(joints_NJ3[:, parent] - joints_NJ3[:, child])
        known = valid_NJ[:, parent] & valid_NJ[:, child]
        np.maximum(longest, np.where(known, length, -1.0), out=longest)
    return np.where(longest >= 0, longest, np.nan)


def check_millimetres(
    predicted_NJ3: Array,
    true_NJ3: Array,
    valid_NJ: Array,
    sample_ids: Array,
    *,
    file: Path | None = None,
) -> None:
    """Refuse poses in another unit than millimetres.

    The truth must have human bone lengths. A prediction may be bad, so it is refused only if 1,000
    times the pose has human size and is much nearer the truth: then it is in metres.

    Args:
        predicted_NJ3: Joints relative to the pelvis.
        true_NJ3: The truth, 0 where not valid.
        valid_NJ: Known joints.
        sample_ids: For the message.
        file: The predictions file, for the message.

    Raises:
        DataError: Another unit; samples are named.
    """
    predicted, true = (np.asarray(x, np.float64, order="F") for x in (predicted_NJ3, true_NJ3))
    valid = np.asarray(valid_NJ, bool, order="F")
    bone = _longest_bone(true, valid)
    known = ~np.isnan(bone)
    low, high = LONGEST_BONE_MM
    odd = known & ((bone < low) | (bone > high))
    if odd.any():
        raise DataError(
            f"the longest bone of {odd.sum()} annotated poses is not of human length "
            f"({np.median(bone[odd]):.3g} mm in the median)",
            where=f"annotations: {truncate_list(sample_ids[odd])}",
            expected=f"{low:g}-{high:g} mm",
            remedy="give joints in millimetres",
        )

    size = _METRE * _longest_bone(predicted, valid)
    human = np.flatnonzero(known & (size >= low) & (size <= high))

    def distance(factor: float) -> Float:
        error = lengths(factor * predicted[human] - true[human])
        return np.asarray(np.where(valid[human], error, 0.0).sum(1))

    metres = human[distance(_METRE) < 0.5 * distance(1.0)]
    if metres.size:
        raise DataError(
            f"{counted(metres.size, 'predicted pose is', 'predicted poses are')} in metres",
            where=f"{file or 'predictions'}: {truncate_list(sample_ids[metres])}",
            expected="millimetres",
            remedy="multiply the predictor's joints by 1000 (column joints3d_mm)",
        )
