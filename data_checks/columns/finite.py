"""Numbers that are not numbers."""

from __future__ import annotations

import numpy as np

from data_checks.columns.base import Column, Columns
from data_checks.expectations import FINITE_FIELDS
from hemlets.core.skeleton import JOINTS, SMPL_JOINTS
from hemlets.data.table import Annotations

_ENTRY_NAMES = {
    "box_xyxy": ("left", "top", "right", "bottom"),
    "camera": ("fx", "fy", "cx", "cy"),
    "joints2d_px": JOINTS,
    "joints3d_mm": JOINTS,
    "theta": SMPL_JOINTS,
    "betas": tuple(f"β{i}" for i in range(10)),
    "transl_mm": ("x", "y", "z"),
    "distortion": ("k1", "k2", "p1", "p2", "k3"),
    "stored_from_source": ("x", "y", "scale"),
    "head_px": ("length",),
}


def finite_columns(table: Annotations) -> Columns:
    """The number of values in each numeric field that are not finite."""
    return {f"{field}_finite": _column(table, field) for field in FINITE_FIELDS}


def _column(table: Annotations, field: str) -> Column:
    values = table.column(field)
    entries_NE = values.reshape(len(table), len(_ENTRY_NAMES[field]), -1)
    bad_NEC = ~np.isfinite(entries_NE)

    def observed(row: int) -> str:
        entry, component = np.argwhere(bad_NEC[row])[0]
        value = entries_NE[row, entry, component]
        total = int(bad_NEC[row].sum())
        more = f", {total} values in all" if total > 1 else ""
        return f"{_ENTRY_NAMES[field][entry]} is {value}{more}"

    return Column(values=bad_NEC.sum((1, 2)).astype(np.float64), observed=observed)
