"""Annotators' results per task: labels with times, read from the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hemlets.annotation.answers import Event, State, state_of
from hemlets.annotation.questions import MIRRORED, Mode
from hemlets.annotation.store import AnswerStore


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One annotator's result for a task.

    Attributes:
        task: Name of the sample.
        annotator: Name.
        state: Answers, flags and joints.
        labels: F, B or U by question: answers, and U for what a finished task leaves open.
        elapsed_ms: Time of the answer that counts, by question.
        image_ms: Time of all events.
        order: How many tasks the annotator began before.
        given: Time of the last event, ISO 8601 in UTC.
    """

    task: str
    annotator: str
    state: State
    labels: dict[str, str]
    elapsed_ms: dict[str, int]
    image_ms: int
    order: int
    given: str


def read_labelled(store: AnswerStore, asked: Mapping[str, list[str]]) -> list[Labelled]:
    """Read the results of all known tasks, in the order in which they were started.

    Args:
        store: The log.
        asked: Questions of each task by its name.
    """
    events: dict[tuple[str, str], list[Event]] = defaultdict(list)
    begun: dict[str, int] = defaultdict(int)
    order: dict[tuple[str, str], int] = {}
    for event in store.events():
        if event.task not in asked:
            continue
        key = event.task, event.annotator
        if key not in order:
            order[key] = begun[event.annotator]
            begun[event.annotator] += 1
        events[key].append(event)
    return [
        _labelled(events[key], asked[key[0]], order[key], store.mode) for key in events
    ]  # fmt: skip


def _labelled(events: list[Event], asked: list[str], order: int, mode: Mode) -> Labelled:
    state = state_of(events, asked, mode)
    times = {e.question: e.elapsed_ms for e in events if e.kind == "answer"}
    if "swapped" in state.flags:
        times = {MIRRORED[mode][question][0]: value for question, value in times.items()}
    nothing = bool(state.flags & {"no_person", "cannot_tell"})
    labels = {} if nothing else {q: a for q, a in state.answers.items() if q in asked}
    if state.done and "no_person" not in state.flags:
        labels = {question: labels.get(question, "U") for question in asked}
    return Labelled(
        task=events[0].task,
        annotator=events[0].annotator,
        state=state,
        labels=labels,
        elapsed_ms={question: ms for question, ms in times.items() if question in labels},
        image_ms=sum(event.elapsed_ms for event in events if event.kind != "opinion"),
        order=order,
        given=events[-1].time,
    )
