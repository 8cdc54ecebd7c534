"""Simulated annotators: answers with known rates of errors and skips, written as people's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.annotation.answers import Event
from hemlets.annotation.questions import MODES
from hemlets.annotation.store import AnswerStore
from hemlets.data.weak_labels import Annotator

_SECONDS = 1.2
"""Median time of an answer; times are log-normal."""


def label_tasks(
    store: AnswerStore,
    joints_J3_mm: Mapping[str, npt.NDArray[Any]],
    rates: Annotator,
    name: str,
    rng: np.random.Generator,
) -> None:
    """Answer all questions of tasks; a level pair is answered Unknown.

    Args:
        store: Gets the answers.
        joints_J3_mm: Joints (18, 3) in the camera frame by task, NaN where unknown.
        rates: How often the annotator skips and errs.
        name: Of the annotator.
        rng: Of all draws.
    """
    joints = np.stack(list(joints_J3_mm.values()))
    known = ~np.isnan(joints).any(-1)
    questions = MODES[store.mode]
    pairs = [int(q.parent) for q in questions], [int(q.child) for q in questions]
    relations = rates.label(np.nan_to_num(joints), known, rng, scheme=store.mode, pairs=pairs)
    letters = {1: "F", -1: "B", 0: "U"}
    asked = [question.name for question in questions]
    milliseconds = np.round(1000 * _SECONDS * rng.lognormal(0, 0.4, relations.values_NK.shape))
    store.add_many(
        (
            Event(
                key=f"{name}-{store.mode}-{row:06}-{part:02}",
                task=task,
                annotator=name,
                kind="answer",
                question=question,
                value=letters[int(relations.values_NK[row, part])]
                if relations.valid_NK[row, part]
                else "U",
                elapsed_ms=int(milliseconds[row, part]),
                shown={"session": "simulated"},
            )
            for row, task in enumerate(joints_J3_mm)
            for part, question in enumerate(asked)
        ),
        asked,
    )
