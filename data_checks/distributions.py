"""Label distributions of a table, and their distance from an earlier version's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from data_checks.proportions import NAMES, standing_height
from data_checks.rows import TableFile, bone_lengths, known_joints
from data_checks.rule import Entries
from hemlets.core.arrays import Array, Float, Float32
from hemlets.data.table import Annotations

_KS_NOISE = 1.63
"""Factor of the two-sample Kolmogorov-Smirnov distance at 1 % significance."""


class Distributions:
    """Distributions, chunk by chunk: numbers as samples, categories as counts."""

    def __init__(self) -> None:
        self._numbers: dict[str, tuple[str, list[Float32]]] = {}
        self._kinds: dict[str, tuple[str, Counter[str]]] = {}

    @classmethod
    def of(cls, table: TableFile) -> Distributions:
        """Distributions of a whole table.

        Raises:
            pyarrow.ArrowException: A column's data is damaged.
        """
        found = cls()
        for chunk in table.chunks():
            with np.errstate(invalid="ignore", over="ignore"):
                joints_NJ3 = known_joints(chunk.table)
                found.add(chunk.table, joints_NJ3, bone_lengths(joints_NJ3))
        return found

    def add(self, table: Annotations, joints_NJ3: Float, lengths_NP: Float) -> None:
        """Add a chunk; rows without a person are left out.

        Args:
            table: The chunk.
            joints_NJ3: Its 3D joints, NaN where unknown.
            lengths_NP: Lengths of their bones.
        """
        shown_N = table.shows_person
        if not shown_N.all():
            table = table.take(shown_N)
            joints_NJ3, lengths_NP = joints_NJ3[shown_N], lengths_NP[shown_N]
        box_N4 = table.box_xyxy.astype(np.float64)
        width_N, height_N = (box_N4[:, 2:] - box_N4[:, :2]).T
        image_N = np.maximum(table.image_height, 1)
        self._add("box height over image height", "box_xyxy", height_N / image_N)
        ratio_N = np.where(height_N > 0, width_N / np.maximum(height_N, 1e-3), np.nan)
        self._add("box width over height", "box_xyxy", ratio_N)
        self._add("skeleton size", "joints3d_mm", standing_height(lengths_NP))
        self._add("pelvis depth", "joints3d_mm", joints_NJ3[:, 0, 2])
        for name, field in (
            ("visible joints", "visible"), ("truncated joints", "truncated"),
            ("2D joints", "valid2d"), ("3D joints", "valid3d"),
            ("known relations", "relations_valid"),
        ):  # fmt: skip
            self._add(f"{name} a person", field, table.column(field).sum(1))
        focal_N = np.where(table.camera_valid, table.camera[:, 0], np.nan)
        self._add("focal length over image height", "camera", focal_N / image_N)
        betas_NK = np.where(table.smpl_valid[:, None], table.betas, np.nan)
        for index in (0, 1):
            self._add(f"β{index}", "betas", betas_NK[:, index])
        for field in ("split", "source", "action", "gender", "relations_source", "box_source"):
            self._count(f"share of each {field.replace('_', ' ')}", field, table.column(field))
        for part, name in enumerate(NAMES):
            known_N = table.relations_valid[:, part]
            self._count(f"depth relation of {name}", "relations", table.relations[known_N, part])

    def _add(self, name: str, field: str, values: Array) -> None:
        finite = np.asarray(values, np.float32)
        self._numbers.setdefault(name, (field, []))[1].append(finite[np.isfinite(finite)])

    def _count(self, name: str, field: str, values: Array) -> None:
        counter = self._kinds.setdefault(name, (field, Counter()))[1]
        for entry in pa.array(values).value_counts():
            counter[str(entry["values"].as_py())] += entry["counts"].as_py()

    def drift(self, previous: Distributions) -> Entries:
        """Compute distances in 0–1 from an earlier table's distributions, less the expected noise.

        Total variation for categories, Kolmogorov-Smirnov for numbers: both are shares of rows that
        would have to change, so one limit applies to all.
        """
        found: dict[str, tuple[str, float, float]] = {}
        for name, (field, parts) in self._numbers.items():
            now, before = _joined(parts), _joined(previous._numbers.get(name, ("", []))[1])
            if len(now) and len(before):
                found[name] = field, _ks(now, before), 1 / len(now) + 1 / len(before)
        for name, (field, counter) in self._kinds.items():
            other = previous._kinds.get(name, ("", Counter[str]()))[1]
            if counter and other:
                noise = 1 / counter.total() + 1 / other.total()
                found[name] = field, _total_variation(counter, other), noise
        chance = {name: _KS_NOISE * float(np.sqrt(n)) for name, (_, _, n) in found.items()}
        return Entries(
            names=tuple(found),
            fields=tuple(field for field, _, _ in found.values()),
            values=tuple(max(0.0, d - chance[name]) for name, (_, d, _) in found.items()),
            observed=tuple(
                f"{name}: {distance:.2f} apart, chance explains {chance[name]:.2f}"
                for name, (_, distance, _) in found.items()
            ),
        )


def _joined(parts: list[Float32]) -> Float32:
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _ks(a: Float32, b: Float32) -> float:
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
