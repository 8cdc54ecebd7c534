"""Compare two data versions: rows, their fields, and figures of the whole table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.skeleton import JOINTS, PARTS
from hemlets.data.table import FIELDS, Annotations

_STORAGE: Final = ("shard", "shard_row")
_COUNTED: Final = ("source", "split", "action", "gender", "camera_id", "relations_source")
_NAMED: Final = ("subject", "clip")
_LEAST_SHARE: Final = 0.005
_LEAST_CHANGE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A figure of the whole table that differs between two versions.

    Attributes:
        what: Name of the figure, e.g. ``rows with split = train``.
        before: Value in the first version.
        after: Value in the second version.
        unit: ``rows``, ``%``, ``px`` or ``mm``.
    """

    what: str
    before: float
    after: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class VersionDiff:
    """Differences between two data versions.

    Attributes:
        rows: Number of rows in each.
        added: Samples that only the second version has.
        removed: Samples that only the first version has.
        changed: Samples by changed field; the position in the shards does not count.
        restored: Number of samples at another position in the shards.
        shifts: Figures of the whole table that differ.
    """

    rows: tuple[int, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    restored: int
    shifts: tuple[Shift, ...]

    @property
    def changed_samples(self) -> tuple[str, ...]:
        """Samples with any changed field, sorted."""
        return tuple(sorted({name for names in self.changed.values() for name in names}))

    @property
    def is_empty(self) -> bool:
        """Whether both versions have the same rows with the same values."""
        return not (self.added or self.removed or self.changed)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return {**asdict(self), "changed_samples": list(self.changed_samples)}


def diff_versions(before: Path, after: Path) -> VersionDiff:
    """Compare the tables of two data versions' folders.

    Raises:
        DataError: One of them holds no annotation table.
    """
    return diff_tables(
        Annotations.read(before / "annotations.parquet"),
        Annotations.read(after / "annotations.parquet"),
    )


def diff_tables(before: Annotations, after: Annotations) -> VersionDiff:
    """Compare two tables, sample by sample."""
    rows_before, rows_after = before.row_of, after.row_of
    common = sorted(rows_before.keys() & rows_after.keys())
    old = before.take(np.array([rows_before[name] for name in common], np.int64))
    new = after.take(np.array([rows_after[name] for name in common], np.int64))
    names = np.array(common, object)
    differs = {field.name: _differs(old, new, field.name) for field in FIELDS}
    moved = np.zeros(len(common), bool)
    for name in _STORAGE:
        moved |= differs[name]
    changed = {
        name: tuple(names[found])
        for name, found in differs.items()
        if name not in _STORAGE and found.any()
    }
    return VersionDiff(
        rows=(len(before), len(after)),
        added=tuple(sorted(rows_after.keys() - rows_before.keys())),
        removed=tuple(sorted(rows_before.keys() - rows_after.keys())),
        changed=changed,
        restored=int(moved.sum()),
        shifts=tuple(_shifts(before, after)),
    )


def _differs(old: Annotations, new: Annotations, name: str) -> Bool:
    a, b = old.column(name), new.column(name)
    if not len(a):
        return np.zeros(0, bool)
    unlike = np.asarray(a != b, bool)
    if a.dtype.kind == "f":
        unlike &= ~(np.isnan(a) & np.isnan(b))
    return np.asarray(unlike.reshape(len(a), -1).any(1), bool)


def _shifts(before: Annotations, after: Annotations) -> list[Shift]:
    found = [Shift(what="rows", before=len(before), after=len(after), unit="rows")]
    for name in _COUNTED:
        counts = [_counts(table.column(name)) for table in (before, after)]
        found += [
            Shift(
                what=f"rows with {name} = {value or 'nothing'}",
                before=counts[0].get(value, 0),
                after=counts[1].get(value, 0),
                unit="rows",
            )
            for value in sorted(counts[0] | counts[1])
        ]
    # Scenes without a person have no labels, and would lower the shares of labels.
    before, after = (table.take(table.shows_person) for table in (before, after))
    for name in _NAMED:
        sizes = [len(set(table.column(name))) for table in (before, after)]
        found.append(Shift(what=f"different {name}s", before=sizes[0], after=sizes[1], unit="rows"))
    found = [shift for shift in found if shift.before != shift.after]
    shares = [_shares(table) for table in (before, after)]
    for what in shares[0]:
        one, other = shares[0][what], shares[1][what]
        if abs(one - other) >= _LEAST_SHARE:
            found.append(Shift(what=what, before=100 * one, after=100 * other, unit="%"))
    sizes_of = [_sizes(table) for table in (before, after)]
    for (what, unit), one in sizes_of[0].items():
        other = sizes_of[1][what, unit]
        if abs(one - other) > _LEAST_CHANGE * max(abs(one), abs(other)):
            found.append(Shift(what=what, before=one, after=other, unit=unit))
    return found


def _counts(values: Array) -> dict[str, int]:
    names, counts = np.unique(values.astype(str), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _shares(table: Annotations) -> dict[str, float]:
    """Compute the shares of rows in which a label is known, visible or of a certain kind."""
    rows = max(1, len(table))
    shares: dict[str, float] = {}
    for name, words in (("valid2d", "2D known"), ("valid3d", "3D known"), ("visible", "visible")):
        known_J = table.column(name).sum(0) / rows
        shares |= {f"{JOINTS[j]}: {words}": float(share) for j, share in enumerate(known_J)}
    known_NK, relation_NK = table.relations_valid, table.relations
    for sign, words in ((1, "Forward"), (-1, "Backward"), (0, "level")):
        counted_K = (known_NK & (relation_NK == sign)).sum(0) / rows
        shares |= {f"{PARTS[k].name}: {words}": float(share) for k, share in enumerate(counted_K)}
    unknown_K = 1.0 - known_NK.sum(0) / rows
    shares |= {f"{PARTS[k].name}: unknown": float(share) for k, share in enumerate(unknown_K)}
    shares["camera known"] = float(table.camera_valid.sum() / rows)
    shares["SMPL known"] = float(table.smpl_valid.sum() / rows)
    return shares


def _sizes(table: Annotations) -> dict[tuple[str, str], float]:
    box_N4 = table.box_xyxy.astype(np.float64)
    side_N = (box_N4[:, 2:] - box_N4[:, :2]).max(1) if len(table) else np.zeros(1)
    depths = table.joints3d_mm[..., 2][table.valid3d].astype(np.float64)
    return {
        ("longer side of the box, median", "px"): float(np.median(side_N)),
        ("depth of the joints, median", "mm"): float(np.median(depths)) if len(depths) else 0.0,
        ("spread of SMPL β", "std"): float(table.betas[table.smpl_valid].std())
        if table.smpl_valid.any()
        else 0.0,
    }
