"""All rules, one module a subject.

A new rule is one function in the module of its subject, or, if it only bounds a field, one entry
of ``suites/fields.yaml``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from data_checks.overlay import load_built_in
from data_checks.rule import RULES, Rule
from data_checks.rules import (
    anatomy,
    body,
    camera,
    dataset,
    files,
    identity,
    labels,
    plane,
    relations,
    table,
)
from hemlets.core.arrays import Array
from hemlets.data.table import Annotations

__all__ = [
    "APPLIES", "SUITES", "anatomy", "body", "camera", "dataset", "files", "identity", "labels",
    "plane", "relations", "table",
]  # fmt: skip

APPLIES: Final[Mapping[str, Callable[[Annotations], Array]]] = MappingProxyType(
    {
        "rows": lambda rows: np.ones(len(rows), bool),
        "2D only": lambda rows: np.asarray(rows.valid2d.any(1) & ~rows.valid3d.any(1)),
        "3D joints": lambda rows: np.asarray(rows.valid3d.any(1)),
        "cameras": lambda rows: rows.camera_valid,
        "depth relations": lambda rows: np.asarray(rows.relations_valid.any(1)),
        "SMPL": lambda rows: rows.smpl_valid,
    }
)
"""Which rows (N,) each suite of row rules applies to: a kind of supervision."""

load_built_in()
_TABLE_SUITES: Final = frozenset(
    {
        "dataset", "drift", "equal labels", "hasty labels", "labels", "left and right",
        "markerless bodies", "noses", "nulls", "schema", "skipped labels", "splits", "theta",
    }
)  # fmt: skip
"""Suites of rules over a whole table, which `data_checks.validate` calls one by one."""
for _rule in RULES.values():
    if _rule.suite not in APPLIES.keys() | _TABLE_SUITES:
        raise ValueError(
            f"rule {_rule.name} is of suite {_rule.suite!r}, which nothing runs; use one of "
            f"{', '.join(APPLIES)}, or call it in data_checks/validate.py and name its suite here"
        )
SUITES: Final[Mapping[str, tuple[Rule, ...]]] = MappingProxyType(
    {name: tuple(rule for rule in RULES.values() if rule.suite == name) for name in APPLIES}
)
"""Rules of rows by suite."""
