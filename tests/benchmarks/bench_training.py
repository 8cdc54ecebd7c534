"""Training images a second of the small network: ``python tests/benchmarks/bench_training.py``.

Runs the engine's own loop on rendered shards, data loading and augmentation included, and beside
it, in the same process, the bare network on a tensor that is already there: the limit that data
loading keeps it from. The images a second of processor time are what one core gives, whatever
else the machine does. Writes ``results/training.csv``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from conditions import cores, machine

from flows.profile import load_profile
from flows.training_process import MEMORY
from hemlets.models import HemletsPosh
from hemlets.synthetic import OpenDataConfig, SplitSizes, build_open_data
from hemlets.training.batches import Batch
from hemlets.training.config import StageJob
from hemlets.training.engine import resolve_precision, train
from hemlets.training.objectives import PoseObjective
from hemlets.training.optimisers import StageOptimiser
from hemlets.training.reporting import Rows

RESULTS = Path(__file__).parent / "results" / "training.csv"
COLUMNS = (
    "machine", "backbone", "precision", "cores", "threads", "batch", "images_per_s",
    "images_per_busy_s", "bare_images_per_s", "bare_images_per_busy_s", "limit",
)  # fmt: skip
LIMIT_PER_S = 70
STEPS, WARM = 24, 8


def bare(job: StageJob, batch: Batch) -> tuple[float, float]:
    """Images of forward, backward and optimiser on one batch over and over.

    Returns:
        A second, and a second of processor time.
    """
    torch.set_num_threads(job.training.threads)
    precision = resolve_precision(job.training.precision, torch.device("cpu"))
    model = HemletsPosh(job.pose, job.shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = PoseObjective(model.pose, job.losses)
    optimiser = StageOptimiser(model.pose, job.training)
    wall, busy = 0.0, 0.0
    for step in range(STEPS):
        if step == WARM:
            wall, busy = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = objective(batch)["total"] / len(batch.image_BHW3)
        loss.backward()
        optimiser.step()
    images = (STEPS - WARM) * len(batch.image_BHW3)
    return images / (time.perf_counter() - wall), images / (time.process_time() - busy)


def main() -> int:
    """Measure and write one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    profile = load_profile("small", ("start=random",))
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        sizes = SplitSizes(train=1024, validation=16, gate=4, test=4)
        build_open_data(OpenDataConfig(samples=sizes), data)
        training = profile.train_pose.model_dump(mode="json") | {
            "steps": STEPS,
            "threads": options.threads,
            "backbone_weights": None,
            "log_every": WARM,
            "validate_every": 10_000,
            "validation_samples": 16,
            "checkpoint_every": 10_000,
        }
        job = StageJob.from_mapping(
            {
                "stage": "pose",
                "pose": profile.pose.model_dump(mode="json") | {"backbone": options.backbone},
                "shape": profile.shape.model_dump(mode="json"),
                "losses": profile.losses.model_dump(mode="json"),
                "augmentation": profile.augmentation.model_dump(mode="json"),
                "training": training,
                "data": str(data),
                "out": str(Path(scratch) / "out"),
            }
        )
        rows: list[dict[str, float]] = []
        train(job, reporter=Rows(lambda row: rows.append({**row, "busy_s": time.process_time()})))
        # The first row holds the warm-up, the last the closing validation.
        rates = [row["samples_per_s"] for row in rows[1:-1]]
        rate = sum(rates) / len(rates)
        first, last = rows[0], rows[-2]
        busy_rate = (last["samples"] - first["samples"]) / (last["busy_s"] - first["busy_s"])

        from hemlets.annotations import Annotations
        from hemlets.training.batches import Samples

        table = Annotations.read(data / "annotations.parquet").split("train")
        samples = Samples(
            table, data / "shards", job.pose.volume, seed=0, augmentation=job.augmentation
        )
        import numpy as np

        bare_rate, bare_busy = bare(job, samples.batch(np.arange(job.training.batch_size), 0))
    precision = resolve_precision(job.training.precision, torch.device("cpu"))
    values = (machine(), options.backbone, str(precision).removeprefix("torch."), cores(),
              job.training.threads, job.training.batch_size, f"{rate:.1f}", f"{busy_rate:.1f}",
              f"{bare_rate:.1f}", f"{bare_busy:.1f}", LIMIT_PER_S)  # fmt: skip
    row = dict(zip(COLUMNS, values, strict=True))
    with options.results.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)
    print(row)
    return 0 if rate >= LIMIT_PER_S else 1


if __name__ == "__main__":
    if not MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MEMORY)
    raise SystemExit(main())
