"""Scores of tracks: MOTA and identity switches (Bernardin 2008), IDF1 (Ristani 2016)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from hemlets.core.boxes import box_iou
from hemlets.inference.types import Box

OVERLAP = 0.5
"""IoU from which a box is a person's."""

Boxes = Mapping[int, Box]


@dataclass(frozen=True, kw_only=True)
class TrackScore:
    """Counts over frames.

    Attributes:
        people: True boxes.
        missed: Of them.
        others: Boxes that are nobody's.
        switches: Frames in which a person's number differs from the one before.
        identity_hits: Boxes whose number is the person's, under the best one-to-one naming.
        found: Boxes.
    """

    people: int
    missed: int
    others: int
    switches: int
    identity_hits: int
    found: int

    @property
    def mota_pct(self) -> float:
        """Multiple-object tracking accuracy."""
        return 100 * (1 - (self.missed + self.others + self.switches) / max(self.people, 1))

    @property
    def idf1_pct(self) -> float:
        """F1 of identities."""
        return 100 * 2 * self.identity_hits / max(self.people + self.found, 1)


def score(truth: Sequence[Boxes], found: Sequence[Boxes]) -> TrackScore:
    """Score the boxes of each frame, by the person's and by the track's number.

    A person keeps the track of the frame before while the boxes overlap; others are assigned so
    that the overlap is largest.
    """
    missed = others = switches = 0
    number_of: dict[int, int] = {}
    together: Counter[tuple[int, int]] = Counter()
    for people, boxes in zip(truth, found, strict=True):
        iou = {(p, t): box_iou(a, b) for p, a in people.items() for t, b in boxes.items()}
        together.update(pair for pair, value in iou.items() if value >= OVERLAP)
        pairs = {p: t for p, t in number_of.items() if iou.get((p, t), 0.0) >= OVERLAP}
        left_p = [p for p in people if p not in pairs]
        left_t = [t for t in boxes if t not in pairs.values()]
        likeness = np.array([[iou[p, t] for t in left_t] for p in left_p]).reshape(
            len(left_p), len(left_t)
        )
        likeness[likeness < OVERLAP] = 0.0
        for row, column in zip(*linear_sum_assignment(-likeness), strict=True):
            if likeness[row, column] > 0:
                pairs[left_p[row]] = left_t[column]
        switches += sum(number_of.get(p, t) != t for p, t in pairs.items())
        number_of |= pairs
        missed += len(people) - len(pairs)
        others += len(boxes) - len(pairs)
    names_p = sorted({p for p, _ in together})
    names_t = sorted({t for _, t in together})
    hits = np.array([[together[p, t] for t in names_t] for p in names_p]).reshape(
        len(names_p), len(names_t)
    )
    rows, columns = linear_sum_assignment(-hits)
    return TrackScore(
        people=sum(map(len, truth)),
        missed=missed,
        others=others,
        switches=switches,
        identity_hits=int(hits[rows, columns].sum()),
        found=sum(map(len, found)),
    )
