"""Who a row is about: unique names, duplicates, and leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from data_checks.columns.base import Array, Column, Columns
from hemlets.annotations import Annotations

__all__ = ["identity_columns"]

_SAME_BOX_IOU = 0.9
_LARGE_GROUP = 200


def identity_columns(table: Annotations) -> Columns:
    """Unique ids, known splits, duplicated people, and splits that share data."""
    ids, splits = _texts(table, "sample_id"), _texts(table, "split")
    rows_of_id: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(ids):
        rows_of_id[name].append(row)
    twins = _duplicated_people(table, splits)

    def same_id(row: int) -> str:
        others = [r for r in rows_of_id[ids[row]] if r != row]
        return f"sample id {ids[row]!r} also in row {_some(others)}"

    def twin(row: int) -> str:
        return f"same image and box as row {_some(twins[row])}"

    return {
        "sample_id_unique": Column(values=ids, observed=same_id),
        "split_known": Column(values=splits, observed=lambda row: f"split {splits[row]!r}"),
        "person_annotated_once": Column(
            values=np.array([len(t) for t in twins], np.float64), observed=twin
        ),
        "image_in_one_split": _splits_of(table.image_hash, splits, _whole, "image"),
        "clip_in_one_split": _splits_of(table.clip, splits, _components, "clip"),
        "family_in_one_split": _splits_of(table.family, splits, _components, "family"),
    }


def _texts(table: Annotations, field: str) -> Array:
    return np.asarray([str(value) for value in table.column(field)], dtype=np.object_)


def _some(rows: list[int]) -> str:
    return ", ".join(str(row) for row in rows[:3]) + (" …" if len(rows) > 3 else "")


def _whole(name: str) -> list[str]:
    return [name]


def _components(name: str) -> list[str]:
    return [part.strip() for part in name.split("+")]


def _splits_of(
    names: Array, splits: Array, parts_of: Callable[[str], Iterable[str]], what: str
) -> Column:
    """Splits that a row's name, or a part of it, occurs in.

    In more than one split, the share of the name's rows that lie in the others is added, so that
    the few that strayed come before the many that they strayed from.
    """
    rows_of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    parts = [list(parts_of(str(name))) for name in names]
    for row, (row_parts, split) in enumerate(zip(parts, splits, strict=True)):
        for part in row_parts:
            rows_of[part][split].append(row)

    def spread(part: str, split: str) -> float:
        places = rows_of[part]
        elsewhere = 1 - len(places[split]) / sum(map(len, places.values()))
        return len(places) + elsewhere

    values = [
        max(spread(part, split) for part in row_parts)
        for row_parts, split in zip(parts, splits, strict=True)
    ]

    def observed(row: int) -> str:
        worst = max(parts[row], key=lambda part: spread(part, splits[row]))
        where = ", ".join(f"{split} (row {rows[0]})" for split, rows in rows_of[worst].items())
        return f"{what} {worst[:40]!r} is in {where}"

    return Column(values=np.array(values, np.float64), observed=observed)


def _duplicated_people(table: Annotations, splits: Array) -> list[list[int]]:
    """For each row the other rows of its split with the same image and nearly the same box."""
    twins: list[list[int]] = [[] for _ in range(len(table))]
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (digest, split) in enumerate(zip(table.image_hash, splits, strict=True)):
        groups[str(digest), split].append(row)
    box_N4 = table.box_xyxy.astype(np.float64)
    for group in groups.values():
        # A real picture shows a handful of people: a larger group is one picture over and over,
        # and comparing all its pairs would take quadratic time.
        if len(group) > _LARGE_GROUP:
            for row in group:
                twins[row] = [other for other in group[:4] if other != row]
            continue
        for position, row in enumerate(group):
            for other in group[position + 1 :]:
                if _iou(box_N4[row], box_N4[other]) >= _SAME_BOX_IOU:
                    twins[row].append(other)
                    twins[other].append(row)
    return twins


def _iou(a: Array, b: Array) -> float:
    if np.array_equal(a, b, equal_nan=True):
        return 1.0
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(size, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0
