"""What an annotator is asked about a person: 14 parts (FBI), or 91 pairs of joints (Ordinal).

Both have the same three answers. F: the second joint is nearer the camera than the first; B: it is
farther; U: not recognisable. Sections 5 and 5.1 of the paper.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final, Literal, NamedTuple

from hemlets.core.skeleton import FLIP_JOINTS, JOINTS, PARTS, Joint

Mode = Literal["fbi", "ordinal"]


class Question(NamedTuple):
    """A pair of joints: of a part, parent and child."""

    name: str
    parent: Joint
    child: Joint


FBI: Final = tuple(Question(*part) for part in PARTS)

_ORDINAL_JOINTS: Final = (
    Joint.HEAD_TOP, Joint.NECK,
    Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST,
    Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST,
    Joint.RIGHT_HIP, Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE,
    Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE,
)  # fmt: skip

ORDINAL: Final = tuple(
    Question(f"{JOINTS[first]}>{JOINTS[second]}", first, second)
    for first, second in combinations(_ORDINAL_JOINTS, 2)
)

MODES: Final[dict[str, tuple[Question, ...]]] = {"fbi": FBI, "ordinal": ORDINAL}


def _mirrored(questions: tuple[Question, ...]) -> dict[str, tuple[str, bool]]:
    """Map each question to its mirror image, and whether its joint order is reversed."""
    by_pair = {(q.parent, q.child): q.name for q in questions}
    found = {}
    for question in questions:
        pair = Joint(FLIP_JOINTS[question.parent]), Joint(FLIP_JOINTS[question.child])
        reverse = pair not in by_pair
        found[question.name] = by_pair[pair[::-1] if reverse else pair], reverse
    return found


MIRRORED: Final = {mode: _mirrored(questions) for mode, questions in MODES.items()}
