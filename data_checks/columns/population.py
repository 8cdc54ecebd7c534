"""What can be said of a whole table only: split sizes, variety of θ, drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_checks.columns.anatomy import bone_lengths, known_joints, skeleton_size
from data_checks.columns.base import Array, Float
from hemlets.core.skeleton import PARTS, SMPL_JOINTS
from hemlets.data.table import Annotations

_KS_NOISE = 1.63
"""Factor of the two-sample Kolmogorov-Smirnov distance that chance exceeds once in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One number for each of several names, with its field and an explanation."""

    names: tuple[str, ...]
    fields: tuple[str, ...]
    values: tuple[float, ...]
    observed: tuple[str, ...]


class Moments:
    """Mean and spread of θ over a table, chunk by chunk."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = np.zeros((len(SMPL_JOINTS), 3))
        self._squares = np.zeros((len(SMPL_JOINTS), 3))

    def add(self, table: Annotations) -> None:
        """Add a chunk's rows with known θ."""
        theta_N243 = table.theta[table.smpl_valid].astype(np.float64)
        known = theta_N243[np.isfinite(theta_N243).all((1, 2))]
        self.rows += len(known)
        self._sum += known.sum(0)
        self._squares += (known**2).sum(0)

    def spread(self) -> Statistics | None:
        """Standard deviation in radians of each joint; None with fewer than two known rows."""
        if self.rows < 2:
            return None
        variance = self._squares / self.rows - (self._sum / self.rows) ** 2
        spread = np.sqrt(np.maximum(variance, 0).sum(1))
        return Statistics(
            names=SMPL_JOINTS,
            fields=("theta",) * len(SMPL_JOINTS),
            values=tuple(float(s) for s in spread),
            observed=tuple(
                f"{name} varies by {s:.4f} rad" for name, s in zip(SMPL_JOINTS, spread, strict=True)
            ),
        )


class Tally:
    """Label distributions of a table, chunk by chunk: numbers as samples, categories as counts."""

    def __init__(self) -> None:
        self._numbers: dict[str, tuple[str, list[npt.NDArray[np.float32]]]] = {}
        self._kinds: dict[str, tuple[str, Counter[str]]] = {}

    def add(self, table: Annotations, joints_NJ3: Float, lengths_NP: Float) -> None:
        """Add a chunk; its rows without a person, whose labels are none, are left out.

        Args:
            table: The chunk.
            joints_NJ3: Its known 3D joints, NaN elsewhere.
            lengths_NP: Their bones' lengths.
        """
        shown_N = table.shows_person
        if not shown_N.all():
            table = table.take(shown_N)
            joints_NJ3, lengths_NP = joints_NJ3[shown_N], lengths_NP[shown_N]
        box_N4 = table.box_xyxy.astype(np.float64)
        width_N, height_N = (box_N4[:, 2:] - box_N4[:, :2]).T
        self._add(
            "box height over image height", "box_xyxy", height_N / np.maximum(table.image_height, 1)
        )
        self._add(
            "box width over height",
            "box_xyxy",
            np.where(height_N > 0, width_N / np.maximum(height_N, 1e-3), np.nan),
        )
        self._add("skeleton size", "joints3d_mm", skeleton_size(lengths_NP))
        self._add("pelvis depth", "joints3d_mm", joints_NJ3[:, 0, 2])
        self._add("visible joints a person", "visible", table.visible.sum(1))
        self._add("truncated joints a person", "truncated", table.truncated.sum(1))
        self._add("2D joints a person", "valid2d", table.valid2d.sum(1))
        self._add("3D joints a person", "valid3d", table.valid3d.sum(1))
        self._add("known relations a person", "relations_valid", table.relations_valid.sum(1))
        camera = np.where(table.camera_valid, table.camera[:, 0], np.nan)
        self._add(
            "focal length over image height", "camera", camera / np.maximum(table.image_height, 1)
        )
        for index in (0, 1):
            self._add(
                f"β{index}", "betas", np.where(table.smpl_valid, table.betas[:, index], np.nan)
            )
        for field in ("split", "source", "action", "gender", "relations_source", "box_source"):
            self._count(f"share of each {field.replace('_', ' ')}", field, table.column(field))
        for part, definition in enumerate(PARTS):
            known_N = table.relations_valid[:, part]
            self._count(
                f"depth relation of {definition.name}", "relations", table.relations[known_N, part]
            )

    def add_table(self, table: Annotations) -> None:
        """Add a chunk of which nothing else is wanted."""
        with np.errstate(invalid="ignore", over="ignore"):
            joints_NJ3 = known_joints(table)
            self.add(table, joints_NJ3, bone_lengths(joints_NJ3))

    def _add(self, name: str, field: str, values: Array) -> None:
        kept = np.asarray(values, np.float32)
        self._numbers.setdefault(name, (field, []))[1].append(kept[np.isfinite(kept)])

    def _count(self, name: str, field: str, values: Array) -> None:
        counts = pa.array(values).value_counts()
        counter = self._kinds.setdefault(name, (field, Counter()))[1]
        for entry in counts:
            counter[str(entry["values"].as_py())] += entry["counts"].as_py()

    def drift(self, previous: Tally) -> Statistics:
        """Distances in 0–1 between the distributions of two tables, less what chance explains.

        Total variation for categories, Kolmogorov-Smirnov for numbers: both are shares of rows
        that would have to change, so that one limit means the same for all.
        """
        names, fields, values, observed = [], [], [], []

        def note(name: str, field: str, distance: float, now: int, before: int) -> None:
            noise = _KS_NOISE * float(np.sqrt(1 / now + 1 / before))
            names.append(name)
            fields.append(field)
            values.append(max(0.0, distance - noise))
            observed.append(f"{name}: {distance:.2f} apart, chance explains {noise:.2f}")

        for name, (field, parts) in self._numbers.items():
            now, before = _joined(parts), _joined(previous._numbers.get(name, ("", []))[1])
            if len(now) and len(before):
                note(name, field, _ks(now, before), len(now), len(before))
        for name, (field, counter) in self._kinds.items():
            other = previous._kinds.get(name, ("", Counter[str]()))[1]
            total, total_before = counter.total(), other.total()
            if total and total_before:
                distance = _total_variation(counter, other)
                note(name, field, distance, total, total_before)
        return Statistics(
            names=tuple(names), fields=tuple(fields), values=tuple(values), observed=tuple(observed)
        )


def split_sizes(counts: Mapping[str, int], splits: Sequence[str]) -> Statistics:
    """Rows of the splits that a version must have."""
    return Statistics(
        names=tuple(splits),
        fields=("split",) * len(splits),
        values=tuple(float(counts.get(split, 0)) for split in splits),
        observed=tuple(f"split {s} has {counts.get(s, 0):,} rows" for s in splits),
    )


def _joined(parts: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _ks(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    a, b = np.sort(a), np.sort(b)
    below: list[float] = []
    # The largest gap lies at a value of either sample.
    for grid in (a, b):
        gap = np.searchsorted(a, grid, side="right") / len(a)
        gap -= np.searchsorted(b, grid, side="right") / len(b)
        below.append(float(np.abs(gap).max()))
    return max(below)


def _total_variation(a: Counter[str], b: Counter[str]) -> float:
    kinds = set(a) | set(b)
    return sum(abs(a[kind] / a.total() - b[kind] / b.total()) for kind in kinds) / 2
