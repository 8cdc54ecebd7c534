"""Promote: compare challenger and champion on the same gate rows, and apply the decision.

If the champion can't be scored, the challenger is rejected with that reason; the flow does not
fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.profile import Profile
from flows.registry import rules as promotion
from flows.registry import versions as registry
from flows.registry.champion import refresh_champion
from flows.registry.rules import Comparison, Decision, Judge, Judged, Outcome
from flows.steps.benchmark import Benchmark
from flows.steps.held_out import own_set
from flows.steps.package import Package
from flows.steps.split_fingerprint import read_split_fingerprint
from flows.tracking.figures import Figures
from hemlets.core.errors import (
    CheckpointError,
    DataError,
    HemletsError,
    PromotionError,
    WorkspaceError,
)
from hemlets.core.files import sha256_folder
from hemlets.core.workspace import Workspace
from hemlets.evaluation import PairedRatio, Run, compare_for_promotion, read_run

if TYPE_CHECKING:
    from flows.tracking.run import Run as TrackedRun

# Loading and running a damaged model, or one of another architecture, raises these too.
_MODEL_ERRORS: Final = (HemletsError, RuntimeError, ValueError, KeyError, TypeError)


Score = Callable[[Path], Benchmark]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Applied decision, with the facts behind it as plain values."""

    decision: Decision
    facts: dict[str, Any]


def judge(
    workspace: Workspace,
    profile: Profile,
    *,
    challenger: registry.ModelVersion,
    model: Path,
    scored: Benchmark,
    packaged: Package,
    score: Score,
) -> Verdict:
    """Decide on a registered challenger, tag it, and move the alias on promotion.

    Args:
        workspace: The workspace with the registry.
        profile: Promotion rules, the compared metric and the number of resamples.
        challenger: The registered version.
        model: The challenger's model folder.
        scored: The challenger's benchmark.
        packaged: The challenger's archive and the outcome of its canary.
        score: Function that benchmarks a model folder on the same data version.

    Raises:
        WorkspaceError: The workspace is busy, full or not writable.
        CheckpointError: A promoted model's stored files are damaged.
    """
    champion = registry.champion(workspace)
    figures = Figures.read(scored.result.folder)
    gate = read_split_fingerprint(scored.result.folder, "gate")
    comparison, other, own = None, None, []
    if champion is not None:
        comparison, other = _compare_with_champion(
            workspace, champion, scored, model=model, profile=profile, score=score
        )
    for judge in profile.judges:
        own.append(_judged(judge, profile, scored, figures, comparison, other))
    decision = promotion.decide(
        profile.promotion,
        figures.for_floors(),
        comparison,
        packaged.passed,
        gate=gate,
        gaps=figures.gaps(),
        own=own,
        withdrawn=_withdrawn(workspace, challenger),
    )
    if decision.promote:
        registry.attach_archive(workspace, challenger, packaged.archive)
    same = decision.outcome is Outcome.ALREADY_CHAMPION and not decision.failures
    if champion is not None and same:
        # Changed serving code gives another archive of the same model, which has been tested.
        registry.attach_archive(workspace, champion, packaged.archive)
    decision = promotion.apply(decision, workspace, challenger)
    decision = _refresh(workspace, decision)
    compared = comparison is not None and comparison.ratio is not None
    facts = {
        "decision": str(decision.outcome),
        "reasons": list(decision.reasons),
        "failures": list(decision.failures),
        "version": challenger.version,
        "champion_before": None if champion is None else champion.version,
        "figures": figures.for_floors(),
        "gate": {
            "hash": gate.hash,
            "samples": gate.samples,
            "champion_hash": None if comparison is None else comparison.champion_gate,
            "needed": profile.promotion.min_gate_samples,
            "usual": promotion.MIN_GATE_SAMPLES,
        },
        "comparison": {
            "ratio": comparison.ratio,
            "upper": comparison.upper,
            "metric": comparison.metric,
            "samples": comparison.samples,
        }
        if comparison is not None and compared
        else None,
        "own": [
            {
                "name": one.judge.name,
                "held_out": one.judge.held_out,
                "figures": dict(one.metrics),
                "samples": 0 if one.gate is None else one.gate.samples,
                "upper": None if one.comparison is None else one.comparison.upper,
            }
            for one in own
        ],
        "champion_benchmark": None if other is None else str(other.result.folder),
    }
    return Verdict(decision=decision, facts=facts)


def log_verdict(run: TrackedRun, verdict: Verdict, figures: Figures) -> None:
    """Log the decision, its reasons and the figures of the gate."""
    decision, facts = verdict.decision, verdict.facts
    run.tag({"decision": str(decision.outcome), "reasons": "; ".join(decision.reasons)})
    shown = {"gate": facts["figures"]}
    shown |= {own_set("gate", own["name"]): own["figures"] for own in facts["own"]}
    for name, values in shown.items():
        run.metrics({figures.short(name, k): v for k, v in values.items() if v is not None})
    if facts["comparison"] is not None:
        run.metrics({"gate/regression_upper": facts["comparison"]["upper"]})


def _judged(
    judge: Judge,
    profile: Profile,
    scored: Benchmark,
    figures: Figures,
    comparison: Comparison | None,
    other: Benchmark | None,
) -> Judged:
    """Compare challenger and champion on a judge's gate rows."""
    name = own_set("gate", judge.name)
    if name not in figures.by_split:
        return Judged(judge=judge, metrics={}, comparison=None, gate=None)
    mine = None
    if comparison is not None:
        mine = replace(
            comparison, metric=judge.metric, ratio=None, upper=None, samples=0,
            champion_gate="", notes=(),
        )  # fmt: skip
    if mine is not None and other is not None:
        try:
            ratio = _paired(scored, other, judge.metric, profile.benchmark.resamples, name)
            mine = replace(mine, ratio=ratio.ratio, upper=ratio.high, samples=ratio.samples,
                           problem=None)  # fmt: skip
        except DataError as error:
            mine = replace(mine, problem=_what(error))
    return Judged(
        judge=judge,
        metrics={k: figures.mean(name, "model", k) for k in {*judge.floors, judge.metric}},
        comparison=mine,
        gate=read_split_fingerprint(scored.result.folder, name),
    )


def _withdrawn(workspace: Workspace, challenger: registry.ModelVersion) -> str | None:
    """Reason why the same model was withdrawn under another version; None if it was not."""
    return next(
        (
            f"{version.tags[registry.WITHDRAWN_TAG]} (version {version.version})"
            for version in registry.withdrawn_versions(workspace)
            if version.model_hash == challenger.model_hash
        ),
        None,
    )


def _refresh(workspace: Workspace, decision: Decision) -> Decision:
    """Cache the current champion for predictions and serving.

    Returns:
        The decision, with a further reason if the champion can't be served.
    """
    with promotion.promotion_lock(workspace):
        try:
            refresh_champion(workspace)
        except CheckpointError:
            # A rejection already states damaged files of an old champion.
            if decision.promote:
                raise
        except PromotionError as error:
            # The alias was moved by hand to a model without a tested archive.
            note = f"the champion can't be served: {error.what}"
            return replace(decision, reasons=(*decision.reasons, note))
    return decision


def _compare_with_champion(
    workspace: Workspace,
    champion: registry.ModelVersion,
    own: Benchmark,
    *,
    model: Path,
    profile: Profile,
    score: Score,
) -> tuple[Comparison, Benchmark | None]:
    """Score the champion like the challenger, and compare them sample by sample."""
    metric, resamples = profile.benchmark.promotion_metric, profile.benchmark.resamples
    ratio: PairedRatio | None = None
    other: Benchmark | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    try:
        other = score(registry.model_folder_of(workspace, champion))
    except WorkspaceError:
        raise
    except _MODEL_ERRORS as error:
        problem = (
            f"the champion can't be scored: {_what(error)}. Restore its files or go back to the "
            "champion before it with hemlets rollback; or remove the alias "
            f"{registry.CHAMPION!r} in the registry, and the floors alone decide"
        )
    if other is not None:
        try:
            ratio = _paired(own, other, metric, resamples)
            notes = _flip_test_note(own, other, metric)
        except DataError as error:
            problem = _what(error)
    comparison = Comparison(
        metric=metric,
        ratio=None if ratio is None else ratio.ratio,
        upper=None if ratio is None else ratio.high,
        samples=0 if ratio is None else ratio.samples,
        champion_version=champion.version,
        champion_hash=champion.model_hash,
        challenger_hash=sha256_folder(model),
        champion_gate=champion.tags.get(registry.GATE_TAG, ""),
        problem=problem,
        notes=notes,
    )
    return comparison, other


def _paired(
    own: Benchmark, other: Benchmark, metric: str, resamples: int, gate: str = "gate"
) -> PairedRatio:
    ours, theirs = (read_split_fingerprint(scored.result.folder, gate) for scored in (own, other))
    if ours != theirs:
        raise DataError(
            f"the challenger was scored on {ours.samples} gate rows {ours.hash[:12]}, the champion "
            f"on {theirs.samples} rows {theirs.hash[:12]}",
            expected="the same rows",
        )
    return compare_for_promotion(_gate(own, gate), _gate(other, gate), metric, resamples=resamples)


def _flip_test_note(own: Benchmark, other: Benchmark, metric: str) -> tuple[str, ...]:
    """Note that only one of the models uses the flip test."""
    ours, theirs = (_gate(scored).name(metric).flip for scored in (own, other))
    if ours == theirs:
        return ()
    who = "the challenger" if ours == "yes" else "the champion"
    return (
        f"{who} averages with the prediction of the mirrored image, at twice the cost, the other "
        "doesn't",
    )


def _gate(scored: Benchmark, gate: str = "gate") -> Run:
    return read_run(scored.scores(gate))


def _what(error: BaseException) -> str:
    if isinstance(error, HemletsError):
        return f"{error.what} ({error.where})" if error.where else error.what
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
