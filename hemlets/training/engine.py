"""The training engine of every stage: one process or several, resumed exactly after any end.

A run is a function of its job and of the files that the job names. Samples and their augmentation
come from (seed, epoch, index); the checkpoint holds weights, moving average and optimiser; the
schedule depends on the step alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hemlets.core.arrays import Image
from hemlets.core.errors import ConfigError, HemletsError
from hemlets.core.files import lock, read_json, write_bytes, write_json
from hemlets.core.processes import die_with_parent
from hemlets.data.synthetic.stream import RenderStream
from hemlets.data.table import Annotations
from hemlets.models import HemletsPosh
from hemlets.models.model_folder import WEIGHTS, load_weights, save_tensors
from hemlets.training.batches import Loader, Source
from hemlets.training.calibration import Calibration
from hemlets.training.checkpoints import History, load_checkpoint
from hemlets.training.config import StageJob
from hemlets.training.finish import CHECKPOINT, MODEL, finished_figures, save_trained
from hemlets.training.group import Group, explain_rank_failure
from hemlets.training.identity import Identity
from hemlets.training.memory import explain_out_of_memory
from hemlets.training.mixing import MixedSource, mixed_sources
from hemlets.training.optimisers import learning_rate
from hemlets.training.precision import resolve_precision
from hemlets.training.reporting import PROGRESS, Reporter, Rows
from hemlets.training.run import Run
from hemlets.training.stages import Stage, stage_of, tuning_job, warm_up_job
from hemlets.training.streaming import open_stream, stream_samples
from hemlets.training.training_rows import TrainingRows, learns_from_scenes

HISTORY, PICTURES, LOCK = "history.jsonl", "pictures", "training.lock"
LOCK_TIMEOUT_S = 60.0


def train(job: StageJob, *, reporter: Reporter | None = None) -> dict[str, float]:
    """Train a stage to its end, from its checkpoint if there is one.

    Args:
        job: The job, equal in every process of the group.
        reporter: Receives figures and pictures on rank 0.

    Returns:
        The last validation figures.

    Raises:
        TrainingError: The loss or its gradient is not finite, or the loss exploded (weights stay,
            and the batch is saved next to the checkpoint); memory is too small; another process
            ended, or sees other files.
        CheckpointError: The checkpoint is damaged or of another run, or weights don't fit.
        SystemExit: Code 75 after SIGTERM or SIGINT, with the state saved.
    """
    with contextlib.ExitStack() as stack:
        if int(os.environ.get("RANK", 0)) == 0:
            # A worker whose launcher was killed needs a moment to save and end.
            stack.enter_context(lock(job.out / LOCK, "this training", timeout_s=LOCK_TIMEOUT_S))
        stack.enter_context(explain_rank_failure())
        # Joined under the lock, so that nobody reads what another run is still writing.
        group = Group.joined(stack.enter_context(_stop_signals()))
        stack.enter_context(explain_out_of_memory(job.training, group.size))
        stream = open_stream(job, scenes=learns_from_scenes(job))
        if stream is not None:
            # Its workers end with the thread that opens it, so with none that makes batches.
            stack.enter_context(stream)
        return _train(job, group, reporter, stream)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of ending on them."""
    received: list[int] = []
    before = {
        s: signal.signal(s, lambda number, _: received.append(number))
        for s in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(
    job: StageJob,
    group: Group,
    reporter: Reporter | None,
    stream: RenderStream | None,
    *,
    within: bool = False,
) -> dict[str, float]:
    """Train a stage, or the shape stage ``within`` another stage."""
    config = job.training
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    identity = Identity.of(job)
    finished = finished_figures(job, identity)
    # An inner stage's checkpoint of another identity is stale: the outer stage determines it.
    checkpoint = load_checkpoint(job.out / CHECKPOINT, identity, drop_others=within)
    start = checkpoint["step"] if checkpoint is not None else 0
    standing = {"step": "finished" if finished is not None else start}
    group.agree(identity.described | standing, where=job.out)
    if finished is not None:
        return finished
    rows = TrainingRows.read(job)
    stage = stage_of(job, group)
    loader = _loader(job, group, stage, rows, stream)
    start_from = job
    if job.stage == "posh" and config.shape_warmup and checkpoint is None:
        start_from = _warm_up(job, group, rows)
        torch.manual_seed(config.seed)
    precision = resolve_precision(config.precision, group.device)
    run = Run(job, stage, group, precision, start_from=start_from)
    if checkpoint is not None:
        run.restore(checkpoint, where=job.out / CHECKPOINT)
        # Its tensors are large, and were copied.
        checkpoint = None
    tunes = job.stage == "posh" and config.shape_tuning > 0
    _loop(run, stage, loader, rows, identity, reporter, start=start, more_follows=tunes)
    weights = run.weights(stage.prefix)
    if tunes:
        weights = _tune(job, group, run, weights)
    if group.rank == 0:
        save_trained(job, run, weights, rows, identity)
    group.barrier()
    return run.standing.figures


def _loader(
    job: StageJob, group: Group, stage: Stage, rows: TrainingRows, stream: RenderStream | None
) -> Loader[Any]:
    config = job.training
    samples: Source[Any]
    sources: list[MixedSource] = []
    if stream is not None:
        samples = stream_samples(stream, job, rank=group.rank, world_size=group.size)
    else:
        # People first: a row's number draws its augmentation.
        seen = Annotations.concatenate([rows.train, rows.scenes])
        samples = stage.samples(seen)
        if job.stage != "shape":
            sources = mixed_sources(seen, config.mix)
    return Loader(
        samples,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=group.rank,
        world_size=group.size,
        accumulate=config.accumulate,
        sources=sources,
    )


def _warm_up(job: StageJob, group: Group, rows: TrainingRows) -> StageJob:
    """Train the shape network on joints alone; return the job that starts from it."""
    before = warm_up_job(job, rows.train, group.size)
    _train(before, group, None, None, within=True)
    # It carries the pose network along that it was given.
    weights = before.out / MODEL / WEIGHTS
    return job.model_copy(update={"initial": weights, "initial_pose": None})


def _tune(
    job: StageJob, group: Group, run: Run, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Train the shape network on predictions of the trained pose network; return its weights."""
    after = tuning_job(job, group.size)
    assert after.initial is not None
    if group.rank == 0:
        save_tensors(after.initial, weights)
    group.barrier()
    run.standing.figures |= _train(after, group, None, None, within=True)
    return load_weights(after.out / MODEL / WEIGHTS) if group.rank == 0 else weights


def _loop(
    run: Run,
    stage: Stage,
    loader: Loader[Any],
    rows: TrainingRows,
    identity: Identity,
    reporter: Reporter | None,
    *,
    start: int,
    more_follows: bool,
) -> None:
    """Take all steps from ``start`` on; report, validate and save on the way."""
    job, group, standing = run.job, run.group, run.standing
    config = job.training
    history = History(job.out / HISTORY, resume_step=start) if group.rank == 0 else None
    clock, clocked = time.perf_counter(), 0
    for step, batch in enumerate(loader.batches(start, config.steps), start):
        run.advance(batch.to(group.device), step)
        done = step + 1
        clocked += config.batch_size
        last = done == config.steps
        validated = done % config.validate_every == 0 or last
        reported = done % config.log_every == 0 or validated
        if history is not None and reported:
            row: dict[str, float] = {
                **standing.mean_losses(),
                "learning_rate": learning_rate(config, step),
                "samples": done * config.batch_size,
                "samples_per_s": clocked / (time.perf_counter() - clock),
            }
            if validated:
                with group.lend_threads(config.threads):
                    shadow = run.averaged_model(stage.prefix)
                    _validate(run, stage, shadow, rows, calibrated=last)
                    _show(job, done, stage.picture(shadow, rows.validation), reporter)
                    del shadow
                row |= {f"validation/{k}": v for k, v in standing.figures.items()}
            history.add(done, row)
            write_json(job.out / PROGRESS, {"step": done, "steps": config.steps, **row})
            if reporter is not None:
                reporter.metrics(done, {"steps": config.steps, **row})
            clock, clocked = time.perf_counter(), 0
        if reported:
            standing.reported()
        if last and not more_follows:
            return
        stop_requested = group.stop_requested()
        if stop_requested or last or done % config.checkpoint_every == 0:
            run.save(job.out / CHECKPOINT, done, identity)
        if stop_requested:
            group.end()


def _validate(
    run: Run, stage: Stage, shadow: HemletsPosh, rows: TrainingRows, *, calibrated: bool
) -> None:
    """Evaluate the averaged weights on the validation rows; calibrate them if asked."""
    standing = run.standing
    standing.figures = stage.validate(shadow, rows.validation)
    if calibrated:
        found, before = stage.calibrate(shadow, rows.calibration), standing.calibration
        standing.calibration = Calibration(
            found.bones or before.bones,
            found.person or (before.person if run.job.stage == "shape" else None),
            found.rows if found.bones else before.rows,
        )


def _show(
    job: StageJob,
    step: int,
    image_HW3: Image | None,
    reporter: Reporter | None,
) -> None:
    if image_HW3 is None:
        return
    from hemlets.reports.drawing import png

    write_bytes(job.out / PICTURES / f"step-{step:07d}.png", png(image_HW3))
    if reporter is not None:
        reporter.picture(step, "validation", image_HW3)


def main(argv: list[str]) -> int:
    """Run the job of a JSON file; ``torchrun`` starts several processes."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()
    try:
        if len(argv) != 1:
            raise ConfigError("one job file must be given", expected="hemlets.training JOB.json")
        path = Path(argv[0])
        job = StageJob.from_mapping(read_json(path), where=str(path))
        train(job, reporter=Rows(lambda row: print(json.dumps(row), flush=True)))
    except HemletsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0
