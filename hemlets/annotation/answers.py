"""Events of annotators and the state of a task that follows from them.

Events are only added. Their order is the log's, not the clock's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hemlets.annotation.questions import MIRRORED, MODES, Mode
from hemlets.core.errors import InputError
from hemlets.core.skeleton import FLIP_JOINTS, JOINTS

Kind = Literal["answer", "joint", "flag", "done", "undo", "opinion"]

LABELS: Final = ("F", "B", "U")
FLAGS: Final = ("no_person", "cannot_tell", "swapped")
"""Nobody is in the box; no part is recognisable; the skeleton's left and right are exchanged."""
ENDING: Final = frozenset(("no_person", "cannot_tell"))
"""Flags that end a task."""

LONGEST_MS: Final = 3_600_000
"""Longer times of an answer are cut: nobody looks at a part for an hour."""

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f,\"<>]{1,40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One action of an annotator.

    Attributes:
        key: Unique; the same event sent again has the same key.
        task: Name of the sample.
        annotator: Name of the annotator.
        kind: See `Kind`; ``done`` leaves the remaining questions Unknown, ``opinion`` means that
            the model's opinion was looked at.
        question: Name of a question, a joint or a flag; empty otherwise.
        value: F, B or U; ``x,y`` in pixels; on or off; the key of the event that is undone.
        elapsed_ms: Time for which the question was shown, by a monotonic clock.
        time: Of the server, ISO 8601 in UTC.
        shown: What was on screen: mode, zoom, whether the model's opinion was shown, session.
        number: Place in the log.
    """

    key: str
    task: str
    annotator: str
    kind: Kind
    question: str = ""
    value: str = ""
    elapsed_ms: int = 0
    time: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    number: int = 0


@dataclass(kw_only=True, slots=True)
class State:
    """State of a task for one annotator.

    Attributes:
        answers: Label by question.
        joints: Corrected joints, pixels of the image.
        flags: Those that are on.
        done: Nothing is left to answer.
        opinion: The model's opinion was shown.
        last: Key of the event that undo takes back; empty without one.
        revision: Number of the last event.
    """

    answers: dict[str, str] = field(default_factory=dict)
    joints: dict[str, tuple[float, float]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    done: bool = False
    opinion: bool = False
    last: str = ""
    revision: int = 0

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {
            "answers": self.answers,
            "joints": self.joints,
            "flags": sorted(self.flags),
            "done": self.done,
            "opinion": self.opinion,
            "last": self.last,
            "revision": self.revision,
        }


def state_of(events: Iterable[Event], asked: Iterable[str], mode: Mode) -> State:
    """Replay one annotator's events on one task, in log order.

    Args:
        events: Of this annotator and task.
        asked: Names of the questions that the task has.
        mode: Which questions they are.
    """
    listed = list(events)
    undone = {event.value for event in listed if event.kind == "undo"}
    state = State(revision=listed[-1].number if listed else 0)
    ended = False
    for event in listed:
        if event.kind == "opinion":
            state.opinion = True
        if event.kind in ("undo", "opinion") or event.key in undone:
            continue
        state.last = event.key
        if event.kind == "answer":
            state.answers[event.question] = event.value
        elif event.kind == "joint":
            x, y = event.value.split(",")
            state.joints[event.question] = float(x), float(y)
        elif event.kind == "done":
            ended = True
        elif event.question == "swapped":
            _swap(state, mode)
        elif event.value == "on":
            state.flags.add(event.question)
        else:
            state.flags.discard(event.question)
    state.done = ended or bool(state.flags & ENDING) or set(asked) <= state.answers.keys()
    return state


def _swap(state: State, mode: Mode) -> None:
    """Swap left and right; each answer stays with its segment in the image."""
    state.flags ^= {"swapped"}
    turned = {"F": "B", "B": "F", "U": "U"}
    answers = {}
    for question, label in state.answers.items():
        other, reverse = MIRRORED[mode][question]
        answers[other] = turned[label] if reverse else label
    state.answers = answers
    state.joints = {
        JOINTS[FLIP_JOINTS[JOINTS.index(name)]]: place for name, place in state.joints.items()
    }


def require_sound(event: Event, mode: Mode) -> None:
    """Refuse an event that the page cannot have sent.

    Raises:
        InputError: A field has a value that is not permitted.
    """
    names = [question.name for question in MODES[mode]]
    if not _KEY.fullmatch(event.key):
        raise _refused("key", event.key, "8 to 64 letters, digits, '-' and '_'")
    require_name(event.annotator)
    if event.kind == "answer" and (event.question not in names or event.value not in LABELS):
        raise _refused("question, value", f"{event.question}, {event.value}", "a part; F, B or U")
    if event.kind == "flag" and (event.question not in FLAGS or event.value not in ("on", "off")):
        raise _refused("question, value", f"{event.question}, {event.value}", "a flag; on or off")
    if event.kind == "joint" and (event.question not in JOINTS or not _is_place(event.value)):
        raise _refused("question, value", f"{event.question}, {event.value}", "a joint; x,y")
    if event.kind == "undo" and not _KEY.fullmatch(event.value):
        raise _refused("value", event.value, "the key of an event")
    if not 0 <= event.elapsed_ms <= LONGEST_MS:
        raise _refused("elapsed_ms", str(event.elapsed_ms), f"0 to {LONGEST_MS}")


def require_name(annotator: str) -> str:
    """Validate an annotator's name and strip outer spaces.

    Raises:
        InputError: Empty, too long, or with characters that a label file can't hold.
    """
    name = annotator.strip()
    if not _NAME.fullmatch(name):
        raise _refused("annotator", annotator[:60], "1 to 40 characters, no comma, quote, < or >")
    return name


def _is_place(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,5}(\.\d{1,3})?,-?\d{1,5}(\.\d{1,3})?", text))


def _refused(name: str, value: str, expected: str) -> InputError:
    return InputError(
        f"{name} is {value!r}", where=name, expected=expected, remedy="reload the page"
    )
