"""Derived columns: one number a row for every expectation, by vectorised NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_checks.census import Census
from data_checks.columns.anatomy import anatomy_columns
from data_checks.columns.base import Column, Columns
from data_checks.columns.body import body_columns
from data_checks.columns.camera import camera_columns
from data_checks.columns.facts import fact_columns
from data_checks.columns.files import file_columns
from data_checks.columns.finite import finite_columns
from data_checks.columns.identity import identity_columns
from data_checks.columns.plane import plane_columns
from data_checks.columns.relations import relation_columns
from data_checks.columns.sides import side_columns
from data_checks.columns.words import word_columns
from data_checks.datasets import DATASETS
from data_checks.expectations import BODY_LIMIT_MM, ROW_CHECKS
from data_checks.stream import Chunk
from hemlets.data.table import Annotations


def derive(chunk: Chunk, census: Census, shards: Path) -> Columns:
    """The columns that the expectations of rows bound, by expectation name.

    Args:
        chunk: Some rows.
        census: What the rows are compared with: the whole table.
        shards: The folder of the image shards.
    """
    table, rows = chunk.table, chunk.rows
    # Not-a-number stands for "does not apply" and travels through the arithmetic on purpose.
    with np.errstate(invalid="ignore", over="ignore"):
        body = body_columns(table, census.posed[rows])
        anatomy = anatomy_columns(table, census.reference, rows)
        files = file_columns(table, shards, decoded=census.decoded[rows], stored=census.stored)
        return {
            **identity_columns(chunk, census),
            **word_columns(table),
            **fact_columns(table),
            **finite_columns(table),
            **plane_columns(table),
            **side_columns(table),
            **camera_columns(table),
            **_where_exact(_where_unproven(anatomy, body["body_matches_joints"]), table),
            **body,
            **relation_columns(table),
            **files,
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


_NOISY = ("bones_symmetric", "bones_in_proportion", "left_right_pair")


def _where_exact(anatomy: Columns, table: Annotations) -> Columns:
    """Judge joints that were found without markers by a rule of their own.

    Single frames of such datasets have a hip or knee off by decimetres; that is their noise, and
    no reason to refuse all others.
    """
    names = [name for name, facts in DATASETS.items() if facts.markerless]
    noisy_N = np.isin(table.source.astype(str), names)
    bounds = {check.name: check.high for check in ROW_CHECKS}
    failed_NC = np.stack([anatomy[name].values > bounds[name] for name in _NOISY], 1)

    def observed(row: int) -> str:
        return anatomy[_NOISY[int(np.argmax(failed_NC[row]))]].observed(row)

    exact = {
        name: Column(
            values=np.where(noisy_N, np.nan, anatomy[name].values),
            observed=anatomy[name].observed,
        )
        for name in _NOISY
    }
    noisy = Column(values=np.where(noisy_N, failed_NC.sum(1), np.nan), observed=observed)
    return anatomy | exact | {"markerless_body_plausible": noisy}
