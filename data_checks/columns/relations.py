"""Depth relations, equation (1), against the 3D joints."""

from __future__ import annotations

import numpy as np

from data_checks.columns.anatomy import bone_lengths, known_joints
from data_checks.columns.base import Column, Columns, names_where
from hemlets.core.skeleton import PART_CHILD, PART_PARENT, PARTS, depth_relations
from hemlets.data.table import Annotations

_BORDER_MM = 0.5
"""A part this near the limit of 30° may fall on either side of it by rounding to float32."""

LABEL_SOURCES = ("fbi", "ordinal")
"""Relations that people gave by looking at the picture."""

_NAMES = tuple(part.name for part in PARTS)


def relation_columns(table: Annotations) -> Columns:
    """Relations with known values that agree with the 3D joints."""
    relations_NP = table.relations
    strange_NP = ~np.isin(relations_NP, (-1, 0, 1))
    joints_NJ3 = known_joints(table)
    known_NJ = np.asarray(np.isfinite(joints_NJ3).all(2))
    expected_NP, comparable_NP = depth_relations(np.nan_to_num(joints_NJ3), known_NJ)
    depth_NP = joints_NJ3[:, PART_PARENT, 2] - joints_NJ3[:, PART_CHILD, 2]
    near_border_NP = np.abs(np.abs(depth_NP) - 0.5 * bone_lengths(joints_NJ3)) < _BORDER_MM
    compared_NP = table.relations_valid & comparable_NP & ~strange_NP & ~near_border_NP
    # People who label pictures err; what was computed from the joints can't.
    labelled_N = np.isin(table.relations_source.astype(str), LABEL_SOURCES)
    wrong_NP = compared_NP & (relations_NP != expected_NP) & ~labelled_N[:, None]
    opposite_NP = compared_NP & (relations_NP * expected_NP == -1) & labelled_N[:, None]
    told_N = table.relations_source.astype(str) != ""
    untold_N = table.relations_valid.any(1) & ~told_N
    inconsistent_N = np.where(labelled_N, opposite_NP.sum(1), np.nan)

    def strange(row: int) -> str:
        return f"{names_where(_NAMES, strange_NP[row])}: " + ", ".join(
            str(value) for value in relations_NP[row][strange_NP[row]][:4]
        )

    def wrong(row: int) -> str:
        part = int(np.argmax(wrong_NP[row]))
        return (
            f"{names_where(_NAMES, wrong_NP[row])}: "
            f"{_NAMES[part]} is {relations_NP[row, part]:+d}, "
            f"from depth {expected_NP[row, part]:+d} "
            f"(child nearer than parent by {depth_NP[row, part]:+.0f} mm)"
        )

    return {
        "relations_known_values": Column(
            values=strange_NP.sum(1).astype(np.float64), observed=strange
        ),
        "relations_source_told": Column(
            values=untold_N.astype(np.float64),
            observed=lambda row: "relations are known, but not where from",
        ),
        "labelled_relations_match_depth": Column(
            values=inconsistent_N,
            observed=lambda row: (
                f"{names_where(_NAMES, opposite_NP[row])}: labelled the opposite of the 3D joints"
            ),
        ),
        "relations_match_depth": Column(values=wrong_NP.sum(1).astype(np.float64), observed=wrong),
    }


def compared_labels(table: Annotations) -> tuple[int, int]:
    """Labels of people that say Forward or Backward where depth does, and those that oppose it."""
    rows = np.isin(table.relations_source.astype(str), LABEL_SOURCES)
    if not rows.any():
        return 0, 0
    joints_NJ3 = known_joints(table)
    known_NJ = np.asarray(np.isfinite(joints_NJ3).all(2))
    expected_NP, comparable_NP = depth_relations(np.nan_to_num(joints_NJ3), known_NJ)
    both_NP = (
        rows[:, None] & table.relations_valid & comparable_NP & (table.relations * expected_NP != 0)
    )
    return int(both_NP.sum()), int((both_NP & (table.relations == -expected_NP)).sum())
