"""The training engine of every stage: one process or many, resumed exactly after any end.

A run is a function of its job and of the files that this names: samples and their augmentation
come from (seed, epoch, index), the checkpoint holds weights, moving average and optimiser, and
the schedule depends on the step alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from torch import Tensor, nn

from hemlets.core.errors import ConfigError, DataError, HemletsError, TrainingError
from hemlets.core.files import atomic_path, lock, read_json, sha256_file, write_json
from hemlets.core.processes import die_with_parent
from hemlets.core.skeleton import Joint
from hemlets.data.synthetic.stream import RenderStream
from hemlets.data.table import Annotations
from hemlets.models import HemletsPosh
from hemlets.models.codecs.bones import BoneLengths, part_lengths
from hemlets.models.model_folder import (
    CARD,
    WEIGHTS,
    ModelCard,
    load_strictly,
    load_weights,
    save_model,
)
from hemlets.training.batches import AnyBatch, Loader, Source, micro_batches
from hemlets.training.calibration import Calibration, CalibrationRows
from hemlets.training.checkpoints import History, load_checkpoint, save_checkpoint
from hemlets.training.config import TUNING, WARM_UP, StageJob, TrainingConfig
from hemlets.training.group import Group, explain_rank_failure
from hemlets.training.identity import Identity, table_of
from hemlets.training.memory import explain_out_of_memory
from hemlets.training.moving_average import ExponentialMovingAverage
from hemlets.training.optimisers import StageOptimiser
from hemlets.training.precision import resolve_precision
from hemlets.training.reporting import PROGRESS, Reporter, Rows
from hemlets.training.stages import (
    BEFORE_TUNING,
    FEATURES,
    PREDICTIONS,
    initial_model,
    stage_of,
    tuning_job,
    warm_up_job,
)
from hemlets.training.streaming import opened_stream, streamed_samples

_BONE_LENGTH_RANGE_MM = (500.0, 10_000.0)
_BONES_FROM = "bones_measured_on"
"""In the card: rows by source and split that the lengths of predicted parts were measured on."""
CHECKPOINT, HISTORY, MODEL = "checkpoint.pt", "history.jsonl", "model"
PICTURES = "pictures"
FINISHED, LOCK = "finished.json", "training.lock"
LOCK_TIMEOUT_S = 60.0
_CALIBRATION = TypeAdapter(Calibration)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear rise over the warm-up, then a cosine down to ``final_rate`` of the peak."""
    warmup = config.warmup * config.steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(config.steps - warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


def trained_families(rows: Annotations, job: StageJob) -> list[str]:
    """Motion families that the weights have seen: of these rows and of what they start from."""
    seen = {part for family in set(rows.family) for part in str(family).split("+")}
    if job.stream is not None:
        from hemlets.data.synthetic import MotionLibrary

        clips = MotionLibrary.bundled().of_split(job.stream.split)
        seen |= {part for clip in clips for part in clip.family.split("+")}
    for weights in (job.initial, job.initial_pose):
        card = weights and weights.with_name(CARD)
        if card and card.exists():
            seen |= set(read_json(card).get("training", {}).get("families", []))
    return sorted(seen)


def clipped_share(rows: Annotations, range_mm: float) -> float:
    """Share of annotated joints whose depth lies outside the volume."""
    depth_mm = rows.joints3d_mm[..., 2] - rows.joints3d_mm[:, [Joint.PELVIS], 2]
    known = rows.valid3d & rows.valid3d[:, [Joint.PELVIS]]
    return float((np.abs(depth_mm[known]) > range_mm).mean()) if known.any() else 0.0


def train(job: StageJob, *, reporter: Reporter | None = None) -> dict[str, float]:
    """Train a stage to its end, from its checkpoint where there is one.

    Args:
        job: The job; every process of the group gets the same.
        reporter: Told on rank 0 what goes into the run's folder.

    Returns:
        The last validation figures.

    Raises:
        TrainingError: The loss or its gradient is not finite, or the loss exploded: the weights
            keep what they were, and the batch is saved beside the checkpoint; or there is not
            enough memory; or another process ended, or does not see the same files.
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
        stream = opened_stream(job, scenes=_learns_from_scenes(job))
        if stream is not None:
            # Its workers end with the thread that opens it, so with none that makes batches.
            stack.enter_context(stream)
        return _train(job, group, reporter, stream)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them."""
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
    """Train a stage, or the shape stage that goes ``within`` another."""
    config = job.training
    rank, world_size, device = group.rank, group.size, group.device
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    precision = resolve_precision(config.precision, device)
    identity = Identity.of(job)
    finished = _finished(job, identity)
    # Of the outer stage, which is this run's, follows the inner: what else lies there is stale.
    state = load_checkpoint(job.out / CHECKPOINT, identity, drop_others=within)
    start = state["step"] if state is not None else 0
    standing = {"step": "finished" if finished is not None else start}
    group.agree(identity.described | standing, where=job.out)
    if finished is not None:
        return finished

    annotations = Annotations.read(table_of(job))
    train_rows = annotations.split("train")
    calibration_rows = CalibrationRows.chosen(
        train_rows,
        annotations.split("validation"),
        annotations.split("validation-background"),
        config.validation_samples,
    )
    validation_rows = calibration_rows.people
    if not len(train_rows) or not len(validation_rows):
        lacking = " and ".join(
            name
            for name, rows in (("train", train_rows), ("validation", validation_rows))
            if not len(rows)
        )
        raise DataError(
            "there is nothing to train with: a split has no rows",
            where=f"{table_of(job)}: split {lacking}",
            expected="rows of train and of validation",
            remedy="make the data version anew with both splits",
        )
    true_bones = _true_bones(train_rows, table_of(job))
    stage = stage_of(job, group)
    samples: Source[Any]
    if stream is not None:
        samples = streamed_samples(stream, job, rank=rank, world_size=world_size)
    else:
        scenes = [annotations.split("train-background")] if _learns_from_scenes(job) else []
        # People first: a row's number draws its augmentation.
        samples = stage.samples(Annotations.concatenate([train_rows, *scenes]))
    loader = Loader(
        samples,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
        accumulate=config.accumulate,
    )

    start_from = job
    if job.stage == "posh" and config.shape_warmup and state is None:
        before = warm_up_job(job, train_rows, world_size)
        _train(before, group, None, None, within=True)
        # It carries the pose network along that it was given.
        warm = before.out / MODEL / WEIGHTS
        start_from = job.model_copy(update={"initial": warm, "initial_pose": None})
        torch.manual_seed(config.seed)
    model = initial_model(start_from).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile:
        model.pose.compile()
    objective = stage.objective(model)
    network = stage.part(model)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = StageOptimiser(network, config)
    average = ExponentialMovingAverage(network, config.ema)
    counted, usual_loss = 0, math.inf
    sums: dict[str, float] = {}
    figures: dict[str, float] = {}
    calibration = _calibration_before(job)
    if state is not None:
        load_strictly(network, state["network"], where=job.out / CHECKPOINT)
        average.state = {k: v.to(device) for k, v in state["average"].items()}
        optimiser.load_state_dict(state["optimiser"])
        sums, counted, usual_loss = state["sums"], state["counted"], state["usual_loss"]
        calibration = _CALIBRATION.validate_json(state["calibration"])
        figures = state["figures"]
        # Weights and the optimiser's state are large, and were copied.
        state = None
    history = History(job.out / HISTORY, resume_step=start) if rank == 0 else None
    stepper = group.parallel(objective)

    def save(step: int) -> None:
        if rank == 0:
            save_checkpoint(
                job.out / CHECKPOINT,
                {
                    "identity": identity.record,
                    "step": step,
                    "network": network.state_dict(),
                    "average": average.state,
                    "optimiser": optimiser.state_dict(),
                    "sums": sums,
                    "counted": counted,
                    "usual_loss": usual_loss,
                    "calibration": _CALIBRATION.dump_json(calibration).decode(),
                    "figures": figures,
                },
            )

    shadow = _shadow(job, device)
    # What the stage does not train is looked at as it is.
    shadow.load_state_dict(model.state_dict())
    tunes = job.stage == "posh" and config.shape_tuning > 0
    clock, clocked = time.perf_counter(), 0
    for step, batch in enumerate(loader.batches(start, config.steps), start):
        optimiser.set_rate(learning_rate(config, step))
        batch = batch.to(device)
        values = _global_sums(_backward(stepper, batch, config, precision, world_size), world_size)
        limit = config.explosion * usual_loss if config.explosion else math.inf
        if not math.isfinite(values["total"]) or values["total"] > limit:
            what = "exploded" if math.isfinite(values["total"]) else "is not finite"
            raise _exploded(job, step, rank, batch, f"the loss {what} at step {step}: {values}")
        # A finite loss may have a gradient that is not: a root at 0, a product that overflows.
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not math.isfinite(norm.item()):
            lost = _names_without_number(network)
            what = f"the gradient is not finite at step {step}, {lost}; the loss: {values}"
            raise _exploded(job, step, rank, batch, what)
        usual_loss = _usual(usual_loss, values["total"], step)
        if config.gradient_clip:
            nn.utils.clip_grads_with_norm_(parameters, config.gradient_clip, norm)
        optimiser.step()
        average.update(network, step)
        done = step + 1
        sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
        counted += config.batch_size
        clocked += config.batch_size
        last = done == config.steps
        validated = done % config.validate_every == 0 or last
        reported = done % config.log_every == 0 or validated
        if history is not None and reported:
            elapsed = time.perf_counter() - clock
            row: dict[str, float] = {f"loss/{k}": v / counted for k, v in sums.items()}
            row["learning_rate"] = learning_rate(config, step)
            row["samples"] = done * config.batch_size
            row["samples_per_s"] = clocked / elapsed
            if validated:
                with group.lend_threads(config.threads):
                    stage.part(shadow).load_state_dict(average.state)
                    figures = stage.validate(
                        shadow, validation_rows, precision=precision, device=device
                    )
                    row |= {f"validation/{k}": v for k, v in figures.items()}
                    if last:
                        found = stage.calibrate(shadow, calibration_rows, device)
                        calibration = Calibration(
                            found.bones or calibration.bones,
                            found.person or (calibration.person if job.stage == "shape" else None),
                            found.rows if found.bones else calibration.rows,
                        )
                    _show(job, done, stage.picture(shadow, validation_rows, device), reporter)
            history.add(done, row)
            write_json(job.out / PROGRESS, {"step": done, "steps": config.steps, **row})
            if reporter is not None:
                reporter.metrics(done, {"steps": config.steps, **row})
            clock, clocked = time.perf_counter(), 0
        if reported:
            sums, counted = {}, 0
        goes_on = not last or tunes
        if goes_on and group.asked_to_end():
            save(done)
            group.end()
        if goes_on and (last or done % config.checkpoint_every == 0):
            save(done)
    final = model.state_dict() | {stage.prefix + k: v for k, v in average.state.items()}
    final = {k: v.cpu() for k, v in final.items()}
    if tunes:
        after = tuning_job(job, world_size)
        assert after.initial is not None
        if rank == 0:
            from safetensors.torch import save_file

            with atomic_path(after.initial) as scratch:
                save_file({k: v.contiguous() for k, v in final.items()}, scratch)
        group.barrier()
        figures |= _train(after, group, None, None, within=True)
        if rank == 0:
            final = load_weights(after.out / MODEL / WEIGHTS)
    if rank == 0:
        card = save_model(
            job.out / MODEL,
            final,
            pose=job.pose,
            shape=job.shape,
            bones=_within(calibration.bones or true_bones, true_bones),
            person=calibration.person,
            inference=job.inference,
            training={
                "true_bone_length_mm": true_bones.sum_mm,
                _BONES_FROM: calibration.rows or {},
                "stage": job.stage,
                "steps": config.steps,
                "batch_size": config.batch_size,
                "precision": str(precision).removeprefix("torch."),
                "validation": figures,
                "families": trained_families(train_rows, job),
                "depth_clipped_share": clipped_share(train_rows, job.pose.volume.depth_range_mm),
            },
        )
        write_json(
            job.out / FINISHED,
            {**identity.record, "weights_sha256": card.weights_sha256, "figures": figures},
        )
        (job.out / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(job.out / PREDICTIONS, ignore_errors=True)
        shutil.rmtree(job.out / FEATURES, ignore_errors=True)
        # Their weights live on in the model.
        shutil.rmtree(job.out / WARM_UP / MODEL, ignore_errors=True)
        shutil.rmtree(job.out / TUNING / MODEL, ignore_errors=True)
        (job.out / TUNING / BEFORE_TUNING).unlink(missing_ok=True)
    group.barrier()
    return figures


def _finished(job: StageJob, identity: Identity) -> dict[str, float] | None:
    """Figures of this very run where it has ended already, its model being whole."""
    if (job.out / CHECKPOINT).exists() or not (job.out / FINISHED).exists():
        return None
    record = read_json(job.out / FINISHED)
    weights = job.out / MODEL / WEIGHTS
    if not weights.exists() or record.get("weights_sha256") != sha256_file(weights):
        return None
    if identity.changed(record):
        return None
    figures: dict[str, float] = record["figures"]
    return figures


def _learns_from_scenes(job: StageJob) -> bool:
    """Whether scenes without a person teach something: heatmaps."""
    return job.pose.intermediate != "none" and job.losses.supervision != "none"


def _true_bones(rows: Annotations, table: Path) -> BoneLengths:
    """Lengths of the parts of whole skeletons: the metric scale of the data.

    Args:
        rows: The training rows.
        table: The file that they are from, for messages.
    """
    known = rows.valid3d.all(-1)
    lengths_NK = part_lengths(rows.joints3d_mm[known])
    mean_mm = float(lengths_NK.sum(-1).mean()) if known.any() else 0.0
    low, high = _BONE_LENGTH_RANGE_MM
    if not low < mean_mm < high or not (lengths_NK.mean(0) > 0).all():
        sums_N = lengths_NK.sum(-1)
        odd = np.flatnonzero(known)[~((low < sums_N) & (sums_N < high))]
        first = f", first in sample {rows.sample_id[odd[0]]}" if odd.size else ""
        raise DataError(
            f"the mean summed bone length of {int(known.sum())} whole training skeletons is "
            f"{mean_mm:g} mm",
            where=f"{table}: joints3d_mm{first}",
            expected=f"between {low:g} and {high:g} mm, and no part without a length",
            remedy="train on data with whole 3D skeletons in millimetres",
        )
    return BoneLengths.measured(lengths_NK)


def _within(found: BoneLengths, true: BoneLengths) -> BoneLengths:
    """Predicted lengths, not below half of people's own nor above 1.1 of them.

    A network that has learnt next to nothing folds its skeletons into a point.
    """
    mean_K, true_K = np.array(found.mean_mm), np.array(true.mean_mm)
    mean_K = np.clip(mean_K, 0.5 * true_K, 1.1 * true_K)
    return BoneLengths(mean_mm=tuple(mean_K.tolist()), spread_mm=found.spread_mm)


def _calibration_before(job: StageJob) -> Calibration:
    """What is known of the predictions of the pose network that a job starts from."""
    # In the order in which they give the pose network.
    for weights in (job.initial_pose, job.initial):
        path = weights and weights.with_name(CARD)
        if path and path.exists():
            try:
                card = ModelCard.from_mapping(read_json(path), where=str(path))
            except ConfigError:
                # Weights are checked on their own; a card of another version says nothing.
                break
            return Calibration(card.bones, card.person, card.training.get(_BONES_FROM))
    return Calibration(None, None)


def _backward(
    stepper: nn.Module,
    batch: AnyBatch,
    config: TrainingConfig,
    precision: torch.dtype,
    world_size: int,
) -> dict[str, Tensor]:
    """Add up a batch's gradients, part by part; gives the loss terms' sums."""
    device = next(stepper.parameters()).device
    sums: dict[str, Tensor] = {}
    parts = micro_batches(batch, config.accumulate)
    for number, part in enumerate(parts, 1):
        # Ranks exchange their gradients with the last part only.
        quiet = world_size > 1 and number < len(parts)
        with stepper.no_sync() if quiet else contextlib.nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                terms: dict[str, Tensor] = stepper(part)
            # Gradients are averaged over ranks, so a rank's share is its sum times their number.
            loss = terms["total"] * (world_size / config.batch_size)
            loss.backward()  # type: ignore[no-untyped-call]
        for name, value in terms.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    return sums


def _usual(usual_loss: float, loss: float, step: int) -> float:
    """Mean loss that forgets slowly, and quickly at first."""
    if not math.isfinite(usual_loss):
        return loss
    return usual_loss + (loss - usual_loss) / min(step + 1, 100)


def _show(
    job: StageJob,
    step: int,
    image_HW3: npt.NDArray[np.uint8] | None,
    reporter: Reporter | None,
) -> None:
    if image_HW3 is None:
        return
    from hemlets.reports.drawing import png

    with atomic_path(job.out / PICTURES / f"step-{step:07d}.png") as scratch:
        scratch.write_bytes(png(image_HW3))
    if reporter is not None:
        reporter.picture(step, "validation", image_HW3)


def _global_sums(terms: dict[str, Tensor], world_size: int) -> dict[str, float]:
    """Loss terms over the samples of all processes."""
    values = torch.stack([value.detach().float() for value in terms.values()])
    if world_size > 1:
        dist.all_reduce(values)
    return dict(zip(terms, values.tolist(), strict=True))


def _shadow(job: StageJob, device: torch.device) -> HemletsPosh:
    with torch.random.fork_rng(devices=[]):
        model: HemletsPosh = HemletsPosh(job.pose, job.shape).to(
            device,
            memory_format=torch.channels_last,  # type: ignore[call-overload]
        )
    return model


def _names_without_number(network: nn.Module) -> str:
    """Which parameters have a gradient that is not finite, for people."""
    names = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    if not names:
        return "its length overflows"
    return f"in {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _exploded(job: StageJob, step: int, rank: int, batch: AnyBatch, what: str) -> TrainingError:
    from safetensors.torch import save_file

    path = job.out / f"batch-at-step-{step}-rank-{rank}.safetensors"
    with atomic_path(path) as scratch:
        save_file({k: v.contiguous().cpu() for k, v in batch._asdict().items()}, scratch)
    return TrainingError(
        what,
        where=path,
        remedy="look at the saved batch; lower training.learning_rate or set "
        "training.gradient_clip",
    )


def main(argv: list[str]) -> int:
    """Run the job of a JSON file; started by ``torchrun``."""
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
