"""What a data version must satisfy: every expectation with its severity, reason and bounds.

An expectation of a row is a bound on one derived column (see `data_checks.columns`). A missing
value there means that the expectation has nothing to say about the row, because the entry is
marked as not annotated or another expectation already covers what is wrong with it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from data_checks.check import Check
from data_checks.expectations.files import FILES
from data_checks.expectations.identity import IDENTITY, WORDS
from data_checks.expectations.labels import (
    BODY_LIMIT_MM,
    LABELLED,
    RELATIONS,
    RENDERED_SOURCES,
    SMPL,
)
from data_checks.expectations.of_dataset import (
    LABEL_CHECKS,
    MARKERLESS_CHECKS,
    NOSE_CHECKS,
    SWAPPED_CHECKS,
    dataset_checks,
)
from data_checks.expectations.of_table import (
    DRIFT_CHECKS,
    MIN_ROWS_PER_SPLIT,
    SCHEMA_CHECKS,
    SPLIT_CHECKS,
    THETA_CHECKS,
    TRAINING_SPLIT_CHECKS,
)
from data_checks.expectations.plane import FINITE, FINITE_FIELDS, PLANE, PLANE_ONLY
from data_checks.expectations.space import (
    ANATOMY,
    BY_CAMERA,
    BY_DEPTH,
    CAMERA_OF_SOURCE,
    MARKERLESS,
)

__all__ = [
    "BODY_LIMIT_MM",
    "DRIFT_CHECKS",
    "FINITE_FIELDS",
    "LABEL_CHECKS",
    "MARKERLESS_CHECKS",
    "MIN_ROWS_PER_SPLIT",
    "NOSE_CHECKS",
    "RENDERED_SOURCES",
    "ROW_CHECKS",
    "SCHEMA_CHECKS",
    "SPLIT_CHECKS",
    "SUITES",
    "SWAPPED_CHECKS",
    "THETA_CHECKS",
    "TRAINING_SPLIT_CHECKS",
    "dataset_checks",
]

SUITES: Final = MappingProxyType(
    {
        "rows": (*IDENTITY, *WORDS, *FINITE, *PLANE, *RELATIONS[:1], *FILES),
        "2D only": PLANE_ONLY,
        "3D joints": (*ANATOMY, *MARKERLESS, *BY_DEPTH, *CAMERA_OF_SOURCE[1:]),
        "cameras": (*BY_CAMERA, *CAMERA_OF_SOURCE[:1]),
        "depth relations": (*RELATIONS[1:], *LABELLED),
        "SMPL": SMPL,
    }
)
"""Expectations of single rows by the kind of supervision that a row carries."""

ROW_CHECKS: tuple[Check, ...] = tuple(check for suite in SUITES.values() for check in suite)
