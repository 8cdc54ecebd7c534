"""Depth relations of the 14 parts, equation (1), from FBI labels or ordinal depth.

+1 (Forward) means that the child is nearer the camera than its parent, -1 (Backward) that it is
farther, 0 neither. An unknown relation has validity False and value 0. Only kinematically
connected parts have a relation; other pairs of joints are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Array, Bool
from hemlets.core.skeleton import N_PARTS, PARTS, Joint

FORWARD: Final = "F"
BACKWARD: Final = "B"
UNKNOWN: Final = "U"

LABELS: Final = {FORWARD: 1, BACKWARD: -1, UNKNOWN: 0}
"""Relation of each FBI label (section 5); U has none."""


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Relations of some people.

    Attributes:
        values_NK: (N, 14) in -1, 0, +1; 0 where unknown.
        valid_NK: (N, 14) mask of known relations.
        source: Origin: ``3d``, ``fbi`` or ``ordinal``.
    """

    values_NK: npt.NDArray[np.int8]
    valid_NK: Bool
    source: str

    def columns(self) -> dict[str, Any]:
        """Columns of the annotation table; the source is empty where a row has no relation."""
        known = np.asarray(self.valid_NK.any(1))
        return {
            "relations": self.values_NK,
            "relations_valid": self.valid_NK,
            "relations_source": [self.source if row else "" for row in known.tolist()],
        }


def relations_from_labels(labels_NK: npt.NDArray[np.str_]) -> Relations:
    """Convert labels ``F``, ``B`` and ``U``; anything else counts as unknown.

    Args:
        labels_NK: (N, 14) in the order of `hemlets.core.skeleton.PARTS`.
    """
    forward = np.asarray(labels_NK == FORWARD, bool)
    backward = np.asarray(labels_NK == BACKWARD, bool)
    values = forward.astype(np.int8) - backward.astype(np.int8)
    known = np.asarray(forward | backward, bool)
    return Relations(values_NK=values, valid_NK=known, source="fbi")


def relations_from_order(order_NSS: Array, joints: Sequence[Joint | None]) -> Relations:
    """Convert ordinal depth: which joint of each pair is nearer.

    A pair whose two directions contradict each other is unknown. Annotators judge without the limit
    of 30°: 0 means that they saw no difference.

    Args:
        order_NSS: (N, S, S); +1 at [i, j] where joint i is farther away than joint j, -1 where it
            is nearer, 0 where neither is, NaN where it was not annotated.
        joints: The project's joint for each of the S; None if it has none.
    """
    place = {joint: index for index, joint in enumerate(joints) if joint is not None}
    values = np.zeros((len(order_NSS), N_PARTS), np.int8)
    valid = np.zeros((len(order_NSS), N_PARTS), bool)
    for number, part in enumerate(PARTS):
        if part.parent in place and part.child in place:
            # A parent farther than its child is +1, Forward, as in equation (1).
            there = np.asarray(order_NSS[:, place[part.parent], place[part.child]], np.float64)
            back = np.asarray(order_NSS[:, place[part.child], place[part.parent]], np.float64)
            order = np.where(np.isnan(there), -back, there)
            opposite = np.isnan(there) | np.isnan(back) | (there == -back)
            valid[:, number] = np.isin(order, (-1, 0, 1)) & opposite
            values[:, number] = np.where(valid[:, number], order, 0).astype(np.int8)
    return Relations(values_NK=values, valid_NK=valid, source="ordinal")
