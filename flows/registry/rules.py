"""Decide whether a challenger becomes the champion, and carry the decision out.

A missing or non-finite figure counts against the challenger.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import Field, model_validator

from flows.registry import versions as registry
from hemlets.core.config import Config
from hemlets.core.files import lock
from hemlets.core.workspace import Workspace
from hemlets.evaluation.metrics.definitions import format_value, metric_label

if TYPE_CHECKING:
    from flows.steps.split_fingerprint import SplitFingerprint


MIN_GATE_SAMPLES: Final = 256
"""Default number of gate samples required for a promotion."""

REPLACED_TAG: Final = "replaced_version"
"""Tag of a promoted version: the previous champion."""

REPLACED_BY_TAG: Final = "hemlets.replaced_by"
"""Tag of a former champion: the version that replaced it."""


class Bound(Config):
    """Limits of a metric, inclusive.

    Attributes:
        max: Upper limit, for errors.
        min: Lower limit, for scores.
    """

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("needs max, min or both")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError("min is above max, so that nothing passes")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value passes."""
        above = self.min is None or value >= self.min
        return above and (self.max is None or value <= self.max)


class Limits(Config):
    """Requirements on a challenger for one set of gate rows.

    Attributes:
        floors: Bounds by metric name. All of these metrics are required.
        max_regression: Largest allowed upper end of the paired bootstrap interval of
            challenger ÷ champion − 1; 0.01 allows a challenger that is at worst 1 % worse.
        min_gate_samples: Gate samples that a promotion needs. Fewer than the default weaken the
            gate, which is then named among the decision's reasons.
    """

    floors: dict[str, Bound] = Field(min_length=1)
    max_regression: float = Field(default=0.01, ge=0.0, le=0.1)
    min_gate_samples: int = Field(default=MIN_GATE_SAMPLES, ge=2)


class PromotionRules(Limits):
    """`Limits` of the rendered gate, and whether it decides.

    Attributes:
        rendered_decides: Whether the rendered gate decides. If not, only the gates of the profile's
            `Judge` settings do, and the rendered figures are for information.
    """

    rendered_decides: bool = True


class Judge(Limits):
    """Limits on held-out rows of the user's own data.

    Attributes:
        held_out: Data version that ``hemlets data hold-out`` committed: frozen by its hash.
        metric: Error by which challenger and champion are compared.
    """

    held_out: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.held-out-[0-9a-f]{12}$")
    metric: Literal["mpjpe_mm", "pa_mpjpe_mm", "rigid_mpjpe_mm", "joints2d_px", "per_vertex_mm"] = (
        "joints2d_px"
    )
    min_gate_samples: int = Field(default=64, ge=2)

    @property
    def name(self) -> str:
        """Name of the dataset of the rows."""
        return self.held_out.rpartition(".held-out-")[0]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Challenger and champion on the same samples of the frozen gate split.

    Attributes:
        metric: The metric's name, with its protocol; an error, so that smaller is better.
        ratio: Challenger ÷ champion − 1 of the means; 0.05 is 5 % worse.
        upper: Upper end of the ratio's paired bootstrap interval.
        samples: How many samples both were scored on.
        champion_version: The champion's version number.
        champion_hash: Hash of the champion's model folder.
        challenger_hash: Hash of the challenger's model folder.
        champion_gate: Hash of the gate rows that the champion was registered with; empty if
            unknown. The figures above are always of the present rows.
        problem: Why the two can't be compared; None if they were compared.
        notes: Differences between the two models, one sentence each.
    """

    metric: str
    ratio: float | None
    upper: float | None
    samples: int
    champion_version: int
    champion_hash: str
    challenger_hash: str
    champion_gate: str = ""
    problem: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Figures of a challenger on held-out rows of the user's own data.

    Attributes:
        judge: The rules.
        metrics: Figures of the metrics that have a floor or are compared.
        comparison: Challenger against champion; None if there is no champion.
        gate: The rows; None if there are none.
    """

    judge: Judge
    metrics: Mapping[str, float | None]
    comparison: Comparison | None
    gate: SplitFingerprint | None

    def failures(self) -> list[str]:
        """List the reasons against the challenger, one sentence each."""
        return [
            f"{self.judge.name}: {failure}"
            for failure in (
                *_too_few(self.judge, self.gate),
                *_not_finite(self.metrics),
                *_below_floors(self.judge, self.metrics),
                *_regression(self.judge, self.comparison),
            )
        ]

    def merits(self) -> list[str]:
        """List the reasons for the challenger, one sentence each."""
        merits = _merits(self.judge, self.metrics, self.comparison)
        return [f"{self.judge.name}: {merit}" for merit in merits]


class Outcome(StrEnum):
    """Outcome of a challenger's evaluation."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    ALREADY_CHAMPION = "already champion"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """An outcome and every reason for it.

    Attributes:
        outcome: The outcome.
        reasons: One sentence each. A rejection lists every failure; then notes about a changed or
            weakened gate follow.
        champion_version: The champion that it was compared with; None if there was none.
        failures: The reasons against the model. A model that already is the champion may have
            some too: then something is wrong with the served model.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    champion_version: int | None = None
    failures: tuple[str, ...] = ()

    @property
    def promote(self) -> bool:
        """Whether the alias ``champion`` must move."""
        return self.outcome is Outcome.PROMOTED


def decide(
    rules: PromotionRules,
    challenger_metrics: Mapping[str, float | None],
    comparison: Comparison | None,
    canary_passed: bool | None,
    *,
    gate: SplitFingerprint | None,
    gaps: Sequence[str] = (),
    own: Sequence[Judged] = (),
    withdrawn: str | None = None,
) -> Decision:
    """Judge a challenger. Pure: the same input gives the same decision.

    Args:
        rules: Floors and the allowed regression.
        challenger_metrics: The challenger's figures by name. All must be finite, also those
            without a floor.
        comparison: Challenger against champion; None if there is no champion.
        canary_passed: Whether the served answers equalled the saved predictions; None if not
            tested.
        gate: The rows of the figures; None if unknown.
        gaps: Figures that are missing on some rows, one sentence each.
        own: The challenger on the user's own held-out rows.
        withdrawn: Why this model was withdrawn from service; None if it was not.
    """
    rendered = [
        *_too_few(rules, gate),
        *gaps,
        *_not_finite(challenger_metrics),
        *_below_floors(rules, challenger_metrics),
        *_regression(rules, comparison),
    ]
    failures = [
        *([] if withdrawn is None else [f"this model was withdrawn: {withdrawn}"]),
        *(rendered if rules.rendered_decides else ()),
        *(failure for judged in own for failure in judged.failures()),
        *_canary(canary_passed),
    ]
    if not rules.rendered_decides and not own:
        failures.append("no gate decides: the profile has no judge and switches the rendered off")
    notes = [
        *([] if rules.rendered_decides else ["the rendered gate decides nothing here"]),
        *_about_the_gate(rules, comparison, gate),
        *(() if comparison is None else comparison.notes),
    ]
    against = None if comparison is None else comparison.champion_version
    if (
        comparison is not None
        and comparison.champion_hash
        and comparison.challenger_hash == comparison.champion_hash
    ):
        same = f"this model is already the champion, version {against}: nothing to do"
        return Decision(
            outcome=Outcome.ALREADY_CHAMPION,
            reasons=(same, *(f"but {failure}" for failure in failures)),
            champion_version=against,
            failures=tuple(failures),
        )
    if failures:
        return Decision(
            outcome=Outcome.REJECTED,
            reasons=(*failures, *notes),
            champion_version=against,
            failures=tuple(failures),
        )
    return Decision(
        outcome=Outcome.PROMOTED,
        reasons=(
            *(_merits(rules, challenger_metrics, comparison) if rules.rendered_decides else ()),
            *(merit for judged in own for merit in judged.merits()),
            *([] if comparison is not None else ["there was no champion"]),
            "the canary passed",
            *notes,
        ),
        champion_version=against,
    )


@contextlib.contextmanager
def promotion_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the reentrant lock that every change of the champion requires.

    Raises:
        WorkspaceError: Another process of this workspace held it for five minutes.
    """
    # A champion's files may be downloaded under it.
    with lock(workspace.locks / "promotion.lock", "a promotion", timeout_s=300, again=True):
        yield


def apply(decision: Decision, workspace: Workspace, version: registry.ModelVersion) -> Decision:
    """Carry out a decision: tags first, the alias last, so that a crash promotes nothing untagged.

    May be repeated. If the champion has changed since the comparison, a promotion becomes a
    rejection.

    Returns:
        The decision that was carried out.
    """
    with promotion_lock(workspace):
        current = registry.champion(workspace)
        number = None if current is None else current.version
        if number == version.version and decision.outcome is not Outcome.REJECTED:
            # A rerun must not overwrite the tags with the reasons of the promotion.
            return decision
        if decision.promote and number != decision.champion_version:
            compared = (
                "no champion"
                if decision.champion_version is None
                else f"version {decision.champion_version}"
            )
            failure = (
                f"the champion is {'gone' if number is None else f'version {number}'}, but "
                f"the challenger was compared with {compared}: run the benchmark again"
            )
            decision = replace(
                decision, outcome=Outcome.REJECTED, reasons=(failure,), failures=(failure,)
            )
        if decision.outcome is Outcome.REJECTED:
            registry.reject(workspace, version, decision.reasons)
            return decision
        tags = {"decision": str(decision.outcome), "decision_reasons": "; ".join(decision.reasons)}
        if decision.promote and current is not None:
            tags[REPLACED_TAG] = str(current.version)
            registry.tag_version(workspace, current, {REPLACED_BY_TAG: str(version.version)})
        registry.tag_version(workspace, version, tags)
        if decision.promote:
            registry.set_champion(workspace, version)
    return decision


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _too_few(rules: Limits, gate: SplitFingerprint | None) -> list[str]:
    if gate is None:
        return ["the gate is missing: nothing says which samples the figures are of"]
    if gate.samples < rules.min_gate_samples:
        return [f"the gate has {gate.samples} samples, needed are at least "
                f"{rules.min_gate_samples}"]  # fmt: skip
    return []


def _about_the_gate(
    rules: PromotionRules, comparison: Comparison | None, gate: SplitFingerprint | None
) -> list[str]:
    notes = []
    if rules.min_gate_samples < MIN_GATE_SAMPLES:
        notes.append(
            f"the profile lets {rules.min_gate_samples} gate samples suffice "
            f"(promotion.min_gate_samples; by default {MIN_GATE_SAMPLES})"
        )
    if comparison is None or gate is None or comparison.champion_gate == gate.hash:
        return notes
    champion = f"champion version {comparison.champion_version}"
    if comparison.champion_gate:
        notes.append(
            f"the gate is not the one that {champion} was registered with (rows {gate.hash[:12]}, "
            f"then {comparison.champion_gate[:12]}): both are held against the present rows"
        )
    else:
        notes.append(f"{champion} does not say which gate it was registered with")
    return notes


def _not_finite(metrics: Mapping[str, float | None]) -> list[str]:
    return [
        f"{metric_label(name)} has no value"
        if value is None
        else f"{metric_label(name)} is {value}, not a finite number"
        for name, value in sorted(metrics.items())
        if not _finite(value)
    ]


def _below_floors(rules: Limits, metrics: Mapping[str, float | None]) -> list[str]:
    failures = []
    for name, bound in sorted(rules.floors.items()):
        value = metrics.get(name)
        if name not in metrics:
            failures.append(f"{metric_label(name)} is missing")
            continue
        if value is None or not _finite(value):
            continue
        if not bound.holds(value):
            limits = _limits(name, bound)
            failures.append(
                f"{metric_label(name)} is {format_value(name, value)}, but must be {limits}"
            )
    return failures


def _limits(name: str, bound: Bound) -> str:
    limits = [f"at least {format_value(name, bound.min)}"] if bound.min is not None else []
    limits += [f"at most {format_value(name, bound.max)}"] if bound.max is not None else []
    return " and ".join(limits)


def _regression(rules: Limits, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return []
    against = (
        f"{metric_label(comparison.metric)} can't be compared with that of champion version "
        f"{comparison.champion_version}"
    )
    if comparison.problem is not None:
        return [f"{against}: {comparison.problem}"]
    if comparison.samples < 1:
        return [f"{against}: no samples were compared"]
    ratio, upper = comparison.ratio, comparison.upper
    failures = [
        f"{against}: the {name} is {value}, not a finite number"
        for name, value in (("ratio", ratio), ("interval's upper end", upper))
        if not _finite(value)
    ]
    if failures or ratio is None or upper is None:
        return failures
    # The point estimate is held to the limit too: an interval that lies below it is a fault.
    if max(ratio, upper) > rules.max_regression:
        return [
            f"{_compared(comparison.metric, ratio, upper, comparison.champion_version)}, but may "
            f"be larger by {_percent(rules.max_regression)} at most"
        ]
    return []


def _compared(metric: str, ratio: float, upper: float, version: int) -> str:
    """Describe both ends of the interval of the ratio."""
    return (
        f"{metric_label(metric)} is {_change(ratio)} that of champion version {version}, at the "
        f"worse end of the 95 % interval {_change(upper)} it"
    )


def _change(ratio: float) -> str:
    if not round(1000 * ratio):
        return "as large as"
    return f"{_percent(abs(ratio))} {'larger' if ratio > 0 else 'smaller'} than"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _canary(passed: bool | None) -> list[str]:
    if passed is None:
        return ["the canary's result is missing: the packaged model was not tried"]
    return (
        []
        if passed is True
        else ["the canary failed: the endpoint's answers differ from the saved predictions"]
    )


def _passed(rules: Limits, metrics: Mapping[str, float | None]) -> str:
    met = [
        f"{metric_label(name)} is {format_value(name, value)} ({_limits(name, bound)})"
        for name, bound in sorted(rules.floors.items())
        if (value := metrics.get(name)) is not None
    ]
    return f"every limit is met: {', '.join(met)}"


def _merits(
    rules: Limits,
    metrics: Mapping[str, float | None],
    comparison: Comparison | None,
) -> tuple[str, ...]:
    floors = _passed(rules, metrics)
    if comparison is None:
        return (floors,)
    ratio, upper = comparison.ratio, comparison.upper
    assert ratio is not None
    assert upper is not None
    against = _compared(comparison.metric, ratio, upper, comparison.champion_version)
    allowed = f" ({_percent(rules.max_regression)} larger is allowed)" if upper > 0 else ""
    return (floors, f"{against}, on {comparison.samples} samples{allowed}")
