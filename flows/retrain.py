"""The retraining flow: ingest → validate → train → benchmark → register → package → promote.

Each stage is a Prefect task over a function of :mod:`flows.stages`. Stages hand each other
paths and content hashes, never arrays, and a stage whose result is there is not run again.
"""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import promotion, registry, stages
from flows.profile import Profile, load_profile
from flows.progress import Progress
from flows.scoring import promotion_figures
from flows.stage_store import StageResult, StageStore
from flows.tracking import Run, Tracking, close_orphans, connect
from hemlets.cli.models import point_to_champion
from hemlets.errors import HemletsError, WorkspaceError
from hemlets.evaluation import Scores, compare
from hemlets.files import content_hash, lock, read_json, sha256_folder
from hemlets.workspace import Workspace

__all__ = ["Outcome", "retrain"]

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
METRIC_PROTOCOL = "open-benchmark-1"


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
    """The commit that runs, marked where the tree differs from it; else the package version."""
    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        from hemlets import __version__

        return __version__


@task(name="ingest", persist_result=False, cache_policy=NO_CACHE)
def _ingest(context: _Context) -> stages.Data:
    with context.progress.stage("ingest") as bar:
        data = stages.ingest(context.store, context.profile, bar.update)
        bar.result(data.result.cached, f"data version {data.version}")
    with context.log("ingest", data.result.key) as run:
        if run:
            run.params({"data": context.profile.data.model_dump(mode="json")})
            run.tag({"data_version": data.version, "content": data.result.content})
            run.files([data.folder / "version.json"])
    return data


@task(name="validate", persist_result=False, cache_policy=NO_CACHE)
def _validate(context: _Context, data: stages.Data) -> str:
    with context.progress.stage("validate") as bar:
        result = stages.validate_data(context.store, data)
        outcome = read_json(result.folder / "result.json")
        verdict = "passed" if outcome["passed"] else "failed"
        bar.result(
            result.cached,
            f"{outcome['rows']:,} rows, {outcome['expectations']} expectations: {verdict}",
        )
    with context.log("validate", result.key) as run:
        if run:
            run.tag({"validation": verdict, "data_version": data.version})
            run.metrics({"rows": outcome["rows"], "warnings": len(outcome["warnings"])})
            run.files([result.folder / "result.json", result.folder / "report.html"])
    stages.require_valid(result, data)
    return str(outcome["hash"])


def _log_training(context: _Context, stage: str, result: StageResult) -> None:
    profile = context.profile
    training = profile.train_pose if stage == "train-pose" else profile.train_posh
    with context.log(stage, result.key) as run:
        if run:
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
            run.history(result.folder / "history.jsonl")
            run.files([result.folder / "model" / "model.json"])


@task(name="train pose", persist_result=False, cache_policy=NO_CACHE)
def _train_pose(context: _Context, data: stages.Data) -> StageResult:
    with context.progress.stage("train pose") as bar:
        result = stages.train_pose(context.store, context.profile, data, bar.training)
        bar.result(result.cached, _last_validation(result))
    _log_training(context, "train-pose", result)
    return result


@task(name="train PoSh", persist_result=False, cache_policy=NO_CACHE)
def _train_posh(context: _Context, data: stages.Data, pose: StageResult) -> StageResult:
    with context.progress.stage("train PoSh") as bar:
        result = stages.train_posh(context.store, context.profile, data, pose, bar.training)
        bar.result(result.cached, _last_validation(result))
    _log_training(context, "train-posh", result)
    return result


def _last_validation(result: StageResult) -> str:
    figures = read_json(result.folder / "model" / "model.json")["training"]["validation"]
    error = figures.get("mpjpe_mm")
    return "" if error is None else f"validation MPJPE {error:.1f} mm"


@task(name="benchmark", persist_result=False, cache_policy=NO_CACHE)
def _benchmark(context: _Context, data: stages.Data, model: Path) -> stages.Benchmark:
    with context.progress.stage("benchmark") as bar:
        scored = stages.benchmark(
            context.store,
            context.profile.benchmark,
            data,
            model,
            code_version=context.code_version,
            progress=bar.update,
        )
        figures = read_json(scored.result.folder / "figures.json")["test"]
        bar.result(
            scored.result.cached,
            "test MPJPE {} mm (mean pose {}, linear lifter {})".format(
                *(
                    _rounded(figures[predictor]["mpjpe_mm"]["mean"])
                    for predictor in ("model", "mean-pose", "linear-lifter")
                )
            ),
        )
    with context.log("benchmark", scored.result.key) as run:
        if run:
            for split in ("gate", "test"):
                run.metrics(Scores.read(scored.scores(split)).logged)
                for baseline in ("mean-pose", "linear-lifter"):
                    logged = Scores.read(scored.scores(split, baseline)).logged
                    run.metrics({f"{baseline}/{name}": value for name, value in logged.items()})
                folder = scored.result.folder / split
                run.pictures(sorted(folder.glob("*.png")), folder=f"pictures/{split}")
                run.files([scored.predictions(split)], folder=f"predictions/{split}")
            run.table("figures", _rows(scored))
    return scored


def _rounded(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


def _rows(scored: stages.Benchmark) -> list[dict[str, Any]]:
    figures = read_json(scored.result.folder / "figures.json")
    return [
        {"split": split, "predictor": predictor, "metric": entry["name"],
         **{k: v for k, v in entry.items() if k != "name"}}
        for split, predictors in figures.items()
        for predictor, metrics in predictors.items()
        for entry in metrics.values()
    ]  # fmt: skip


@task(name="register", persist_result=False, cache_policy=NO_CACHE)
def _register(
    context: _Context,
    data: stages.Data,
    validation: str,
    model: StageResult,
    scored: stages.Benchmark,
) -> registry.ModelVersion:
    with context.progress.stage("register") as bar:
        key = content_hash({"model": model.content, "benchmark": scored.result.content})[:20]
        tags = {
            "code_version": context.code_version,
            "data_version": data.version,
            "config_hash": context.profile.hash,
            "validation": f"passed {validation[:12]}",
            "metric_protocol": METRIC_PROTOCOL,
            "stage_key": model.key,
            "profile": context.profile.name,
        }
        with context.log("register", key) as run:
            # A model that is registered is found by its stage key, whichever run that was.
            owner = run or context.tracking.find(key)
            assert owner is not None
            version = registry.register(
                context.workspace, model.folder / "model", run_id=owner.run_id, tags=tags
            )
            if run:
                run.metrics(Scores.read(scored.scores("test")).logged)
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
    metric = context.profile.benchmark.promotion_metric
    with context.progress.stage("promote") as bar:
        champion = registry.champion(context.workspace)
        figures = promotion_figures(scored.result.folder)
        comparison, against = None, None
        if champion is not None:
            folder = registry.model_folder_of(context.workspace, champion)
            against = stages.benchmark(
                context.store,
                context.profile.benchmark,
                data,
                folder,
                code_version=context.code_version,
                progress=bar.update,
            )
            own = Scores.read(scored.scores("gate"))
            # A challenger without the metric can't be compared, which is a reason to reject it.
            ratio = (
                None
                if figures.get(metric) is None
                else compare(
                    own,
                    Scores.read(against.scores("gate")),
                    metric,
                    resamples=context.profile.benchmark.resamples,
                )
            )
            comparison = promotion.Comparison(
                metric=metric,
                ratio=None if ratio is None else ratio.ratio,
                upper=None if ratio is None else ratio.high,
                samples=len(own.samples) if ratio is None else ratio.samples,
                champion_version=champion.version,
                champion_hash=champion.model_hash,
                challenger_hash=sha256_folder(model),
            )
        decision = promotion.decide(context.profile.promotion, figures, comparison, packaged.passed)
        decision = promotion.apply(decision, context.workspace, version)
        facts = {
            "decision": str(decision.outcome),
            "reasons": list(decision.reasons),
            "version": version.version,
            "champion_before": None if champion is None else champion.version,
            "figures": figures,
            "comparison": None
            if comparison is None or comparison.ratio is None
            else {"ratio": comparison.ratio, "upper": comparison.upper, "metric": metric,
                  "samples": comparison.samples},
            "champion_benchmark": None if against is None else str(against.result.folder),
        }  # fmt: skip
        bar.result(False, f"{decision.outcome}: {'; '.join(decision.reasons)}")
    if decision.outcome is not promotion.Outcome.ALREADY_CHAMPION:
        key = content_hash({"promote": facts, "package": packaged.result.key})[:20]
        with context.log("promote", key) as run:
            if run:
                run.tag({"decision": str(decision.outcome), "reasons": "; ".join(decision.reasons)})
                run.metrics({f"gate/{k}": v for k, v in figures.items() if v is not None})
                if comparison is not None and comparison.upper is not None:
                    run.metrics({"gate/regression_upper": comparison.upper})
    _point_to_champion(context.workspace)
    return decision, facts


def _point_to_champion(workspace: Workspace) -> None:
    """Tell programs that know no registry where the champion's files are."""
    champion = registry.champion(workspace)
    if champion is not None:
        folder = registry.model_folder_of(workspace, champion)
        point_to_champion(workspace, folder, version=str(champion.version))


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
    with lock(workspace.locks / "retrain.lock", "a retraining in this workspace"):
        outcome = _run(workspace, settings)
    return {
        "decision": outcome.decision,
        "reasons": list(outcome.reasons),
        "version": outcome.version,
        "report": str(outcome.report),
        "cached": list(outcome.cached),
    }


def _run(workspace: Workspace, profile: Profile) -> Outcome:
    from flows.report import write_report

    stages.check_needs(profile)
    tracking = connect(workspace)
    close_orphans(workspace)
    version = code_version()
    key = content_hash({"retrain": profile.hash, "code": stages.pipeline_code()})[:20]
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
            code_version=version,
        )
        if not parent.finished:
            parent.params(profile.model_dump(mode="json"))
        data = _ingest(context)
        validation = _validate(context, data)
        pose = _train_pose(context, data)
        posh = _train_posh(context, data, pose)
        model = posh.folder / "model"
        scored = _benchmark(context, data, model)
        challenger = _register(context, data, validation, posh, scored)
        packaged = _package(context, data, model, scored)
        decision, facts = _promote(context, data, model, scored, packaged, challenger)
        report = write_report(
            workspace,
            profile,
            key=key,
            data=data,
            stages_done={"train-pose": pose.folder, "train-posh": posh.folder},
            scored=scored,
            packaged=packaged,
            facts=facts,
            timings=progress.timings,
            code_version=version,
        )
        if not parent.finished:
            parent.metrics(Scores.read(scored.scores("test")).logged)
            parent.tag({"decision": str(decision.outcome), "data_version": data.version})
            parent.files([report])
    get_run_logger().info("%s: %s", decision.outcome, "; ".join(decision.reasons))
    return Outcome(
        decision=str(decision.outcome),
        reasons=decision.reasons,
        version=challenger.version,
        report=report,
        cached=tuple(progress.cached),
    )


def failure_of(error: BaseException) -> HemletsError | None:
    """What a person can act on in what a flow raised: our own error, or a disk that is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HemletsError):
            return seen
        if isinstance(seen, OSError) and seen.errno in _DISK_ERRORS:
            return WorkspaceError(
                f"a file could not be written: {seen.strerror}",
                where=seen.filename,
                remedy="free some space or mend the permissions, then run the command again: "
                "it goes on from the last whole stage",
            )
        seen = seen.__cause__ or seen.__context__
    return None
