"""Labels: PCKh's reference length, and rows with no labels or with too many.

Expectations that need no computation are in ``suites/fields.yaml``.
"""

from __future__ import annotations

import numpy as np

from data_checks.rows import Rows
from data_checks.rule import Measured, Severity, numbers, rule


@rule("rows", "head_px", at_least=0, at_most=1.5)
def head_length_plausible(rows: Rows) -> Measured:
    """The reference length of PCKh is at most 1.5 sides of the box; 0 where it is unknown.

    PCKh divides by it: a length of another scale makes every joint right or wrong.
    """
    head_N = rows.table.head_px
    side_N = np.maximum((rows.boxes[:, 2:] - rows.boxes[:, :2]).max(1), 1e-3)
    return numbers(
        head_N / side_N, lambda row: f"head {head_N[row]:g} px in a box of {side_N[row]:g} px"
    )


@rule(
    "rows", "valid2d, valid3d, relations_valid, smpl_valid", severity=Severity.WARN, at_least=1
)  # fmt: skip
def row_teaches(rows: Rows) -> Measured:
    """Every row has a joint, a relation or a body, or belongs to a split without people.

    A row without labels costs time and teaches nothing.
    """
    table = rows.table
    labelled_N = table.valid2d.any(1) | table.valid3d.any(1)
    labelled_N |= table.relations_valid.any(1) | table.smpl_valid
    return numbers(
        labelled_N | ~table.shows_person, lambda row: "no joint, relation or body is annotated"
    )


@rule("rows", "split", at_most=0)
def background_unannotated(rows: Rows) -> Measured:
    """A row of a split without people has nothing annotated.

    The same image would be trained on as a person and as an empty scene.
    """
    table, splits = rows.table, rows.table.column("split")
    labels_N = sum(
        getattr(table, field).reshape(len(rows), -1).sum(1)
        for field in (
            "valid2d", "valid3d", "relations_valid", "visible", "smpl_valid", "transl_valid",
        )
    ) + np.array([bool(mask) for mask in table.mask], bool)  # fmt: skip
    return numbers(
        labels_N, lambda row: f"{labels_N[row]:.0f} labels of a person in {str(splits[row])!r}"
    ).where(~table.shows_person)
