"""What can be said of a whole table only: split sizes, variety of θ, drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_checks.columns.anatomy import bone_lengths, known_joints, skeleton_size
from data_checks.columns.base import Array, Float
from hemlets.annotations import SPLITS, Annotations
from hemlets.skeleton import PARTS, SMPL_JOINTS

__all__ = ["Statistics", "drift", "split_sizes", "theta_spread"]

_KS_NOISE = 1.63
"""Factor of the two-sample Kolmogorov-Smirnov distance that chance exceeds once in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One number for each of several names, with its field and an explanation."""

    names: tuple[str, ...]
    fields: tuple[str, ...]
    values: tuple[float, ...]
    observed: tuple[str, ...]


def split_sizes(table: Annotations) -> Statistics:
    """Rows of each split."""
    splits = table.column("split").astype(str)
    counts = [int((splits == split).sum()) for split in SPLITS]
    return Statistics(
        names=SPLITS,
        fields=("split",) * len(SPLITS),
        values=tuple(float(count) for count in counts),
        observed=tuple(f"split {s} has {n} rows" for s, n in zip(SPLITS, counts, strict=True)),
    )


def theta_spread(table: Annotations) -> Statistics | None:
    """Standard deviation in radians of each joint of θ; None with fewer than two known rows."""
    theta_N243 = table.theta.astype(np.float64)
    known_N = table.smpl_valid & np.isfinite(theta_N243).all((1, 2))
    if known_N.sum() < 2:
        return None
    spread = np.linalg.norm(theta_N243[known_N].std(0), axis=1)
    return Statistics(
        names=SMPL_JOINTS,
        fields=("theta",) * len(SMPL_JOINTS),
        values=tuple(float(s) for s in spread),
        observed=tuple(
            f"{name} varies by {s:.4f} rad" for name, s in zip(SMPL_JOINTS, spread, strict=True)
        ),
    )


def drift(table: Annotations, previous: Annotations) -> Statistics:
    """Distances in 0–1 between the label distributions of two tables, less what chance explains.

    Total variation for categories, Kolmogorov-Smirnov for numbers.
    """
    now, before = _distributions(table), _distributions(previous)
    names, fields, values, observed = [], [], [], []
    for name, (field, sample) in now.items():
        other = before[name][1]
        if not len(sample) or not len(other):
            continue
        numeric = sample.dtype.kind == "f"
        distance = _ks(sample, other) if numeric else _total_variation(sample, other)
        noise = _KS_NOISE * np.sqrt(1 / len(sample) + 1 / len(other))
        names.append(name)
        fields.append(field)
        values.append(max(0.0, distance - float(noise)))
        observed.append(f"{name}: {distance:.2f} apart, chance explains {noise:.2f}")
    return Statistics(
        names=tuple(names), fields=tuple(fields), values=tuple(values), observed=tuple(observed)
    )


def _distributions(table: Annotations) -> dict[str, tuple[str, Array]]:
    box_N4 = table.box_xyxy.astype(np.float64)
    height_N = np.maximum(table.image_height, 1)
    lengths_NP = bone_lengths(known_joints(table))
    found: dict[str, tuple[str, Array]] = {
        "share of each split": ("split", table.column("split").astype(str)),
        "share of each source": ("source", table.source.astype(str)),
        "box height over image height": (
            "box_xyxy",
            _finite((box_N4[:, 3] - box_N4[:, 1]) / height_N),
        ),
        "skeleton size": ("joints3d_mm", _finite(skeleton_size(lengths_NP))),
        "pelvis depth": ("joints3d_mm", _finite(known_joints(table)[:, 0, 2])),
        "visible joints a person": ("visible", table.visible.sum(1).astype(np.float64)),
        "truncated joints a person": ("truncated", table.truncated.sum(1).astype(np.float64)),
    }
    for part, definition in enumerate(PARTS):
        known_N = table.relations_valid[:, part]
        found[f"depth relation of {definition.name}"] = (
            "relations",
            table.relations[known_N, part].astype(np.int64),
        )
    return found


def _finite(values: Float) -> Float:
    return np.asarray(values[np.isfinite(values)], np.float64)


def _ks(a: Float, b: Float) -> float:
    grid = np.unique(np.concatenate([a, b]))
    below_a = np.searchsorted(np.sort(a), grid, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), grid, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def _total_variation(a: Array, b: Array) -> float:
    kinds = np.unique(np.concatenate([a, b]))
    shares = [np.array([(sample == kind).mean() for kind in kinds]) for sample in (a, b)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
