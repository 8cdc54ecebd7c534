"""What the scores of many samples say: means with intervals, by joint, by slice, against another.

Everything here is computed from `hemlets.evaluation.scoring.samples.SampleScores` alone, so
that a stored file gives the same summary again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.files import write_json
from hemlets.core.skeleton import JOINTS, N_JOINTS, SMPL_JOINTS
from hemlets.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    PairedRatio,
    bootstrap_mean,
    paired_ratio,
)
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.protocols.oracle_inputs import knows_distance
from hemlets.evaluation.scoring.samples import SampleScores

__all__ = ["Scores", "Slice", "compare", "summarise"]

Bool = npt.NDArray[np.bool_]

JSON_FILE = "scores.json"
TABLE_FILE = "scores.parquet"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Means over a part of the samples.

    Attributes:
        by: what the samples were told apart by: ``family``, ``truncation`` or ``visibility``.
        value: this part's value.
        samples: in it.
        metrics: mean and interval by metric key.
    """

    by: str
    value: str
    samples: int
    metrics: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The summary of a predictor on a set of samples.

    Attributes:
        samples: every metric of every sample.
        metrics: mean and interval by metric key (``mpjpe_mm``); full names in ``samples.names``.
        joints_mm: mean error by joint name, root at the pelvis, not aligned; NaN if unknown.
        rotations_deg: mean geodesic error by SMPL joint name; empty where θ is not predicted.
        slices: by family, truncation and visibility.
    """

    samples: SampleScores
    metrics: Mapping[str, Interval]
    joints_mm: Mapping[str, float]
    rotations_deg: Mapping[str, float]
    slices: tuple[Slice, ...]

    def mean(self, key: str) -> float:
        """A metric's mean.

        Raises:
            DataError: This predictor was not scored by it.
        """
        self.samples.name(key)
        return self.metrics[key].mean

    @property
    def logged(self) -> dict[str, float]:
        """Finite means by full metric name, as a tracker takes them."""
        pairs = {name.full: self.metrics[name.key].mean for name in self.samples.names}
        return {name: value for name, value in pairs.items() if math.isfinite(value)}

    def to_json(self) -> dict[str, Any]:
        """Plain values with full names; None for what is not defined."""
        info = self.samples.info
        return {
            "predictions": info.model_dump(mode="json"),
            "samples": len(self.samples),
            "sequences": len(set(self.samples.sequence)),
            "metrics": [
                {
                    "key": name.key,
                    "name": name.full,
                    "title": name.title,
                    "higher_is_better": name.higher_is_better,
                    **self.metrics[name.key].to_json(),
                }
                for name in self.samples.names
            ],
            "joints_mm": _defined(self.joints_mm),
            "rotations_deg": _defined(self.rotations_deg),
            "slices": [
                {
                    "by": part.by,
                    "value": part.value,
                    "samples": part.samples,
                    "metrics": {key: value.to_json() for key, value in part.metrics.items()},
                }
                for part in self.slices
            ],
        }

    def write(self, folder: Path) -> None:
        """Write ``scores.parquet`` (by sample) and ``scores.json`` (the summary)."""
        self.samples.write(folder / TABLE_FILE)
        write_json(folder / JSON_FILE, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> Scores:
        """The scores that :meth:`write` stored, summarised again from the table.

        Raises:
            DataError: The table is absent or damaged.
        """
        return summarise(SampleScores.read(folder / TABLE_FILE))


def summarise(
    samples: SampleScores, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Scores:
    """Means, intervals, joints and slices of scored samples.

    Args:
        samples: every metric of every sample.
        resamples: draws of sequences for each interval.
        level: share that an interval is to cover.
        seed: the same seed gives the same intervals.
    """

    def intervals(rows: Bool) -> dict[str, Interval]:
        return {
            name.key: bootstrap_mean(
                samples.values[rows, column],
                samples.sequence[rows].astype(str),
                resamples=resamples,
                level=level,
                seed=seed,
            )
            for column, name in enumerate(samples.names)
        }

    slices = [
        Slice(by=by, value=value, samples=int(rows.sum()), metrics=intervals(rows))
        for by, value, rows in _slices(samples)
        if rows.any()
    ]
    return Scores(
        samples=samples,
        metrics=intervals(np.ones(len(samples), bool)),
        joints_mm=_by_name(JOINTS, samples.joint_errors_mm),
        rotations_deg=_by_name(SMPL_JOINTS, samples.rotation_errors_deg),
        slices=tuple(slices),
    )


def compare(
    challenger: Scores,
    champion: Scores,
    key: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    same_protocol: bool = True,
) -> PairedRatio:
    """Challenger's mean / champion's mean − 1 on the same samples, with its interval.

    Args:
        challenger: the new model's scores.
        champion: the scores of what it is compared with.
        key: the metric, e.g. ``mpjpe_mm``.
        resamples: draws of sequences.
        level: share that the interval is to cover.
        seed: the same seed gives the same interval.
        same_protocol: refuse figures whose full names differ. Turn it off only to set a model
            beside a baseline, which has another source of depth by its nature.

    Raises:
        DataError: Other samples, data or protocol; a metric missing; fewer than two sequences; or
            one was told how far away people are, which no promotion may rest on.
    """
    one, other = challenger.samples, champion.samples
    names: tuple[MetricName, MetricName] = (one.name(key), other.name(key))
    if names[0].higher_is_better:
        raise DataError(
            f"{key} is better when it is larger, so its ratio would be read upside down",
            expected="an error, such as mpjpe_mm",
        )
    for whose, name in zip(("challenger", "champion"), names, strict=True):
        if knows_distance(name.depth):
            raise DataError(
                f"the {whose} was given the true distance of each person: {name.full}",
                expected="a distance that the predictor finds itself: such figures decide nothing",
                remedy="predict again with the distance from the lengths of the bones",
            )
    if same_protocol and names[0] != names[1]:
        raise DataError(
            f"the challenger's figure is {names[0].full}, the champion's {names[1].full}",
            expected="the same protocol",
            remedy="predict and score both in the same way",
        )
    if one.info.data_version != other.info.data_version:
        raise DataError(
            f"the challenger was scored on data version {one.info.data_version}, the champion on "
            f"{other.info.data_version}",
            expected="the same data version",
            remedy="let the champion predict these samples again",
        )
    if not np.array_equal(one.sample_id, other.sample_id):
        apart = sorted(set(one.sample_id) ^ set(other.sample_id))
        raise DataError(
            "the challenger and the champion were not scored on the same samples"
            if apart
            else "the challenger's samples stand in another order than the champion's",
            where=", ".join(str(name) for name in apart[:10]) or None,
            remedy="score both against the same annotations",
        )
    return paired_ratio(
        one.of(key),
        other.of(key),
        one.sequence.astype(str),
        resamples=resamples,
        level=level,
        seed=seed,
    )


def _slices(samples: SampleScores) -> list[tuple[str, str, Bool]]:
    families = [
        ("family", str(family), np.asarray(samples.family == family))
        for family in sorted(set(samples.family))
    ]
    outside, seen = samples.truncated_joints, samples.visible_joints
    return [
        *families,
        ("truncation", "no joint outside the image", outside == 0),
        ("truncation", "1-4 joints outside", (outside >= 1) & (outside <= 4)),
        ("truncation", "5 or more joints outside", outside >= 5),
        ("visibility", "all joints visible", seen == N_JOINTS),
        ("visibility", "half or more visible", (seen >= N_JOINTS / 2) & (seen < N_JOINTS)),
        ("visibility", "less than half visible", seen < N_JOINTS / 2),
    ]


def _by_name(names: tuple[str, ...], errors_NJ: npt.NDArray[np.float64]) -> dict[str, float]:
    known = ~np.isnan(errors_NJ)
    if not known.any():
        return {}
    total = np.where(known, errors_NJ, 0.0).sum(0)
    count = known.sum(0)
    means = np.divide(total, count, out=np.full(len(names), np.nan), where=count > 0)
    return {name: float(value) for name, value in zip(names, means, strict=True)}


def _defined(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
