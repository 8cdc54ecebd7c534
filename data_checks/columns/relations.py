"""Depth relations, equation (1), against the 3D joints."""

from __future__ import annotations

import numpy as np

from data_checks.columns.anatomy import bone_lengths, known_joints
from data_checks.columns.base import Column, Columns, names_where
from hemlets.annotations import Annotations
from hemlets.skeleton import PART_CHILD, PART_PARENT, PARTS, depth_relations

__all__ = ["relation_columns"]

_BORDER_MM = 0.5
"""A part this near the limit of 30° may fall on either side of it by rounding to float32."""

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
    wrong_NP = (
        table.relations_valid
        & comparable_NP
        & ~strange_NP
        & ~near_border_NP
        & (relations_NP != expected_NP)
    )

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
        "relations_match_depth": Column(values=wrong_NP.sum(1).astype(np.float64), observed=wrong),
    }
