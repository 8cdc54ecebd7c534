"""The retraining flow: ingest → validate → train → benchmark → register → package → promote.

Each stage is a Prefect task over a function of :mod:`flows.steps.stages`. Stages hand each other
paths and content hashes, never arrays, and a stage whose result is there is not run again.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.profile import RETRAIN_LOCK, RETRAINING, Profile, load_profile
from flows.registry import rules as promotion
from flows.registry import versions as registry
from flows.steps import stages
from flows.steps.challenger_evaluation import judge
from flows.steps.previous_data import CONTENT_TAG, DATA_TAG, Previous, find_previous
from flows.steps.progress import Progress
from flows.steps.split_fingerprint import read_held_out
from flows.storage.stage_cache import StageResult, StageStore
from flows.tracking.compare import log_benchmark
from flows.tracking.figures import Figures
from flows.tracking.live_history import LiveHistory
from flows.tracking.mlflow_client import Tracking, close_orphans, connect
from flows.tracking.retraining_key import RetrainingKey, retraining_key
from flows.tracking.run import Run
from hemlets.core.errors import PromotionError
from hemlets.core.files import content_hash, lock, read_json
from hemlets.core.workspace import Workspace

__all__ = ["Outcome", "retrain"]

METRIC_PROTOCOL = "open-benchmark-1"

_TRAININGS = {"train-pose": "train pose", "train-posh": "train PoSh"}
"""What people read, by stage."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a retraining ended.

    Attributes:
        decision: ``promoted``, ``rejected`` or ``already champion``.
        reasons: Why, one sentence each.
        version: The challenger's number in the registry.
        report: The HTML report.
        cached: Stages that were found whole.
    """

    decision: str
    reasons: tuple[str, ...]
    version: int
    report: Path
    cached: tuple[str, ...]


@dataclass(kw_only=True)
class _Context:
    """What every stage of one flow run shares."""

    workspace: Workspace
    profile: Profile
    store: StageStore
    progress: Progress
    tracking: Tracking
    parent: Run
    known_by: RetrainingKey
    code_version: str

    @contextlib.contextmanager
    def log(self, stage: str, key: str) -> Iterator[Run | None]:
        """The run of a stage's result to be written to, or None where it is whole already."""
        with self.tracking.run(
            key, stage, parent=self.parent, tags={"hemlets.stage": stage}
        ) as run:
            yield None if run.finished else run
        if not self.parent.finished:
            self.parent.link(stage, run)


def code_version() -> str:
    """The commit that runs, marked where the tree differs from it; else the package version.

    A repository counts only if this file is one of its own: an installation may lie in a folder
    of another project.
    """
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", "--", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        from hemlets import __version__

        return __version__


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.strip()


@task(name="ingest", persist_result=False, cache_policy=NO_CACHE)
def _ingest(context: _Context) -> stages.Data:
    with context.progress.stage("ingest") as bar:
        data = stages.ingest(context.store, context.profile, bar.update)
        bar.result(data.result.cached, f"data version {data.version}")
    with context.log("ingest", data.result.key) as run:
        if run:
            run.params(
                {
                    "data": context.profile.data.model_dump(mode="json"),
                    "datasets": ", ".join(context.profile.datasets),
                }
            )
            run.tag({"data_version": data.version, "content": data.result.content})
            run.files([data.folder / "version.json"])
    return data


@task(name="validate", persist_result=False, cache_policy=NO_CACHE)
def _validate(context: _Context, data: stages.Data) -> tuple[dict[str, Any], Previous | None]:
    champion = registry.champion(context.workspace)
    with context.progress.stage("validate") as bar:
        tags = None if champion is None else champion.tags
        previous = find_previous(context.store, data.version, tags)
        result = stages.validate_data(context.store, data, previous)
        outcome = read_json(result.folder / "result.json")
        verdict = "passed" if outcome["passed"] else "failed"
        bar.result(
            result.cached,
            f"{outcome['rows']:,} rows, {outcome['expectations']} expectations: {verdict}"
            + ("" if previous is None else f"; compared with {previous}"),
        )
    with context.log("validate", result.key) as run:
        if run:
            compared = {"compared_with": outcome["compared_with"]}
            run.tag({"validation": verdict, "data_version": data.version} | compared)
            run.metrics({"rows": outcome["rows"], "warnings": len(outcome["warnings"])})
            run.files([result.folder / "result.json", result.folder / "report.html"])
    stages.require_valid(result, data)
    return outcome, previous


def _trained(
    context: _Context, stage: str, train: Callable[[stages.Begins], StageResult]
) -> StageResult:
    """Train a stage under its run in MLflow, which has its curves while they grow."""
    with contextlib.ExitStack() as logged:
        runs: list[Run | None] = []

        def run_of(key: str) -> Run | None:
            run = logged.enter_context(context.log(stage, key))
            if run is not None:
                _log_settings(context.profile, stage, run)
            runs.append(run)
            return run

        with context.progress.stage(_TRAININGS[stage]) as bar:

            def begins(key: str, folder: Path) -> Callable[[dict[str, Any]], None]:
                run = run_of(key)
                if run is None:
                    return bar.training
                live = logged.enter_context(LiveHistory(run, folder / "history.jsonl"))

                def told(row: dict[str, Any]) -> None:
                    bar.training(row)
                    live.send()

                return told

            result = train(begins)
            bar.result(result.cached, _last_validation(result))
        run = runs[0] if runs else run_of(result.key)
        if run is not None:
            run.history(result.folder / "history.jsonl")
            pictures = sorted((result.folder / "pictures").glob("*.png"))
            run.files([result.folder / "model" / "model.json", *pictures[-1:]])
    return result


def _log_settings(profile: Profile, stage: str, run: Run) -> None:
    training = profile.train_pose if stage == "train-pose" else profile.train_posh
    run.params(
        {
            "training": training.model_dump(mode="json"),
            "losses": profile.losses.model_dump(mode="json"),
            "augmentation": profile.augmentation.model_dump(mode="json"),
            "pose": profile.pose.model_dump(mode="json"),
            "shape": profile.shape.model_dump(mode="json"),
            "start": profile.start,
        }
    )


@task(name="train pose", persist_result=False, cache_policy=NO_CACHE)
def _train_pose(context: _Context, data: stages.Data) -> StageResult:
    return _trained(
        context,
        "train-pose",
        lambda begins: stages.train_pose(context.store, context.profile, data, begins),
    )


@task(name="train PoSh", persist_result=False, cache_policy=NO_CACHE)
def _train_posh(context: _Context, data: stages.Data, pose: StageResult) -> StageResult:
    return _trained(
        context,
        "train-posh",
        lambda begins: stages.train_posh(context.store, context.profile, data, pose, begins),
    )


def _last_validation(result: StageResult) -> str:
    figures = read_json(result.folder / "model" / "model.json")["training"]["validation"]
    error = figures.get("mpjpe_mm")
    return "" if error is None else f"validation MPJPE {error:.1f} mm"


@task(name="benchmark", persist_result=False, cache_policy=NO_CACHE)
def _benchmark(context: _Context, data: stages.Data, model: Path) -> stages.Benchmark:
    from flows.steps.body_metrics import body_metrics, body_table, read_bodies
    from flows.steps.presence_metrics import person_metrics, read_person

    with context.progress.stage("benchmark") as bar:
        scored = stages.benchmark(
            context.store,
            context.profile.benchmark,
            data,
            model,
            code_version=context.code_version,
            progress=bar.update,
        )
        figures = Figures.read(scored.result.folder)
        bar.result(
            scored.result.cached,
            "test MPJPE {} mm (mean pose {}, linear lifter {})".format(
                *(
                    _rounded(figures.mean("test", predictor, "mpjpe_mm"))
                    for predictor in ("model", "mean-pose", "linear-lifter")
                )
            ),
        )
    with context.log("benchmark", scored.result.key) as run:
        if run:
            for split in ("gate", "test"):
                run.metrics(figures.logged(split))
                for baseline in ("mean-pose", "linear-lifter"):
                    logged = figures.logged(split, baseline)
                    run.metrics({f"{baseline}/{name}": value for name, value in logged.items()})
                folder = scored.result.folder / split
                run.pictures(sorted(folder.glob("*.png")), folder=f"pictures/{split}")
                run.files([scored.predictions(split)], folder=f"predictions/{split}")
            run.metrics(person_metrics(read_person(scored.result.folder)))
            run.table("figures", figures.rows())
            bodies = read_bodies(scored.result.folder)
            run.metrics(body_metrics(bodies))
            if bodies is not None:
                run.table("bodies", body_table(bodies))
            log_benchmark(run.run_id, scored.open_page, uri=context.tracking.uri)
    return scored


def _rounded(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


@task(name="register", persist_result=False, cache_policy=NO_CACHE)
def _register(
    context: _Context,
    data: stages.Data,
    validation: str,
    previous: Previous | None,
    model: StageResult,
    scored: stages.Benchmark,
) -> registry.ModelVersion:
    with context.progress.stage("register") as bar:
        gate = read_held_out(scored.result.folder, "gate")
        key = content_hash({"model": model.content, "benchmark": scored.result.content})[:20]
        tags = {
            "code_version": context.code_version,
            DATA_TAG: data.version,
            CONTENT_TAG: data.result.content,
            "config_hash": context.profile.hash,
            "validation": f"passed {validation[:12]}",
            "metric_protocol": METRIC_PROTOCOL,
            "stage_key": model.key,
            registry.GATE_TAG: gate.hash,
            "gate_samples": str(gate.samples),
            "profile": context.profile.name,
            **({} if previous is None else previous.tags),
            **context.known_by.tags,
        }
        with context.log("register", key) as run:
            # A model that is registered is found by key and content, whichever run that was.
            owner = run or context.tracking.find(key)
            assert owner is not None
            version = registry.register(
                context.workspace, model.folder / "model", run_id=owner.run_id, tags=tags
            )
            if run:
                run.metrics(Figures.read(scored.result.folder).logged("test"))
        bar.result(run is None, f"{registry.MODEL_NAME} version {version.version}, challenger")
    return version


@task(name="package", persist_result=False, cache_policy=NO_CACHE)
def _package(
    context: _Context, data: stages.Data, model: Path, scored: stages.Benchmark
) -> stages.Package:
    with context.progress.stage("package") as bar:
        packaged = stages.package(context.store, context.profile, data, model, scored)
        bar.result(packaged.result.cached, packaged.summary)
    with context.log("package", packaged.result.key) as run:
        if run:
            verdict = "passed" if packaged.passed else "failed"
            run.tag({"canary": verdict, "canary.summary": packaged.summary})
            run.files([packaged.result.folder / "canary.json"])
    return packaged


@task(name="promote", persist_result=False, cache_policy=NO_CACHE)
def _promote(
    context: _Context,
    data: stages.Data,
    model: Path,
    scored: stages.Benchmark,
    packaged: stages.Package,
    version: registry.ModelVersion,
) -> tuple[promotion.Decision, dict[str, Any]]:
    with context.progress.stage("promote") as bar:
        verdict = judge(
            context.workspace,
            context.profile,
            challenger=version,
            model=model,
            scored=scored,
            packaged=packaged,
            score=lambda folder: stages.benchmark(
                context.store,
                context.profile.benchmark,
                data,
                folder,
                code_version=context.code_version,
                progress=bar.update,
            ),
        )
        decision, facts = verdict.decision, verdict.facts
        bar.result(False, f"{decision.outcome}: {'; '.join(decision.reasons)}")
    if decision.outcome is not promotion.Outcome.ALREADY_CHAMPION:
        key = content_hash({"promote": facts, "package": packaged.result.key})[:20]
        with context.log("promote", key) as run:
            if run:
                run.tag({"decision": str(decision.outcome), "reasons": "; ".join(decision.reasons)})
                run.metrics({f"gate/{k}": v for k, v in facts["figures"].items() if v is not None})
                if facts["comparison"] is not None:
                    run.metrics({"gate/regression_upper": facts["comparison"]["upper"]})
    return decision, facts


@flow(name="retrain", persist_result=False, validate_parameters=False)
def retrain(
    profile: str = "demo", overrides: list[str] | None = None, home: str | None = None
) -> dict[str, Any]:
    """Retrain with a profile and promote the model if it is better.

    Args:
        profile: Name of a bundled profile, or the path of a file.
        overrides: ``section.key=value`` over the profile.
        home: The workspace; by default ``HEMLETS_HOME``.

    Returns:
        The outcome as plain values.

    Raises:
        HemletsError: A stage failed; what is whole is kept for the next run.
    """
    workspace = Workspace(home=Path(home).resolve()) if home else Workspace.from_env()
    settings = load_profile(profile, tuple(overrides or ()))
    with lock(workspace.locks / RETRAIN_LOCK, RETRAINING, again=True):
        outcome = _run(workspace, settings)
    return {
        "decision": outcome.decision,
        "reasons": list(outcome.reasons),
        "version": outcome.version,
        "report": str(outcome.report),
        "cached": list(outcome.cached),
    }


def _run(workspace: Workspace, profile: Profile) -> Outcome:
    from flows.steps.report import write_report

    stages.check_needs(profile)
    tracking = connect(workspace)
    close_orphans(workspace)
    version = code_version()
    known_by = retraining_key(workspace, profile)
    key = known_by.key
    progress = Progress()
    with tracking.run(
        key, f"retrain {profile.name}", tags={"profile": profile.name, "code_version": version}
    ) as parent:
        context = _Context(
            workspace=workspace,
            profile=profile,
            store=StageStore(workspace),
            progress=progress,
            tracking=tracking,
            parent=parent,
            known_by=known_by,
            code_version=version,
        )
        if not parent.finished:
            parent.params(profile.model_dump(mode="json"))
        data = _ingest(context)
        validation, previous = _validate(context, data)
        pose = _train_pose(context, data)
        posh = _train_posh(context, data, pose)
        model = posh.folder / "model"
        scored = _benchmark(context, data, model)
        challenger = _register(context, data, str(validation["hash"]), previous, posh, scored)
        packaged = _package(context, data, model, scored)
        decision, facts = _promote(context, data, model, scored, packaged, challenger)
        report = write_report(
            workspace,
            profile,
            key=key,
            data=data,
            validation=validation,
            stages_done={"train-pose": pose.folder, "train-posh": posh.folder},
            scored=scored,
            packaged=packaged,
            facts=facts,
            timings=progress.timings,
            code_version=version,
        )
        if not parent.finished:
            parent.metrics(Figures.read(scored.result.folder).logged("test"))
            parent.tag({"decision": str(decision.outcome), "data_version": data.version})
            parent.files([report])
        if decision.outcome is promotion.Outcome.ALREADY_CHAMPION and decision.failures:
            raise PromotionError(
                "the model that is being served no longer passes: " + "; ".join(decision.failures),
                where=f"{registry.MODEL_NAME} version {decision.champion_version}",
                expected="a champion that passes the gate which it was promoted by",
                remedy=f"read {report}; then retrain with other data or settings, or go back to "
                "the champion before it: hemlets rollback",
            )
    get_run_logger().info("%s: %s", decision.outcome, "; ".join(decision.reasons))
    return Outcome(
        decision=str(decision.outcome),
        reasons=decision.reasons,
        version=challenger.version,
        report=report,
        cached=tuple(progress.cached),
    )
