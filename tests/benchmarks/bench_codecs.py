"""Encoding's share of a training step: ``python tests/benchmarks/bench_codecs.py``.

Heatmaps and triplets of a batch of 64 are encoded on the training device; beside it, in the same
process, whole steps (forward, backward, optimiser) of the small form. Both are measured by the
processor's time on one thread, so that a busy machine does not change the share, and by the
wall's clock otherwise. Writes ``results/codecs.csv``; ends with 1 where the share is above the
limit.
"""

from __future__ import annotations

from conditions import cores, machine, timed

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from hemlets.core.skeleton import N_JOINTS, N_PARTS
from hemlets.models import PoseNetwork, PoseNetworkConfig
from hemlets.models.codecs import States, encode_heatmaps, encode_triplets, known_layers
from hemlets.training.batches import Batch
from hemlets.training.config import LossConfig, TrainingConfig
from hemlets.training.objectives import PoseObjective
from hemlets.training.optimisers import StageOptimiser
from hemlets.training.precision import resolve_precision

RESULTS = Path(__file__).parent / "results" / "codecs.csv"
COLUMNS = (
    "machine", "device", "cores", "threads", "clock", "states", "batch", "encode_ms", "step_ms",
    "share_pct", "limit_pct",
)  # fmt: skip
BATCH, LIMIT_PCT = 64, 3.0
VARIANTS: tuple[States, ...] = (2, 3, 5)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call on the wall's clock, after two to warm up."""
    return timed(work, device, repeats).wall_ms


def batch_of(count: int, config: PoseNetworkConfig, device: torch.device) -> Batch:
    """Crops of noise with targets anywhere."""
    draw = torch.Generator().manual_seed(0)
    side = config.crop_px
    return Batch(
        image_BHW3=torch.randint(0, 256, (count, side, side, 3), generator=draw, dtype=torch.uint8),
        voxel_BJ3=torch.rand(count, N_JOINTS, 3, generator=draw) * config.volume_cells,
        known2d_BJ=torch.ones(count, N_JOINTS),
        known3d_BJ=torch.ones(count, N_JOINTS),
        relation_BK=torch.randint(-1, 2, (count, N_PARTS), generator=draw).float(),
        steep_BK=torch.randint(0, 2, (count, N_PARTS), generator=draw).float(),
        relation_known_BK=torch.ones(count, N_PARTS),
        rotation_BR33=torch.eye(3).repeat(count, 24, 1, 1),
        betas_BS=torch.zeros(count, 10),
        smpl_known_B=torch.ones(count),
        absent_B=torch.zeros(count),
    ).to(device)


def step_of(
    config: PoseNetworkConfig, batch: Batch, device: torch.device
) -> Callable[[], object]:  # fmt: skip
    """A whole training step on a batch."""
    network = PoseNetwork(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = PoseObjective(network, LossConfig())
    optimiser = StageOptimiser(network, TrainingConfig(steps=1))
    precision = resolve_precision("auto", device)

    def step() -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = objective(batch)["total"] / len(batch.image_BHW3)
        loss.backward()
        optimiser.step()

    return step


def main() -> int:
    """Measure each variant and write a row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    threads: int = parser.parse_args().threads
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = "busy" if device.type == "cpu" and threads == 1 else "wall"
    rows, worst = [], 0.0
    for states in VARIANTS:
        config = PoseNetworkConfig(lateral=True, states=states)
        batch = batch_of(BATCH, config, device)

        def encode(config: PoseNetworkConfig = config, batch: Batch = batch) -> None:
            points = batch.voxel_BJ3[..., :2]
            heatmap = encode_heatmaps(points, config.volume_cells, config.sigma_cells)
            relation, steep = batch.relation_BK, batch.steep_BK
            encode_triplets(heatmap, relation, steep, config.states)
            known_layers(relation, batch.relation_known_BK, steep, config.states)

        took = timed(encode, device, 20), timed(step_of(config, batch, device), device, 4)
        encode_ms, step_ms = (t.busy_ms if clock == "busy" else t.wall_ms for t in took)
        share = 100 * encode_ms / step_ms
        worst = max(worst, share)
        values = (machine(), device.type, cores(), threads, clock, states, BATCH,
                  f"{encode_ms:.2f}", f"{step_ms:.0f}", f"{share:.2f}", LIMIT_PCT)  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        print(rows[-1])
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0 if worst < LIMIT_PCT else 1


if __name__ == "__main__":
    sys.exit(main())
