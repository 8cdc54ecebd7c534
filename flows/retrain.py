"""The retraining flow: sync → ingest → validate → train → benchmark → register → package → promote.

Each step is a Prefect task around a module of :mod:`flows.steps`. Tasks pass each other paths and
content hashes, never arrays. Results are cached by content in :mod:`flows.storage.stage_cache`
and not by Prefect, so that they survive a killed process and are shared between flow runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from data_checks.result import ValidationResult
from flows.final_states import (
    UNCHANGED,
    FinalState,
    announce,
    announce_resumed,
    final_state,
    run_name,
)
from flows.profile import Profile, load_profile
from flows.registry import versions as registry
from flows.registry.description import describe_version
from flows.registry.rules import Outcome
from flows.services.transient import retry_transient
from flows.services.user_errors import find_user_error
from flows.start_parameters import Number, Override, ProfileChoice
from flows.starting import RETRAIN_LOCK, RETRAINING, run_number
from flows.steps import benchmark, ingest, package, promote, register, sync, train, validate
from flows.steps.benchmark import Benchmark
from flows.steps.ingest import Data
from flows.steps.package import Package
from flows.steps.previous_data import Previous, find_previous
from flows.steps.progress import Progress
from flows.steps.promote import Verdict
from flows.steps.summary import failure_markdown, summary_markdown
from flows.steps.sync import Synced
from flows.steps.time_limit import limited
from flows.storage.stage_cache import StageResult, StageStore
from flows.tracking.code_version import code_version
from flows.tracking.figures import Figures
from flows.tracking.history import LiveHistory
from flows.tracking.mlflow_client import NOTE_TAG, Tracking, close_orphans, connect
from flows.tracking.retraining_key import RetrainingKey, retraining_key
from flows.tracking.run import Run
from flows.tracking.system_metrics import system_metrics
from hemlets.core.errors import PromotionError
from hemlets.core.files import content_hash, lock
from hemlets.core.workspace import Workspace

_STEP: Final[dict[str, Any]] = {
    "persist_result": False,
    "cache_policy": NO_CACHE,
    # Only errors of a network, S3 or a database are worth another attempt.
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": retry_transient,
}
_QUEUE_S: Final = 6 * 3600.0
_TITLES: Final[dict[train.Stage, str]] = {"pose": "train pose", "posh": "train PoSh"}


@flow(name="retrain", flow_run_name=run_name, persist_result=False)
def retrain(
    profile: ProfileChoice = "demo",
    overrides: list[Override] | None = None,
    home: str | None = None,
    number: Number = 0,
) -> dict[str, Any]:
    """Retrain with a profile and promote the model if it is better.

    Args:
        profile: Name of a bundled profile, or the path of a file.
        overrides: ``section.key=value`` over the profile.
        home: The workspace; by default ``HEMLETS_HOME``.
        number: Number of this retraining, or ``date``: each number trains on other rendered
            people, the same number on the same.

    Returns:
        The final ``state``, the ``decision`` (``promoted``, ``rejected`` or ``already champion``),
        its ``reasons``, the model's ``version``, the path of the ``report`` and the names of
        ``cached`` steps. In Prefect they are the data of the state.

    Raises:
        HemletsError: A step failed. Finished results are reused by the next run.
    """
    workspace = Workspace.at(home)
    known: dict[str, Any] = {"profile": profile}
    try:
        start: datetime = flow_run.scheduled_start_time
        settings = load_profile(profile, tuple(overrides or ())).numbered(run_number(number, start))
        # Prefect queues the runs of a deployment; this queues those that were started otherwise.
        with lock(workspace.locks / RETRAIN_LOCK, RETRAINING, timeout_s=_QUEUE_S, again=True):
            outcome = _retrain(workspace, settings, known)
    except Exception as error:
        reason = str(find_user_error(error) or f"{type(error).__name__}: {error}")
        with contextlib.suppress(Exception):  # The server itself may be what failed.
            create_markdown_artifact(failure_markdown(reason, known), "retraining", "Failed")
        announce(FinalState.FAILED, (reason,), known)
        raise
    announce(outcome["state"], outcome["reasons"], known | {"report": outcome["report"]})
    # The state's name is what tells the ends of a retraining apart in Prefect's pages.
    state: State[dict[str, Any]] = Completed(
        name=str(outcome["state"]), message="; ".join(outcome["reasons"]), data=_plain(outcome)
    )
    # Prefect gives the data of a returned state to the caller.
    return cast("dict[str, Any]", state)


def _plain(outcome: dict[str, Any]) -> dict[str, Any]:
    return outcome | {"state": str(outcome["state"]), "reasons": list(outcome["reasons"])}


def _retrain(workspace: Workspace, profile: Profile, known: dict[str, Any]) -> dict[str, Any]:
    """Run all steps; facts are added to ``known`` as soon as they are."""
    _check_requirements(profile)
    lost = close_orphans(workspace)
    resumed = [announce_resumed(len(lost))] if lost else []
    progress, limit = Progress(), profile.timeouts_h
    synced = limited(_sync, limit.sync)(workspace, profile, progress)
    known |= {"sources": [str(source) for source in synced]} if synced else {}
    with _start(workspace, profile, progress, synced) as run:
        known["mlflow"] = run.tracking.page(run.parent)
        data = limited(_ingest, limit.ingest)(run)
        validation, previous = limited(_validate, limit.validate_data)(run, data)
        pose = limited(_train_pose, limit.train)(run, data)
        posh = limited(_train_posh, limit.train)(run, data, pose)
        scored = limited(_benchmark, limit.benchmark)(run, data, posh)
        challenger = _register(run, data, validation, previous, posh, scored)
        packaged = limited(_package, limit.package)(run, data, posh, scored)
        verdict = limited(_promote, limit.promote)(run, data, posh, scored, packaged, challenger)
        known |= {"decision": str(verdict.decision.outcome), "version": challenger.version}
        report = _report(run, data, validation, pose, posh, scored, packaged, verdict)
        decision = verdict.decision
        # A newly trained model has a new decision, regardless of earlier runs.
        unchanged = run.parent.finished and posh.cached
        state = final_state(decision, unchanged=unchanged)
        reasons = (UNCHANGED,) if unchanged else ()
        links = {
            "report": str(report),
            "validation": validation["report"],
            "Data Docs": validation["data_docs"],
            "MLflow": known["mlflow"],
        }
        notes = (*resumed, *map(str, synced), *reasons)
        text = summary_markdown(state.words, profile.promotion, verdict.facts, links, notes)
        if not run.parent.finished:
            # MLflow's list shows the first fifteen characters.
            run.parent.rename(f"{state.words}: {flow_run.name}")
            # MLflow's page cuts off the top of a title.
            run.parent.tag({NOTE_TAG: text.removeprefix("# ")})
    get_run_logger().info("%s: %s", decision.outcome, "; ".join(decision.reasons))
    create_markdown_artifact(text, key="retraining", description=state.words.capitalize())
    return {
        "state": state,
        "decision": str(decision.outcome),
        "reasons": (*reasons, *decision.reasons),
        "version": challenger.version,
        "report": str(report),
        "mlflow": known["mlflow"],
        "sources": known.get("sources", []),
        "cached": list(run.progress.cached),
    }


def _check_requirements(profile: Profile) -> None:
    """Check the requirements of later steps before the training.

    Raises:
        AssetError: The profile starts from weights that do not exist.
        ServingError: There is no Java.
    """
    from serving.java import find_java

    find_java()
    if profile.start == "starter":
        train.starter_weights()


@dataclass(kw_only=True)
class _FlowRun:
    """State shared by the steps of a flow run.

    Attributes:
        parent: The MLflow run of the whole retraining.
        key: The retraining's key.
        synced: The profile's sources.
    """

    workspace: Workspace
    profile: Profile
    store: StageStore
    progress: Progress
    tracking: Tracking
    parent: Run
    key: RetrainingKey
    synced: tuple[Synced, ...]
    code_version: str

    @contextlib.contextmanager
    def step(self, name: str, key: str) -> Iterator[Run]:
        """MLflow run of a step's result; ``finished`` if the result was logged before."""
        tags = {"hemlets.stage": name, "code_version": self.code_version}
        with self.tracking.run(key, name, parent=self.parent, tags=tags) as run:
            yield run
        if not self.parent.finished:
            self.parent.link(name, run)

    def log(self, name: str, key: str, write: Callable[[Run], None]) -> None:
        """Log a step's result once."""
        with self.step(name, key) as run:
            if not run.finished:
                write(run)


@contextlib.contextmanager
def _start(
    workspace: Workspace, profile: Profile, progress: Progress, synced: tuple[Synced, ...]
) -> Iterator[_FlowRun]:
    tracking, version = connect(workspace), code_version()
    key = retraining_key(workspace, profile)
    tags = {"profile": profile.name, "code_version": version}
    with tracking.run(key.key, str(flow_run.name), tags=tags) as parent:
        if not parent.finished:
            parent.params(profile.model_dump(mode="json"))
            for source in synced:
                parent.dataset(source.version, "source", source.place)
        try:
            yield _FlowRun(
                workspace=workspace,
                profile=profile,
                store=StageStore(workspace),
                progress=progress,
                tracking=tracking,
                parent=parent,
                key=key,
                synced=synced,
                code_version=version,
            )
        except Exception:
            with contextlib.suppress(Exception):  # The tracker itself may be what failed.
                if not parent.finished:
                    parent.rename(f"{FinalState.FAILED.words}: {flow_run.name}")
            raise


@task(name="sync", **_STEP)
def _sync(workspace: Workspace, profile: Profile, progress: Progress) -> tuple[Synced, ...]:
    if not profile.sources:
        return ()
    with progress.stage("sync") as bar:
        synced = sync.sync(workspace, profile.sources, bar.update)
        bar.result(not any(source.arrived for source in synced), "; ".join(map(str, synced)))
    return synced


@task(name="ingest", **_STEP)
def _ingest(run: _FlowRun) -> Data:
    with run.progress.stage("ingest") as bar:
        data = ingest.ingest(run.store, run.profile, bar.update)
        bar.result(data.result.cached, f"data version {data.version}")
    run.log(
        "ingest", data.result.key, lambda log: ingest.log_ingest(log, run.profile, data, run.synced)
    )
    return data


@task(name="validate", **_STEP)
def _validate(run: _FlowRun, data: Data) -> tuple[dict[str, Any], Previous | None]:
    champion = registry.champion(run.workspace)
    with run.progress.stage("validate") as bar:
        tags = None if champion is None else champion.tags
        previous = find_previous(run.store, data.version, tags)
        result = validate.validate_data(run.store, data, previous, run.profile.overlay)
        outcome = ValidationResult.read(result.folder).to_json()
        bar.result(result.cached, validate.summarize(outcome, previous))
    run.log(
        "validate",
        result.key,
        lambda log: validate.log_validation(log, result, outcome, data.version),
    )
    validate.require_valid(result, data)
    return outcome, previous


@task(name="train pose", **_STEP)
def _train_pose(run: _FlowRun, data: Data) -> StageResult:
    return _train(
        run, data, "pose", lambda begins: train.train_pose(run.store, run.profile, data, begins)
    )


@task(name="train PoSh", **_STEP)
def _train_posh(run: _FlowRun, data: Data, pose: StageResult) -> StageResult:
    return _train(
        run,
        data,
        "posh",
        lambda begins: train.train_posh(run.store, run.profile, data, pose, begins),
    )


def _train(
    run: _FlowRun,
    data: Data,
    stage: train.Stage,
    work: Callable[[train.Begins], StageResult],
) -> StageResult:
    """Train with an MLflow run that shows live curves."""
    with contextlib.ExitStack() as stack:
        opened: list[Run] = []

        def open_log(key: str) -> Run:
            log = stack.enter_context(run.step(f"train-{stage}", key))
            if not log.finished:
                train.log_settings(log, run.profile, stage)
                log.dataset(data.version, "training")
                stack.enter_context(system_metrics(log))
            opened.append(log)
            return log

        with run.progress.stage(_TITLES[stage]) as bar:

            def begins(key: str, folder: Path) -> Callable[[dict[str, Any]], None]:
                log = open_log(key)
                if log.finished:
                    return bar.training
                live = stack.enter_context(LiveHistory(log, folder / "history.jsonl"))

                def show(row: dict[str, Any]) -> None:
                    bar.training(row)
                    live.send()

                return show

            result = work(begins)
            bar.result(result.cached, train.summarize(result))
        log = opened[0] if opened else open_log(result.key)
        if not log.finished:
            train.log_training(log, result)
    return result


@task(name="benchmark", **_STEP)
def _benchmark(run: _FlowRun, data: Data, model: StageResult) -> Benchmark:
    with run.progress.stage("benchmark") as bar:
        scored = _score(run, data, model.folder / "model", bar.update)
        bar.result(scored.result.cached, benchmark.summarize(scored))
    run.log("benchmark", scored.result.key, lambda log: benchmark.log_scores(log, scored))
    return scored


def _score(run: _FlowRun, data: Data, model_folder: Path, progress: ingest.Progress) -> Benchmark:
    return benchmark.benchmark(
        run.store,
        run.profile.benchmark,
        data,
        model_folder,
        code_version=run.code_version,
        progress=progress,
    )


@task(name="register", **_STEP)
def _register(
    run: _FlowRun,
    data: Data,
    validation: dict[str, Any],
    previous: Previous | None,
    model: StageResult,
    scored: Benchmark,
) -> registry.ModelVersion:
    key = content_hash({"model": model.content, "benchmark": scored.result.content})[:20]
    with run.progress.stage("register") as bar:
        with run.step("register", key) as log:
            version = register.register_challenger(
                run.workspace,
                run.profile,
                data=data,
                validation=str(validation["hash"]),
                previous=previous,
                model=model,
                scored=scored,
                code_version=run.code_version,
                run_id=log.run_id,
                tags={**run.key.tags, **sync.source_tags(run.synced)},
            )
            if not log.finished:
                log.metrics(Figures.read(scored.result.folder).logged("test"))
        bar.result(log.finished, f"{registry.MODEL_NAME} version {version.version}, challenger")
    return version


@task(name="package", **_STEP)
def _package(run: _FlowRun, data: Data, model: StageResult, scored: Benchmark) -> Package:
    with run.progress.stage("package") as bar:
        packaged = package.package(run.store, run.profile, data, model.folder / "model", scored)
        bar.result(packaged.result.cached, packaged.summary)
    run.log("package", packaged.result.key, lambda log: package.log_package(log, packaged))
    return packaged


@task(name="promote", **_STEP)
def _promote(
    run: _FlowRun,
    data: Data,
    model: StageResult,
    scored: Benchmark,
    packaged: Package,
    challenger: registry.ModelVersion,
) -> Verdict:
    with run.progress.stage("promote") as bar:
        verdict = promote.judge(
            run.workspace,
            run.profile,
            challenger=challenger,
            model=model.folder / "model",
            scored=scored,
            packaged=packaged,
            score=lambda folder: _score(run, data, folder, bar.update),
        )
        decision = verdict.decision
        bar.result(False, f"{decision.outcome}: {'; '.join(decision.reasons)}")
    if decision.outcome is not Outcome.ALREADY_CHAMPION:
        figures = Figures.read(scored.result.folder)
        key = content_hash({"promote": verdict.facts, "package": packaged.result.key})[:20]
        run.log("promote", key, lambda log: promote.log_verdict(log, verdict, figures))
    return verdict


@task(name="report", **_STEP)
def _report(
    run: _FlowRun,
    data: Data,
    validation: dict[str, Any],
    pose: StageResult,
    posh: StageResult,
    scored: Benchmark,
    packaged: Package,
    verdict: Verdict,
) -> Path:
    """Write the HTML report and finish the retraining's MLflow run.

    Raises:
        PromotionError: The model is the champion already and no longer passes the gate.
    """
    from flows.steps.report import write_report

    report = write_report(
        run.workspace,
        run.profile,
        key=run.key.key,
        data=data,
        validation=validation,
        stages_done={"train-pose": pose.folder, "train-posh": posh.folder},
        scored=scored,
        packaged=packaged,
        facts=verdict.facts,
        timings=run.progress.timings,
        code_version=run.code_version,
    )
    decision = verdict.decision
    figures, place = Figures.read(scored.result.folder), run.tracking.place(run.parent)
    describe_version(run.workspace, verdict.facts, figures, place)
    if not run.parent.finished:
        benchmark.log_protocol(run.parent, scored)
        for name in figures.by_split:
            run.parent.metrics(figures.logged(name))
        run.parent.tag(
            {
                "decision": str(decision.outcome),
                "data_version": data.version,
                "reasons": "; ".join(decision.reasons),
                "protocol": figures.protocol,
            }
        )
        run.parent.dataset(data.version, "training, gate and test")
        run.parent.files([report])
    if decision.outcome is Outcome.ALREADY_CHAMPION and decision.failures:
        raise PromotionError(
            "the current champion no longer passes the gate: " + "; ".join(decision.failures),
            where=f"{registry.MODEL_NAME} version {decision.champion_version}",
            expected="a champion that passes the gate which it was promoted by",
            remedy=f"read {report}; then retrain with other data or settings, or go back to "
            "the previous champion: hemlets rollback",
        )
    return report
