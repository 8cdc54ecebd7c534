"""Expectations of the table as a whole: its columns, its splits and its distributions."""

from __future__ import annotations

from data_checks.check import Check, Severity, at_most, within

MIN_ROWS_PER_SPLIT = 4
"""Below it a split has no spread to speak of, whatever the profile asks for."""

SCHEMA_CHECKS: tuple[Check, ...] = (
    at_most(
        "schema_matches", "annotations.parquet", 0,
        "The table can be read and has every column with the type of the annotation schema.",
        "Everything after this stage reads the table by these names and types.",
    ),
    at_most(
        "no_nulls", "annotations.parquet", 0,
        "No cell is null.",
        "What is not annotated is marked by a validity, so a null is a fault of the writer.",
    ),
)  # fmt: skip

TRAINING_SPLIT_CHECKS: tuple[Check, ...] = (
    Check(
        name="ready_for_training",
        field="split",
        low=MIN_ROWS_PER_SPLIT,
        severity=Severity.WARN,
        says=f"Every split has at least {MIN_ROWS_PER_SPLIT} rows.",
        reason="Datasets by themselves needn't have all splits, but retraining needs all of them.",
    ),
)

SPLIT_CHECKS: tuple[Check, ...] = (
    within(
        "enough_rows", "split", MIN_ROWS_PER_SPLIT, None,
        f"Every split has at least {MIN_ROWS_PER_SPLIT} rows.",
        "A model can't be trained, selected, gated or scored on an empty split.",
    ),
)  # fmt: skip

THETA_CHECKS: tuple[Check, ...] = (
    Check(
        name="every_joint_moves", field="theta", low=0.01, severity=Severity.WARN,
        says="Every one of the 24 joints of θ varies by at least 0.01 rad over the table.",
        reason="The shape network can't learn a joint that never moves.",
    ),
)  # fmt: skip

DRIFT_CHECKS: tuple[Check, ...] = (
    Check(
        name="labels_like_before", field="(distribution)", high=0.2, severity=Severity.WARN,
        says="Label distributions differ from the previous version's by at most 0.2 beyond noise.",
        reason="New labels of another kind move the metrics for reasons other than the model.",
    ),
)  # fmt: skip
