"""The study of section 5.2: errors and skips by tilt, part and annotator, and times.

Measured on answers about frames whose 3D is known. An error is an answer against the sign of the
part's true depth, as a share of the answers Forward and Backward; a skip is an Unknown, as a share
of all questions. The tilt is the angle between the part and the image plane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from hemlets.annotation.agreement import agreement, votes_of
from hemlets.annotation.answers import LABELS
from hemlets.annotation.labelled import Labelled
from hemlets.annotation.questions import MODES, Mode
from hemlets.core.arrays import Array

PAPER: Final = {
    "error_above_30": 0.074, "skip_above_30": 0.10, "fbi_image_s": 20.0, "ordinal_image_s": 60.0,
}  # fmt: skip
"""Section 5.2: 7.4 % errors; fewer than 10 % skips; less than 20 s; roughly 1 minute."""

EDGES_DEG: Final = tuple(float(edge) for edge in range(0, 91, 10))
_HASTY_MS: Final = 200
"""Shortest plausible time of an answer, milliseconds."""
_BLOCKS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95 % interval (Wilson): ``hits`` of ``of``."""

    hits: int
    of: int

    @property
    def mean(self) -> float | None:
        """The share; None without data."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound; 0 and 1 without data."""
        if not self.of:
            return 0.0, 1.0
        z = 1.959964
        p, n = self.hits / self.of, self.of
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return float(max(middle - half, 0)), float(min(middle + half, 1))

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types."""
        low, high = self.interval
        return {"mean": self.mean, "low": low, "high": high, "hits": self.hits, "of": self.of}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Errors and skips of some answers, with the median time of an answer in seconds."""

    error: Share
    skip: Share
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {
            "error": self.error.to_json(), "skip": self.skip.to_json(), "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """Results of the study.

    Attributes:
        mode: Which questions were asked.
        images: Tasks that were finished, by all annotators together.
        gold: Of these, with known 3D.
        steep: Rates above 30° of tilt; None without answers about known frames.
        flat: Rates below 20°.
        bins: Rates by bin of `EDGES_DEG`.
        parts: Rates by part, above 30°.
        annotators: Rates by annotator, above 30°.
        blocks: Rates above 30° and seconds an image, by fifths of each annotator's known frames.
        image_s: Seconds a finished image: mean, median, 90th percentile; None without one.
        alpha: Krippendorff's α with Unknown as no label; NaN for a single annotator.
        alpha_unknown: The same with Unknown as a label.
        looked: Rates above 30° of answers given after a look at the model's opinion.
        flags: Tasks by flag.
        hasty: Share of answers faster than a person can look, by annotator.
        dominant: Share of the most frequent of an annotator's answers F and B, by annotator.
        unknown: Share of Unknown by annotator.
    """

    mode: Mode
    images: int
    gold: int
    steep: Rates
    flat: Rates
    bins: list[Rates]
    parts: dict[str, Rates]
    annotators: dict[str, Rates]
    blocks: list[tuple[Rates, float | None]]
    image_s: dict[str, float] | None
    alpha: float
    alpha_unknown: float
    looked: Rates
    flags: dict[str, int]
    hasty: dict[str, Share]
    dominant: dict[str, Share]
    unknown: dict[str, Share]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types."""

        def plain(value: Any) -> Any:
            if isinstance(value, Rates | Share):
                return value.to_json()
            if isinstance(value, dict):
                return {name: plain(inner) for name, inner in value.items()}
            if isinstance(value, list | tuple):
                return [plain(inner) for inner in value]
            return None if isinstance(value, float) and np.isnan(value) else value

        names = self.__dataclass_fields__
        return {name: plain(getattr(self, name)) for name in names} | {
            "tilt_deg": list(EDGES_DEG), "paper": PAPER,
        }  # fmt: skip


class _Answers:
    """Answers about known frames as columns."""

    def __init__(
        self, labelled: Iterable[Labelled], truth: Mapping[str, Array], mode: Mode
    ) -> None:
        questions = {q.name: (i, q) for i, q in enumerate(MODES[mode])}
        rows: list[tuple[float, bool, int, int, str, int, bool]] = []
        self.frames: list[Labelled] = []
        for one in labelled:
            joints_J3 = truth.get(one.task)
            # Sides that an annotator exchanged do not fit the true joints.
            if joints_J3 is None or not one.state.done or one.state.flags:
                continue
            self.frames.append(one)
            for name, label in one.labels.items():
                number, question = questions[name]
                step = joints_J3[question.parent] - joints_J3[question.child]
                if np.isnan(step).any():
                    continue
                tilt = float(np.degrees(np.arctan2(abs(step[2]), np.hypot(step[0], step[1]))))
                right = "F" if step[2] > 0 else "B"
                ms = one.elapsed_ms.get(name, -1)
                rows.append(
                    (tilt, label == right, LABELS.index(label), number, one.annotator, ms,
                     one.state.opinion)
                )  # fmt: skip
        columns = list(zip(*rows, strict=True)) if rows else [()] * 7
        self.tilt, self.right, self.label, self.part = (np.array(c) for c in columns[:4])
        self.annotator = np.array(columns[4], object)
        self.ms, self.looked = np.array(columns[5]), np.array(columns[6], bool)

    def rates(self, chosen: Any) -> Rates:
        """Compute the rates of the answers that a mask selects."""
        if not len(self.tilt):
            return Rates(error=Share(hits=0, of=0), skip=Share(hits=0, of=0), seconds=None)
        label, right, ms = self.label[chosen], self.right[chosen], self.ms[chosen]
        answered = label != LABELS.index("U")
        timed = ms[ms >= 0]
        return Rates(
            error=Share(hits=int((answered & ~right).sum()), of=int(answered.sum())),
            skip=Share(hits=int((~answered).sum()), of=len(label)),
            seconds=float(np.median(timed)) / 1000 if len(timed) else None,
        )


def study(labelled: Sequence[Labelled], truth: Mapping[str, Array], mode: Mode) -> Study:
    """Measure the quality and the speed of labels.

    Args:
        labelled: Of all annotators.
        truth: Joints (18, 3) in the camera frame by task, NaN where unknown.
        mode: Which questions were asked.
    """
    done = [one for one in labelled if one.state.done]
    answers = _Answers(labelled, truth, mode)
    tilt = answers.tilt if len(answers.tilt) else np.zeros(0)
    steep = tilt > 30
    votes = votes_of(labelled)
    image_s = np.array([one.image_ms for one in done]) / 1000
    names = sorted({one.annotator for one in labelled})
    return Study(
        mode=mode,
        images=len(done),
        gold=len(answers.frames),
        steep=answers.rates(steep),
        flat=answers.rates(tilt < 20),
        bins=[
            answers.rates((tilt >= low) & ((tilt < high) | (high == 90)))
            for low, high in pairwise(EDGES_DEG)
        ],
        parts={
            question.name: answers.rates(steep & (answers.part == number))
            for number, question in enumerate(MODES[mode])
        },
        annotators={name: answers.rates(steep & (answers.annotator == name)) for name in names},
        blocks=_learning(answers.frames, truth, mode),
        image_s={
            "mean": float(image_s.mean()),
            "median": float(np.median(image_s)),
            "p90": float(np.percentile(image_s, 90)),
        }
        if len(image_s)
        else None,
        alpha=agreement(votes, unknown=False),
        alpha_unknown=agreement(votes, unknown=True),
        looked=answers.rates(steep & answers.looked),
        flags={
            flag: sum(flag in one.state.flags for one in labelled)
            for flag in ("no_person", "cannot_tell", "swapped")
        },
        hasty={n: _share(labelled, n, _hasty) for n in names},
        dominant={n: _dominant(labelled, n) for n in names},
        unknown={n: _share(labelled, n, lambda one: [v == "U" for v in one.labels.values()])
                 for n in names},
    )  # fmt: skip


def _learning(
    frames: Sequence[Labelled], truth: Mapping[str, Array], mode: Mode
) -> list[tuple[Rates, float | None]]:
    """Compute rates and mean seconds per image for each fifth of an annotator's frames in order."""
    blocks: list[list[Labelled]] = [[] for _ in range(_BLOCKS)]
    for name in {one.annotator for one in frames}:
        own = sorted((o for o in frames if o.annotator == name), key=lambda one: one.order)
        for place, one in enumerate(own):
            blocks[place * _BLOCKS // len(own)].append(one)
    found = []
    for block in blocks:
        answers = _Answers(block, truth, mode)
        seconds = float(np.mean([o.image_ms for o in block])) / 1000 if block else None
        tilt = answers.tilt if len(answers.tilt) else np.zeros(0)
        found.append((answers.rates(tilt > 30), seconds))
    return found


def _hasty(one: Labelled) -> list[bool]:
    return [ms < _HASTY_MS for ms in one.elapsed_ms.values()]


def _share(labelled: Sequence[Labelled], name: str, of: Any) -> Share:
    flags = [flag for one in labelled if one.annotator == name for flag in of(one)]
    return Share(hits=sum(flags), of=len(flags))


def _dominant(labelled: Sequence[Labelled], name: str) -> Share:
    given = [v for one in labelled if one.annotator == name for v in one.labels.values()]
    counts = [given.count("F"), given.count("B")]
    return Share(hits=max(counts), of=sum(counts))


def suspicions(found: Study) -> list[str]:
    """List signs that an annotator did not look at the images."""
    signs = []
    for name, hasty in found.hasty.items():
        if hasty.of >= 28 and (hasty.mean or 0) > 0.2:
            signs.append(f"{name}: {hasty.mean:.0%} of the answers took less than {_HASTY_MS} ms")
        same = found.dominant[name]
        if same.of >= 56 and same.interval[0] > 0.9:
            signs.append(f"{name}: {same.mean:.0%} of the answers are the same")
        unknown = found.unknown[name]
        if unknown.of >= 56 and unknown.interval[0] > 0.9:
            signs.append(f"{name}: {unknown.mean:.0%} of the parts are Unknown")
    return signs


def measured_rates(found: Study) -> str:
    """Format the measured rates as TOML for `hemlets.data.weak_labels`.

    A bin of tilt without an answer is joined to the next steeper one; the last to the one before.
    """
    edges, groups = [0.0], list[Rates]()
    waiting: list[Rates] = []
    for high, rates in zip(EDGES_DEG[1:], found.bins, strict=True):
        waiting.append(rates)
        if sum(one.error.of for one in waiting):
            groups.append(_joined(waiting))
            edges.append(high)
            waiting = []
    if not groups:
        return ""
    if waiting:
        groups[-1] = _joined([groups[-1], *waiting])
        edges[-1] = 90.0
    scheme = found.mode
    source = f"measured on {found.gold} images by {len(found.annotators)} annotators"
    return "\n".join(
        (
            f"[{scheme}]",
            f'source = "{source}"',
            f"tilt_deg = {edges}",
            f"skip = {[round(one.skip.mean or 0, 4) for one in groups]}",
            f"error = {[round(one.error.mean or 0, 4) for one in groups]}",
            "",
        )
    )


def _joined(parts: Sequence[Rates]) -> Rates:
    def total(shares: list[Share]) -> Share:
        return Share(hits=sum(s.hits for s in shares), of=sum(s.of for s in shares))

    return Rates(
        error=total([p.error for p in parts]), skip=total([p.skip for p in parts]), seconds=None
    )
