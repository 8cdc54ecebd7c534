"""Dataset: rows against the facts of their dataset, and all rows of a dataset together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from data_checks.datasets import DATASETS, DatasetFacts
from data_checks.rows import Rows
from data_checks.rule import RULES, Entries, Measured, Rule, Severity, flagged, numbers, rule
from data_checks.rules.anatomy import markerless_body_plausible
from data_checks.rules.plane import faces_camera, left_right_limb_2d, left_right_pair_2d
from data_checks.rules.relations import opposed_labels
from hemlets.core.arrays import Array
from hemlets.core.skeleton import JOINTS, Joint

_HASTY_MS = 200
"""Nobody sees a part and judges it in less."""

_FEWEST = 30
"""Rows below which a share of a dataset's rows is not judged."""


def dataset_rules(name: str) -> list[Rule]:
    """Rules of the rows of one dataset, with its facts in their words."""
    facts = DATASETS[name]
    words = {
        "dataset": name,
        "absent": ", ".join(sorted(joint.name.lower() for joint in facts.absent)) or "none",
        "relations": ", ".join(sorted(facts.relations)),
    }
    return [
        replace(r, suite=f"dataset {name}", says=r.says.format(**words), reason=facts.why)
        for r in RULES.values()
        if r.suite == "dataset"
    ]


@rule("dataset", "valid2d, valid3d", at_most=0)
def joints_of_dataset(rows: Rows) -> Measured:
    """No joint is annotated that {dataset} never has ({absent})."""
    invented_NJ = np.zeros((len(rows), len(JOINTS)), bool)
    for mask_N, facts in _known(rows):
        invented_NJ[mask_N] = [joint in facts.absent for joint in Joint]
    invented_NJ &= rows.table.valid2d | rows.table.valid3d
    names = flagged(invented_NJ, JOINTS, "")
    return numbers(
        names.values,
        lambda row: f"{names.observed(row)}: {rows.sources[row]} does not annotate it",
    )


@rule("dataset", "valid3d, smpl_valid", severity=Severity.WARN, at_most=0)
def supervision_of_dataset(rows: Rows) -> Measured:
    """No 3D joints or bodies where {dataset} has none."""
    foreign_N = np.zeros(len(rows))
    for mask_N, facts in _known(rows):
        foreign_N += mask_N & rows.table.valid3d.any(1) & (not facts.joints3d)
        foreign_N += mask_N & rows.table.smpl_valid & (not facts.smpl)
    return numbers(
        foreign_N,
        lambda row: f"{rows.sources[row]} has no such labels: 3D joints or θ are marked as known",
    )


@rule("dataset", "relations_source", severity=Severity.WARN, at_most=0)
def relations_of_dataset(rows: Rows) -> Measured:
    """Relations come from what {dataset} has: {relations}."""
    origin_N = rows.table.relations_source.astype(str)
    foreign_N = np.zeros(len(rows), bool)
    for mask_N, facts in _known(rows):
        foreign_N |= mask_N & ~np.isin(origin_N, ["", *facts.relations])
    return numbers(
        foreign_N & rows.table.relations_valid.any(1),
        lambda row: f"relations of {rows.sources[row]} from {str(origin_N[row])!r}",
    )


@rule("dataset", "subject", severity=Severity.WARN, at_most=0)
def subject_of_dataset(rows: Rows) -> Measured:
    """The subject is one of {dataset}."""
    return _vocabulary(rows, "subject", lambda facts: facts.subjects)


@rule("dataset", "camera_id", severity=Severity.WARN, at_most=0)
def camera_of_dataset(rows: Rows) -> Measured:
    """The camera is one of {dataset}."""
    return _vocabulary(rows, "camera_id", lambda facts: facts.cameras)


@rule("dataset", "action", severity=Severity.WARN, at_most=0)
def action_of_dataset(rows: Rows) -> Measured:
    """The action is one of {dataset}."""
    return _vocabulary(rows, "action", lambda facts: facts.actions)


def _known(rows: Rows) -> list[tuple[Array, DatasetFacts]]:
    """Mask (N,) and facts of each known dataset that occurs."""
    return [(mask, DATASETS[name]) for name, mask in rows.of_source.items() if name in DATASETS]


def _vocabulary(
    rows: Rows, field: str, pattern_of: Callable[[DatasetFacts], str | None]
) -> Measured:
    """1 where a name is not in its dataset's vocabulary, NaN for a row without a name."""
    value_N = rows.table.column(field).astype(str)
    strange_N = np.full(len(rows), np.nan)
    for mask_N, facts in _known(rows):
        pattern = pattern_of(facts)
        if pattern is not None:
            named = np.flatnonzero(mask_N & (value_N != ""))
            names, inverse = np.unique(value_N[named], return_inverse=True)
            strange = [re.fullmatch(pattern, name) is None for name in names.tolist()]
            strange_N[named] = np.array(strange, np.float64)[inverse.reshape(-1)]
    return numbers(
        strange_N, lambda row: f"{field} {str(value_N[row])!r} is none of {rows.sources[row]}"
    )


_PLAIN = {re.sub(r"[^a-z0-9]", "", name): name for name in DATASETS}


def similar_name(name: str) -> str:
    """Known dataset of which a name is another spelling; empty if there is none."""
    similar = _PLAIN.get(re.sub(r"[^a-z0-9]", "", name.lower()), "")
    return "" if similar == name else similar


def _failing(of: Rule) -> Callable[[Rows], tuple[Array, Array]]:
    def count(rows: Rows) -> tuple[Array, Array]:
        values_N = rows.measured(of).values
        return of.fails(values_N), np.isfinite(values_N)

    return count


def _noses(*, front: bool) -> Callable[[Rows], tuple[Array, Array]]:
    def count(rows: Rows) -> tuple[Array, Array]:
        usable_N, front_N, nose_N = faces_camera(rows.table)
        side_N = usable_N & (front_N == front)
        return side_N & nose_N, side_N

    return count


@rule("hasty labels", "label_ms", at_most=0.2)
def labels_looked_at(evidence: Evidence) -> Entries | None:
    """At most 20 % of the people whose labelling was timed took less than 200 ms a part.

    Nobody sees a part and judges it in less: a script or a held key gave such labels.
    """

    def judge(source: str) -> tuple[float, str]:
        hasty, timed = evidence.of(source, "hasty")
        return evidence.share(source, "hasty"), (
            f"{hasty:,} of {timed:,} people were labelled in less than {_HASTY_MS} ms a part"
        )

    return _by_source(evidence, "label_ms", judge)


def _hasty_labels(rows: Rows) -> tuple[Array, Array]:
    timed_N = rows.table.label_ms > 0
    return timed_N & (rows.table.label_ms < _HASTY_MS), timed_N


def _labels(rows: Rows) -> tuple[Array, Array]:
    tilted_NP, opposite_NP = opposed_labels(rows)
    return opposite_NP, tilted_NP


def _unknown_labels(rows: Rows) -> tuple[Array, Array]:
    fbi_N = rows.table.relations_source.astype(str) == "fbi"
    asked_NP = np.broadcast_to(fbi_N[:, None], rows.table.relations_valid.shape)
    return asked_NP & ~rows.table.relations_valid, asked_NP


def _forward_labels(rows: Rows) -> tuple[Array, Array]:
    fbi_N = rows.table.relations_source.astype(str) == "fbi"
    known_NP = fbi_N[:, None] & rows.table.relations_valid
    return known_NP & (rows.table.relations > 0), known_NP


_COUNTED: Final[dict[str, Callable[[Rows], tuple[Array, Array]]]] = {
    "limb": _failing(left_right_limb_2d),
    "pair": _failing(left_right_pair_2d),
    "body": _failing(markerless_body_plausible),
    "front": _noses(front=True),
    "back": _noses(front=False),
    "label": _labels,
    "unknown": _unknown_labels,
    "forward": _forward_labels,
    "hasty": _hasty_labels,
}
"""Counted by dataset: masks of the rows (or labels) found, and of those examined."""


class Evidence:
    """Counts by dataset, chunk by chunk: what single rows can't prove but all together can."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Array]] = defaultdict(
            lambda: {what: np.zeros(2, np.int64) for what in _COUNTED}
        )

    def add(self, rows: Rows) -> None:
        """Add a chunk."""
        with np.errstate(invalid="ignore"):
            counted = {what: count(rows) for what, count in _COUNTED.items()}
        for source, mask_N in rows.of_source.items():
            for what, (found, tested) in counted.items():
                self._counts[source][what] += found[mask_N].sum(), tested[mask_N].sum()

    @property
    def sources(self) -> list[str]:
        """Datasets that occur."""
        return list(self._counts)

    def of(self, source: str, what: str) -> tuple[int, int]:
        """Number of rows found, and of rows examined."""
        found, tested = self._counts[source][what]
        return int(found), int(tested)

    def share(self, source: str, what: str) -> float:
        """Share of rows found among those examined; 0 where these are few."""
        found, tested = self.of(source, what)
        return found / tested if tested >= _FEWEST else 0.0


def _by_source(
    evidence: Evidence, field: str, judge: Callable[[str], tuple[float, str]]
) -> Entries | None:
    judged = {source: judge(source) for source in evidence.sources}
    if not any(value for value, _ in judged.values()):
        return None
    return Entries.of(field, {s: (value, f"{s}: {text}") for s, (value, text) in judged.items()})


@rule("left and right", "joints2d_px", at_most=0.25)
def left_right_2d_of_source(evidence: Evidence) -> Entries | None:
    """In at most a quarter of a dataset's rows without 3D, left and right look swapped.

    Single rows can look so by chance; a quarter of them can't: a joint map is wrong.
    """

    def judge(source: str) -> tuple[float, str]:
        limb, pair = (evidence.share(source, what) for what in ("limb", "pair"))
        return max(limb, pair), (
            f"{100 * limb:.0f} % of the people seen broadside have arms or legs on opposite "
            f"sides, {100 * pair:.0f} % of all a pair that looks exchanged"
        )

    return _by_source(evidence, "joints2d_px", judge)


@rule("markerless bodies", "joints3d_mm", at_most=0.1)
def markerless_bodies_mostly_plausible(evidence: Evidence) -> Entries | None:
    """In at most a tenth of a markerless dataset's rows, bones don't fit.

    Noise spoils single frames; more of them mean a wrong joint map or wrong axes.
    """

    def judge(source: str) -> tuple[float, str]:
        share = evidence.share(source, "body")
        return share, f"bones don't fit in {100 * share:.0f} % of the rows"

    return _by_source(evidence, "joints3d_mm", judge)


@rule("noses", "joints2d_px, visible", at_least=-4)
def nose_seen_from_front(evidence: Evidence) -> Entries | None:
    """Without 3D: people who face the camera show their nose at least as often as others.

    People whose left shoulder is on the right of the picture face the camera. If their noses are
    seen less often, left and right are swapped for the whole body. The measure is the difference
    in standard errors.
    """

    def judge(source: str) -> tuple[float, str]:
        (seen, front), (seen_behind, back) = (evidence.of(source, s) for s in ("front", "back"))
        score = 0.0
        if min(front, back) >= _FEWEST:
            share = (seen + seen_behind) / (front + back)
            error = float(np.sqrt(share * (1 - share) * (1 / front + 1 / back))) + 1e-9
            score = (seen / front - seen_behind / back) / error
        return score, (
            f"the nose is seen on {seen} of {front} people with their left shoulder on the right "
            f"of the picture, and on {seen_behind} of {back} of the others"
        )

    return _by_source(evidence, "joints2d_px, visible", judge)


@rule("labels", "relations", at_most=0.3)
def labels_agree_with_depth(evidence: Evidence) -> Entries | None:
    """At most 30 % of people's Forward and Backward labels are the opposite of the 3D joints.

    More than that is a sign that the sign means something else.
    """

    def judge(source: str) -> tuple[float, str]:
        opposite, labels = evidence.of(source, "label")
        return evidence.share(source, "label"), (
            f"{opposite:,} of {labels:,} labels that could be compared are the opposite"
        )

    return _by_source(evidence, "relations", judge)


@rule("skipped labels", "relations_valid", severity=Severity.WARN, at_most=0.9)
def labels_mostly_known(evidence: Evidence) -> Entries | None:
    """At most 90 % of the parts that people labelled (FBI) are Unknown.

    Annotators skip fewer than 10 % of tilted parts: with more, nobody looked, or the images show
    too little.
    """

    def judge(source: str) -> tuple[float, str]:
        unknown, asked = evidence.of(source, "unknown")
        return evidence.share(source, "unknown"), f"{unknown:,} of {asked:,} parts are Unknown"

    return _by_source(evidence, "relations_valid", judge)


@rule("equal labels", "relations", at_most=0.95)
def labels_vary(evidence: Evidence) -> Entries | None:
    """At most 95 % of people's labels (FBI) are the same of Forward and Backward.

    An annotator who always pressed one key teaches the network to say the same.
    """

    def judge(source: str) -> tuple[float, str]:
        forward, labels = evidence.of(source, "forward")
        share = evidence.share(source, "forward")
        return (max(share, 1 - share) if labels >= _FEWEST else 0.0), (
            f"{forward:,} of {labels:,} labels are Forward"
        )

    return _by_source(evidence, "relations", judge)
