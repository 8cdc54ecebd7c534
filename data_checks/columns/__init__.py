"""Derived columns: one number a row for every expectation, by vectorised NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_checks.columns.anatomy import anatomy_columns
from data_checks.columns.base import Column, Columns
from data_checks.columns.body import body_columns
from data_checks.columns.camera import camera_columns
from data_checks.columns.files import file_columns
from data_checks.columns.finite import finite_columns
from data_checks.columns.identity import identity_columns
from data_checks.columns.plane import plane_columns
from data_checks.columns.relations import relation_columns
from data_checks.expectations import BODY_LIMIT_MM
from hemlets.annotations import Annotations

__all__ = ["Column", "Columns", "derive"]


def derive(table: Annotations, shards: Path) -> Columns:
    """The columns that `data_checks.expectations.ROW_CHECKS` bound, by expectation name.

    Args:
        table: The annotations.
        shards: The folder of the image shards.
    """
    # Not-a-number stands for "does not apply" and travels through the arithmetic on purpose.
    with np.errstate(invalid="ignore", over="ignore"):
        body = body_columns(table)
        return {
            **identity_columns(table),
            **finite_columns(table),
            **plane_columns(table),
            **camera_columns(table),
            **_where_unproven(anatomy_columns(table), body["body_matches_joints"]),
            **body,
            **relation_columns(table),
            **file_columns(table, shards),
        }


def _where_unproven(anatomy: Columns, distance: Column) -> Columns:
    """Drop the guesses about left and right where the posed body proves the labels.

    They are guesses from what bodies usually look like; a contorted person could fail them.
    """
    proven_N = distance.values <= BODY_LIMIT_MM
    return anatomy | {
        name: Column(values=np.where(proven_N, np.nan, column.values), observed=column.observed)
        for name, column in anatomy.items()
        if name.startswith("left_right_")
    }
