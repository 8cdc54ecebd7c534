"""Training images a second of the demo's network: ``python tests/benchmarks/bench_training.py``.

Runs the training command of the profile ``demo`` on rendered shards, data loading and
augmentation included: one process a core as in the profile, which encodes new crops at every
step, and from the frozen encoder's features computed once; and as one process with a thread for
every core. Beside them, in one process, the network on a tensor in memory, which loads nothing.
The time of computing the features isn't part of the rate. Writes ``results/training.csv``.
"""

from __future__ import annotations

from conditions import cores, machine

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.profile import Profile, load_profile
from flows.steps.training_process import run_training
from hemlets.data.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.data.table import Annotations
from hemlets.models import HemletsPosh
from hemlets.models.backbones import freeze_levels
from hemlets.training.batches import Batch, Samples
from hemlets.training.config import StageJob
from hemlets.training.objectives import PoseObjective
from hemlets.training.optimisers import StageOptimiser
from hemlets.training.precision import resolve_precision

RESULTS = Path(__file__).parent / "results" / "training.csv"
COLUMNS = (
    "machine", "backbone", "precision", "cores", "processes", "threads", "batch", "features",
    "images_per_s", "bare_images_per_s", "limit",
)  # fmt: skip
LIMIT_PER_S = 60
"""Of training from features."""
STEPS, WARM = 32, 8


def bare(job: StageJob, batch: Batch) -> float:
    """Images a second of forward, backward and optimiser on one batch over and over."""
    torch.set_num_threads(cores())
    precision = resolve_precision(job.training.precision, torch.device("cpu"))
    model = HemletsPosh(job.pose, job.shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze_levels(model.pose.backbone, job.training.frozen_levels)
    objective = PoseObjective(model.pose, job.losses)
    optimiser = StageOptimiser(model.pose, job.training)
    start = 0.0
    for step in range(STEPS):
        if step == WARM:
            start = time.perf_counter()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = objective(batch)["total"] / len(batch.image_BHW3)
        loss.backward()
        optimiser.step()
    return (STEPS - WARM) * len(batch.image_BHW3) / (time.perf_counter() - start)


def pose_job(
    profile: Profile, data: Path, out: Path, threads: int, *, features: bool = False
) -> StageJob:
    """The profile's pose stage for `STEPS` steps, with one validation at the end."""
    training = profile.train_pose.model_copy(
        update={
            "steps": STEPS,
            "threads": threads,
            "log_every": WARM,
            "validate_every": STEPS,
            "validation_samples": 16,
            "checkpoint_every": STEPS,
            "feature_crops": int(features),
        }
    )
    return StageJob(
        stage="pose",
        pose=profile.pose,
        shape=profile.shape,
        losses=profile.losses,
        augmentation=profile.augmentation,
        training=training,
        data=data,
        out=out,
    )


def rate_of(job: StageJob, processes: int) -> float:
    """Median images a second of a run, without its warm-up."""
    rates: list[float] = []
    run_training(
        job,
        processes=processes,
        job_file=job.out.with_suffix(".json"),
        log=job.out.with_suffix(".log"),
        progress=lambda row: rates.extend(float(v) for k, v in row.items() if k == "samples_per_s"),
    )
    return statistics.median(rates[1:])


def main() -> int:
    """Measure and write a row for each way to use the cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    profile = load_profile("demo")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "data"
        sizes = SplitSizes(train=512, validation=16, gate=4, test=4)
        build_open_data(OpenDataConfig(samples=sizes), data)
        job = pose_job(profile, data, folder / "bare", cores())
        table = Annotations.read(data / "annotations.parquet").split("train")
        samples = Samples(
            table, data / "shards", job.pose.volume, seed=0, augmentation=job.augmentation
        )
        bare_rate = bare(job, samples.batch(np.arange(job.training.batch_size), 0))
        precision = resolve_precision(job.training.precision, torch.device("cpu"))
        for processes, threads, features in (
            (cores(), 1, False), (cores(), 1, True), (1, cores(), True),
        ):  # fmt: skip
            out = folder / f"processes-{processes}-{features}"
            job = pose_job(profile, data, out, threads, features=features)
            rate = rate_of(job, processes)
            values = (machine(), profile.pose.backbone, str(precision).removeprefix("torch."),
                      cores(), processes, threads, job.training.batch_size, features,
                      f"{rate:.1f}", f"{bare_rate:.1f}",
                      LIMIT_PER_S if features else "")  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            print(rows[-1])
    with options.results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    best = max(float(row["images_per_s"]) for row in rows if row["features"])
    return 0 if best >= LIMIT_PER_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
