"""The ablations as a Prefect flow: one task per run, and nested runs in MLflow."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.ablation.arms import in_order
from flows.ablation.report import write_report
from flows.ablation.results import Results, Row
from flows.ablation.runs import Bench, Planned
from flows.steps.progress import Progress
from flows.tracking.mlflow_client import Tracking, connect
from flows.tracking.run import Run
from hemlets.core.files import content_hash, lock
from hemlets.core.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """State of an ablation.

    Attributes:
        rows: Finished runs of this study.
        done: Number of runs finished by this call.
        left: Number of runs still to do.
        report: Paths of the page and its figure.
    """

    rows: tuple[Row, ...]
    done: int
    left: int
    report: tuple[Path, ...]


@dataclass(kw_only=True)
class _Context:
    bench: Bench
    results: Results
    tracking: Tracking
    parent: Run
    progress: Progress


@task(name="ablation run", persist_result=False, cache_policy=NO_CACHE)
def _run(context: _Context, planned: Planned) -> None:
    study = context.bench.study
    with (
        context.progress.stage(planned.name) as bar,
        context.tracking.run(
            planned.key,
            planned.name,
            parent=context.parent,
            tags={"hemlets.stage": "ablation", "arm": planned.arm.name},
        ) as run,
    ):
        row = context.bench.run(planned, lambda done, of: bar.update(done, of, "samples"))
        if not run.finished:
            arm = {name: str(value) for name, value in asdict(planned.arm).items()}
            run.params({"arm": arm, "seed": planned.seed, "samples": study.samples})
            run.metrics({f"test/{n}": v for n, v in row.figures.items() if math.isfinite(v)})
        # Written last: a run that has a row is never repeated.
        context.results.add(row)
        bar.result(False, f"test MPJPE {row.figures['mpjpe_mm']:.1f} mm")


@flow(name="ablate", persist_result=False, validate_parameters=False)
def ablate(
    bench: Bench,
    arms: Collection[str],
    seeds: int,
    *,
    workspace: Workspace,
    results: Path,
    most: int | None = None,
) -> Outcome:
    """Run every planned run that has no row yet, comparison by comparison, and write the page.

    Later calls continue the parent run in MLflow until every run has a row.

    Args:
        bench: Study, data and folder.
        arms: Names of the compared arms.
        seeds: Number of runs per arm.
        workspace: Workspace with the tracker.
        results: CSV file of the rows.
        most: Largest number of runs in this call; the next call continues.
    """
    with lock(workspace.locks / "ablate.lock", "an ablation in this workspace"):
        table = Results.read(results)
        planned = [bench.plan(arm, seed) for arm, seed in in_order(arms, seeds)]
        missing = [run for run in planned if run.key not in table.rows]
        now = missing if most is None else missing[:most]
        tracking = connect(workspace)
        key = content_hash(sorted(run.key for run in planned))[:20]
        parent = tracking.start_or_adopt(key, "ablation", tags={"hemlets.stage": "ablation"})
        context = _Context(
            bench=bench, results=table, tracking=tracking, parent=parent, progress=Progress()
        )
        ended = "FAILED"
        try:
            for run in now:
                _run(context, run)
            rows = tuple(table.rows[run.key] for run in planned if run.key in table.rows)
            report = write_report(bench.study, rows, results.parent, results.stem, seeds)
            if not parent.finished:
                parent.params({"study": bench.study.model_dump(mode="json")})
                parent.files([path for path in (results, *report) if path.exists()])
                _log_means(parent, rows)
            # The next call resumes an unfinished study; a finished one gets a new parent run.
            ended = "KILLED" if len(now) < len(missing) else "FINISHED"
        finally:
            if not parent.finished:
                parent.finish(ended)
        return Outcome(rows=rows, done=len(now), left=len(missing) - len(now), report=tuple(report))


def _log_means(parent: Run, rows: Sequence[Row]) -> None:
    by_arm: dict[str, list[float]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, []).append(row.figures["mpjpe_mm"])
    parent.metrics({f"mpjpe_mm/{_plain(arm)}": sum(v) / len(v) for arm, v in by_arm.items()})


def _plain(arm: str) -> str:
    """Replace characters of an arm's name that MLflow does not accept."""
    return arm.replace("+", "_with_").replace("@", "_at_").replace(", ", "_")
