"""Summaries and notes about predictions of photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hemlets.inference.predictor import DEFAULT_FOV_DEG
from hemlets.inference.results import People
from hemlets.inference.types import Flag

_NOTES: Final = {
    Flag.WHOLE_IMAGE_BOX: (
        "no box was given, so the whole photo was taken for the person's box. The result is "
        "rougher unless the person fills the photo: give --box x0,y0,x1,y1"
    ),
    Flag.DEFAULT_FIELD_OF_VIEW: (
        f"no camera was given, so a field of view of {DEFAULT_FOV_DEG:g}° was assumed. Distance "
        "and depth are rougher: give --camera fx,fy,cx,cy"
    ),
    Flag.NO_SECOND_LOOK: (
        "some people were predicted from one crop although the model was unsure of them"
    ),
    Flag.MISSING_JOINTS: (
        "of some people not all joints were found, so their predictions are rougher"
    ),
}


def summary_rows(people: People) -> list[tuple[str, str, str]]:
    """Build rows of photo, pelvis in metres and confidence."""
    if not people:
        return [(people.name, "nobody was found", "–")]
    rows = []
    for number, person in enumerate(people):
        metres = ", ".join(f"{v / 1000:.2f}" for v in person.pelvis_mm)
        sure = person.confidence
        label = people.name if len(people) == 1 else f"{people.name} person {number}"
        rows.append((label, metres, "–" if np.isnan(sure) else f"{sure:.2f}"))
    return rows


def notes(results: Sequence[People]) -> list[str]:
    """List doubts, and assumptions that the user can replace by values."""
    lines: dict[str, None] = {}
    for people in results:
        doubtful = [i for i, person in enumerate(people) if person.estimate.person is False]
        for number in doubtful:
            which = "" if len(people) == 1 else f" of person {number}"
            lines[
                f"{people.name}: there is probably no person in the box{which}. The confidence of "
                f"{people[number].estimate.person_confidence:.2f} is below the model's threshold, "
                "so don't rely on this result"
            ] = None
        for person in people:
            lines |= dict.fromkeys(_NOTES[flag] for flag in person.estimate.flags)
    return list(lines)
