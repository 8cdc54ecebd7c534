"""Depth relations, equation (1), against the 3D joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data_checks.proportions import NAMES
from data_checks.rows import Rows, once
from data_checks.rule import Measured, Severity, flagged, numbers, rule
from hemlets.core.arrays import Array, Float
from hemlets.core.skeleton import PART_CHILD, PART_PARENT, depth_relations

_BORDER_MM = 0.5
"""A part this near the limit of 30° may fall on either side of it by rounding to float32."""

LABEL_SOURCES: Final = ("fbi", "ordinal")
"""Relations that people labelled by looking at the picture."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Stored relations (N, 14) and those computed from 3D joints."""

    expected: Array
    depth_mm: Float
    comparable: Array
    """Known in both."""
    unknown_value: Array
    """Stored values other than -1, 0 and +1."""
    near_border: Array
    """Parts too near the limit of 30° to be compared exactly."""
    by_people: Array
    """(N,) rows whose relations people labelled."""


@once
def compared(rows: Rows) -> Compared:
    """Compare the stored relations with the 3D joints."""
    table, joints_NJ3 = rows.table, rows.joints3d
    known_NJ = np.asarray(np.isfinite(joints_NJ3).all(2))
    expected_NP, comparable_NP = depth_relations(np.nan_to_num(joints_NJ3), known_NJ)
    depth_NP = joints_NJ3[:, PART_PARENT, 2] - joints_NJ3[:, PART_CHILD, 2]
    return Compared(
        expected=expected_NP,
        depth_mm=depth_NP,
        comparable=table.relations_valid & comparable_NP,
        unknown_value=~np.isin(table.relations, (-1, 0, 1)),
        near_border=np.abs(np.abs(depth_NP) - 0.5 * rows.lengths) < _BORDER_MM,
        by_people=np.isin(table.relations_source.astype(str), LABEL_SOURCES),
    )


@once
def opposed_labels(rows: Rows) -> tuple[Array, Array]:
    """Mark people's labels (N, 14) that depth can confirm or contradict, and those it contradicts.

    Both label and depth must be Forward or Backward: people see slight tilts that equation (1)
    leaves out.
    """
    both = compared(rows)
    product_NP = rows.table.relations.astype(int) * both.expected
    tilted_NP = both.comparable & both.by_people[:, None] & (product_NP != 0)
    return tilted_NP, tilted_NP & (rows.table.relations == -both.expected)


@rule("rows", "relations", at_most=0)
def relations_known_values(rows: Rows) -> Measured:
    """Every depth relation is -1, 0 or +1.

    Other values have no channel in the triplet.
    """
    strange_NP, relations_NP = compared(rows).unknown_value, rows.table.relations
    names = flagged(strange_NP, NAMES, ": ")
    return numbers(
        names.values,
        lambda row: (
            names.observed(row)
            + ", ".join(str(value) for value in relations_NP[row][strange_NP[row]][:4])
        ),
    )


@rule("depth relations", "relations", at_most=0)
def relations_match_depth(rows: Rows) -> Measured:
    """Depth relations equal those computed from the 3D joints.

    Triplets would teach the opposite of what the 3D loss teaches. Labels of people have a rule of
    their own: people err, computed relations can't.
    """
    both, relations_NP = compared(rows), rows.table.relations
    wrong_NP = both.comparable & ~both.unknown_value & ~both.near_border
    wrong_NP &= (relations_NP != both.expected) & ~both.by_people[:, None]
    names = flagged(wrong_NP, NAMES, "")

    def observed(row: int) -> str:
        part = int(np.argmax(wrong_NP[row]))
        return (
            f"{names.observed(row)}: {NAMES[part]} is {relations_NP[row, part]:+d}, "
            f"from depth {both.expected[row, part]:+d} "
            f"(child nearer than parent by {both.depth_mm[row, part]:+.0f} mm)"
        )

    return numbers(names.values, observed)


@rule("depth relations", "relations_source", severity=Severity.WARN, at_most=0)
def relations_source_told(rows: Rows) -> Measured:
    """Where relations are known, so is where they come from.

    Labels and computed relations are judged by different rules.
    """
    stated_N = rows.table.relations_source.astype(str) != ""
    return numbers(
        rows.table.relations_valid.any(1) & ~stated_N,
        lambda row: "relations are known, but not where from",
    )


@rule("depth relations", "relations", severity=Severity.WARN, at_most=1)
def labelled_relations_match_depth(rows: Rows) -> Measured:
    """At most one label of a person is the opposite of what the 3D joints say.

    People err on slight tilts, but seldom take a part for the opposite.
    """
    both = compared(rows)
    _, opposite_NP = opposed_labels(rows)
    wrong_NP = opposite_NP & ~both.unknown_value & ~both.near_border
    return flagged(wrong_NP, NAMES, ": labelled the opposite of the 3D joints").where(
        both.by_people
    )
