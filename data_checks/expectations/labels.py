"""Expectations of bodies (θ and β) and of depth relations."""

from __future__ import annotations

import math
from typing import Final

from data_checks.check import Check, Severity, at_most

RENDERED_SOURCES: tuple[str, ...] = ("open-rendered",)
"""Sources whose 3D joints are regressed from the very body that θ and β describe."""

BODY_LIMIT_MM = 5.0
"""Distance between a rendered person's joints and those of the body posed anew."""

_TURN = math.pi + 0.1
"""A rotation of more than half a turn has a shorter axis-angle; 0.1 rad for rounding and noise."""

SMPL: Final[tuple[Check, ...]] = (
    at_most(
        "theta_within_half_turn", "theta", _TURN,
        "No rotation of θ is larger than half a turn.",
        "Degrees in place of radians, or rotations that are not axis-angles.",
    ),
    at_most(
        "betas_plausible", "betas", 5.0,
        "Every β lies within ±5 standard deviations.",
        "Such a shape does not occur; the mesh would be distorted.",
    ),
    at_most(
        "body_matches_joints", "joints3d_mm", BODY_LIMIT_MM,
        "For rendered people, joints regressed from the posed body lie within 5 mm of joints3d.",
        "θ, β and joints contradict each other: a swapped label or another body model.",
    ),
)  # fmt: skip

RELATIONS: Final[tuple[Check, ...]] = (
    at_most(
        "relations_known_values", "relations", 0,
        "Every depth relation is -1, 0 or +1.",
        "Other values have no channel in the triplet.",
    ),
    at_most(
        "relations_match_depth", "relations", 0,
        "Depth relations equal those computed from the 3D joints.",
        "Triplets would teach the opposite of what the 3D loss teaches.",
    ),
)  # fmt: skip

LABELLED: Final[tuple[Check, ...]] = (
    Check(
        name="relations_source_told", field="relations_source", high=0, severity=Severity.WARN,
        says="Where relations are known, so is where they come from.",
        reason="Labels and computed relations are judged by different rules.",
    ),
    Check(
        name="labelled_relations_match_depth", field="relations", high=1, severity=Severity.WARN,
        says="At most one label of a person is the opposite of what the 3D joints say.",
        reason="People err on slight tilts, but seldom take a part for the opposite.",
    ),
)  # fmt: skip
