"""Calibration of confidences: share of correct joints by confidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from hemlets.core.arrays import Array, Float
from hemlets.evaluation.metrics.joints import PCK_THRESHOLD_MM

_BINS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Joints by confidence, in ten bins of 0.1.

    Attributes:
        count: (10,) joints in each bin.
        confidence: (10,) sum of their confidences.
        right: (10,) joints strictly nearer than 150 mm, pelvis at the origin.
    """

    count: Float
    confidence: Float
    right: Float

    @classmethod
    def empty(cls) -> Self:
        """Return the calibration of no joints."""
        return cls(count=np.zeros(_BINS), confidence=np.zeros(_BINS), right=np.zeros(_BINS))

    def add(self, confidence: Array, errors_mm: Array) -> Self:
        """Add joints of any shape; those without an error (NaN) don't count."""
        known = ~np.isnan(errors_mm)
        given = np.asarray(confidence, np.float64)[known].clip(0, 1)
        place = np.minimum((given * _BINS).astype(int), _BINS - 1)
        right = (errors_mm[known] < PCK_THRESHOLD_MM).astype(np.float64)
        return replace(
            self,
            count=self.count + np.bincount(place, minlength=_BINS),
            confidence=self.confidence + np.bincount(place, given, _BINS),
            right=self.right + np.bincount(place, right, _BINS),
        )

    @property
    def expected_error(self) -> float:
        """Compute the expected calibration error (Naeini et al. 2015), 0–1."""
        if not self.count.sum():
            return float("nan")
        return float(np.abs(self.confidence - self.right).sum() / self.count.sum())

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values: non-empty bins only."""
        bins = [
            {"confidence": c / n, "right": r / n, "joints": int(n)}
            for n, c, r in zip(self.count, self.confidence, self.right, strict=True)
            if n
        ]
        return {"expected_error": self.expected_error if bins else None, "bins": bins}
