"""Expectations of one dataset's rows, and of all of them together."""

from __future__ import annotations

from data_checks.check import Check, Severity, at_most, within
from data_checks.datasets import DATASETS


def dataset_checks(name: str) -> tuple[Check, ...]:
    """The expectations of rows of one dataset, with its facts as their reasons."""
    facts = DATASETS[name]

    def check(column: str, field: str, says: str, severity: Severity = Severity.WARN) -> Check:
        return at_most(column, field, 0, says, facts.why, severity)

    absent = ", ".join(sorted(joint.name.lower() for joint in facts.absent)) or "none"
    return (
        check("joints_of_dataset", "valid2d, valid3d",
              f"No joint is annotated that {name} never has ({absent}).", Severity.BLOCK),
        check("supervision_of_dataset", "valid3d, smpl_valid",
              f"No 3D joints or bodies where {name} has none."),
        check("relations_of_dataset", "relations_source",
              f"Relations come from what {name} has: {', '.join(sorted(facts.relations))}."),
        check("subject_of_dataset", "subject", f"The subject is one of {name}."),
        check("camera_of_dataset", "camera_id", f"The camera is one of {name}."),
        check("action_of_dataset", "action", f"The action is one of {name}."),
    )  # fmt: skip


SWAPPED_CHECKS: tuple[Check, ...] = (
    at_most(
        "left_right_2d_of_source", "joints2d_px", 0.25,
        "In at most a quarter of a dataset's rows without 3D, left and right look swapped.",
        "Single rows can look so by chance; a quarter of them can't: a joint map is wrong.",
    ),
)  # fmt: skip

MARKERLESS_CHECKS: tuple[Check, ...] = (
    at_most(
        "markerless_bodies_mostly_plausible", "joints3d_mm", 0.1,
        "In at most a tenth of a markerless dataset's rows, bones don't fit.",
        "Noise spoils single frames; more of them mean a wrong joint map or wrong axes.",
    ),
)  # fmt: skip

NOSE_CHECKS: tuple[Check, ...] = (
    within(
        "nose_seen_from_front", "joints2d_px, visible", -4.0, None,
        "People without 3D whose left shoulder is on the right of the picture show their nose at "
        "least as often as others.",
        "Otherwise they are seen from behind, and left and right are swapped for the whole body.",
    ),
)  # fmt: skip

LABEL_CHECKS: tuple[Check, ...] = (
    at_most(
        "labels_agree_with_depth", "relations", 0.3,
        "At most 30 % of people's Forward and Backward labels are the opposite of the 3D joints.",
        "More than that is a sign that the sign means something else.",
    ),
)  # fmt: skip
