"""Oracle inputs: parts of the truth that a predictor used; pages show them in red."""

from __future__ import annotations

from typing import Final

from hemlets.evaluation.predictions import PredictionsInfo

_TRUE = ("ground-truth", "true", "oracle", "annotated")
PUT_IN: Final = {"pose": ".true-pose", "shape": ".true-shape"}
"""Suffix of the depth source where the true pose or shape was used."""

_TEST_BONES = ("test-bone", "test-set-bone", "subject-bone")


def knows_distance(depth_source: str) -> bool:
    """Return whether a depth source is the test sample's own truth."""
    return depth_source.startswith((*_TRUE, *_TEST_BONES))


def has_truth_put_in(depth_source: str) -> bool:
    """Return whether the true pose or shape was used, by the depth source's suffix."""
    return depth_source.endswith(tuple(PUT_IN.values()))


def oracle_inputs(info: PredictionsInfo) -> tuple[str, ...]:
    """List the oracle inputs of a predictor, one sentence each.

    Box and depth sources are free text. Those that begin with ``ground-truth``, ``true``,
    ``oracle`` or ``annotated`` are the test set's own; so are bone lengths that begin with
    ``test-bone``, ``test-set-bone`` or ``subject-bone``.

    Examples:
        >>> oracle_inputs(PredictionsInfo(model_version="m", data_version="d", split="test",
        ...     precision="float32", depth_source="bone-length-prior", box_source="detector",
        ...     flip_test=False, code_version="c"))
        ()
    """
    found = []
    if info.box_source.startswith(_TRUE):
        found.append(
            "The person's box was the annotated one: a detector's box is off by some pixels, "
            "which costs accuracy."
        )
    if info.depth_source.startswith(_TEST_BONES):
        found.append(
            "Metric scale came from the test subjects' own bone lengths, which nobody knows of a "
            "person in a photo."
        )
    elif info.depth_source.startswith(_TRUE):
        found.append(
            "The pelvis' true depth was given, and with it metric scale, which no photo contains."
        )
    if info.depth_source.endswith(PUT_IN["pose"]):
        found.append("The true pose θ was put in: what is left is the error of the shape.")
    if info.depth_source.endswith(PUT_IN["shape"]):
        found.append("The true shape β was put in: what is left is the error of the pose.")
    if "lifter" in info.depth_source:
        found.append("The predictor was given the true 2D joints instead of the image.")
    return tuple(found)
