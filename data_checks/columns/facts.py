"""Rows against what is known of their dataset."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from data_checks.columns.base import Array, Column, Columns, names_where
from data_checks.datasets import DATASETS, DatasetFacts
from hemlets.core.skeleton import JOINTS, Joint
from hemlets.data.table import Annotations


def fact_columns(table: Annotations) -> Columns:
    """Joints, supervision and names that the row's dataset has."""
    source_N = table.source.astype(str)
    absent_NJ = np.zeros((len(table), len(JOINTS)), bool)
    no_3d_N, no_smpl_N, known_N = (np.zeros(len(table), bool) for _ in range(3))
    for name in set(source_N.tolist()) & set(DATASETS):
        rows, facts = source_N == name, DATASETS[name]
        known_N |= rows
        absent_NJ[rows] = [joint in facts.absent for joint in Joint]
        no_3d_N |= rows & (not facts.joints3d)
        no_smpl_N |= rows & (not facts.smpl)
    invented_NJ = absent_NJ & (table.valid2d | table.valid3d)
    foreign_N = (no_3d_N & table.valid3d.any(1)) * 1.0 + (no_smpl_N & table.smpl_valid) * 1.0
    relations_N = _foreign_relations(table, source_N)

    def numbers(values_N: Array) -> Array:
        return np.where(known_N, values_N, np.nan).astype(np.float64)

    return {
        "joints_of_dataset": Column(
            values=numbers(invented_NJ.sum(1)),
            observed=lambda row: (
                f"{names_where(JOINTS, invented_NJ[row])}: {source_N[row]} does not annotate it"
            ),
        ),
        "supervision_of_dataset": Column(
            values=numbers(foreign_N),
            observed=lambda row: (
                f"{source_N[row]} has no such labels: 3D joints or θ are marked as known"
            ),
        ),
        "relations_of_dataset": Column(
            values=numbers(relations_N),
            observed=lambda row: (
                f"relations of {source_N[row]} from {table.relations_source[row]!r}"
            ),
        ),
        "subject_of_dataset": _vocabulary(table, "subject", lambda facts: facts.subjects),
        "camera_of_dataset": _vocabulary(table, "camera_id", lambda facts: facts.cameras),
        "action_of_dataset": _vocabulary(table, "action", lambda facts: facts.actions),
        "source_spelled": Column(
            values=_misspelled(source_N),
            observed=lambda row: (
                f"source {source_N[row]!r} looks like {_plain(source_N[row])!r} spelled otherwise"
            ),
        ),
    }


def _foreign_relations(table: Annotations, source_N: Array) -> Array:
    kind_N = table.relations_source.astype(str)
    pairs, inverse = np.unique(np.stack([source_N, kind_N], 1), axis=0, return_inverse=True)
    foreign = [
        name in DATASETS and bool(kind) and kind not in DATASETS[name].relations
        for name, kind in pairs
    ]
    return np.asarray(np.array(foreign, bool)[inverse.reshape(-1)] & table.relations_valid.any(1))


def _vocabulary(
    table: Annotations, field: str, pattern_of: Callable[[DatasetFacts], str | None]
) -> Column:
    """1 where a name is not in its dataset's vocabulary; a row without a name says nothing."""
    source_N, value_N = table.source.astype(str), table.column(field).astype(str)
    values = np.full(len(table), np.nan)
    for name in set(source_N.tolist()) & set(DATASETS):
        pattern = pattern_of(DATASETS[name])
        if pattern is None:
            continue
        rows = np.flatnonzero((source_N == name) & (value_N != ""))
        names, inverse = np.unique(value_N[rows], return_inverse=True)
        strange = [re.fullmatch(pattern, value) is None for value in names.tolist()]
        values[rows] = np.array(strange, np.float64)[inverse.reshape(-1)]
    return Column(
        values=values,
        observed=lambda row: f"{field} {value_N[row]!r} is none of {source_N[row]}",
    )


_PLAIN = {re.sub(r"[^a-z0-9]", "", name): name for name in DATASETS}


def _plain(name: str) -> str:
    return _PLAIN.get(re.sub(r"[^a-z0-9]", "", name.lower()), "")


def _misspelled(source_N: Array) -> Array:
    names, inverse = np.unique(source_N, return_inverse=True)
    wrong = [name not in DATASETS and bool(_plain(name)) for name in names.tolist()]
    return np.array(wrong, np.float64)[inverse.reshape(-1)]
