"""Who a row is about: unique names, duplicates, and leaks between splits."""

from __future__ import annotations

import numpy as np

from data_checks.census import Census
from data_checks.columns.base import Array, Column, Columns
from data_checks.names import SharedNames
from data_checks.stream import Chunk


def identity_columns(chunk: Chunk, census: Census) -> Columns:
    """Unique ids, known splits, duplicated people, and splits that share data."""
    rows = chunk.rows
    ids, splits = _texts(chunk, "sample_id"), _texts(chunk, "split")
    twins = census.twins

    def same_id(row: int) -> str:
        others = [r for r in census.duplicated_ids.get(ids[row], []) if r != rows[row]]
        return f"sample id {ids[row]!r} also in row {_some(others)}"

    def near(row: int) -> str:
        other, correlation = census.near.partner[int(rows[row])]
        split, name = census.codes["split"].text(other), census.ids[other].as_py()
        return (
            f"looks like {name} (row {other}) of split {split}: the pictures' thumbnails "
            f"correlate by {correlation:.3f}"
        )

    return {
        "sample_id_unique": Column(values=ids, observed=same_id),
        "split_known": Column(values=splits, observed=lambda row: f"split {splits[row]!r}"),
        "person_annotated_once": Column(
            values=np.array([len(twins.get(int(row), ())) for row in rows], np.float64),
            observed=lambda row: f"same image and box as row {_some(twins[int(rows[row])])}",
        ),
        "image_in_one_split": _shared(census.images, rows),
        "image_alike_in_one_split": Column(
            values=np.array([int(row) in census.near.partner for row in rows], np.float64),
            observed=near,
        ),
        "clip_in_one_split": _shared(census.clips, rows),
        "family_in_one_split": _shared(census.families, rows),
        "test_subject_not_trained_on": _shared(census.subjects_tested_on, rows),
    }


def _shared(names: SharedNames, rows: Array) -> Column:
    return Column(values=names.values[rows], observed=lambda row: names.observed(int(rows[row])))


def _texts(chunk: Chunk, field: str) -> Array:
    return np.asarray([str(value) for value in chunk.table.column(field)], dtype=np.object_)


def _some(rows: list[int]) -> str:
    return ", ".join(str(row) for row in rows[:3]) + (" …" if len(rows) > 3 else "")
