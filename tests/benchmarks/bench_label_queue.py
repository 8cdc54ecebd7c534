"""Do labels chosen by the queue teach more than random ones? On rendered people with hidden truth.

A small network reads the relations of the parts from the frozen encoder's features. It starts from
a few random labels; then as many people are added by the queue (`hemlets.annotation.queue.choose`,
with the network's own doubts) as at random; both are trained anew and judged on other people. The
labels are those of a simulated annotator (`hemlets.data.weak_labels`), skips and errors included.

    python tests/benchmarks/bench_label_queue.py TRAIN TEST --data VERSION

TRAIN and TEST are folders of features that `hemlets.training.features` computed for the rows of a
split of VERSION, in their order. Finished rows stay in the results.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from hemlets.annotation.opinions import divergence
from hemlets.annotation.queue import Candidates, choose
from hemlets.core.skeleton import PART_CHILD, PART_PARENT
from hemlets.data.table import Annotations
from hemlets.data.weak_labels import read_annotators

RESULTS = Path(__file__).parent / "results" / "label_queue.csv"
FIELDS = ("arm", "labels", "seed", "error_pct", "log_loss", "known")
START, STEPS, SEEDS = 100, (100, 300, 900), tuple(range(6))
WIDTH = 256
GROUPS = ("sample_id", "split", "subject", "clip")


def pooled(folder: Path) -> np.ndarray:
    """Features of all crops: random projections of the encoder's maps (N, 512), and keypoints."""
    generator = torch.Generator().manual_seed(5)
    projection = None
    rows = []
    for file in files_of(folder):
        with safe_open(file, "pt") as stored:
            feature = stored.get_slice("feature_BF")
            keypoints = stored.get_tensor("keypoints_BK3")
            size = feature.get_shape()[1]
            if projection is None:
                projection = torch.randn(size, 512, generator=generator) / size**0.5
            maps = feature[:].float() @ projection
        middle = keypoints - keypoints.mean(1, keepdim=True)
        rows.append(torch.cat([maps, 5 * middle[..., :2].flatten(1)], 1))
    return torch.cat(rows).numpy()


def files_of(folder: Path) -> list[Path]:
    """Files of features in their order."""
    return sorted(folder.glob("*.safetensors"))


def targets(folder: Path, name: str) -> np.ndarray:
    """A target of all crops: augmentation has exchanged sides in it as in the crop."""
    parts = []
    for file in files_of(folder):
        with safe_open(file, "pt") as stored:
            parts.append(stored.get_tensor(name))
    return torch.cat(parts).numpy()


def simulated(folder: Path, rng: np.random.Generator) -> np.ndarray:
    """Labels (N, 14) of a simulated annotator: +1, −1 or 0 for Unknown."""
    rates = read_annotators()["fbi"]
    depth = targets(folder, "voxel_BJ3")[..., 2]
    forward = np.where(depth[:, PART_PARENT] > depth[:, PART_CHILD], 1, -1)
    # Of the tilt the targets only say whether it is above 30°.
    tilt = np.where(targets(folder, "relation_BK") != 0, 45.0, 15.0)
    bins = np.searchsorted(rates.tilt_deg[1:-1], tilt, side="right")
    skips, errs = rng.random((2, *tilt.shape))
    said = np.where(errs < np.array(rates.error)[bins], -forward, forward)
    return np.where(skips < np.array(rates.skip)[bins], 0, said)


def trained(x: torch.Tensor, y: torch.Tensor, seed: int) -> torch.nn.Module:
    """Two layers that give F or B of each part. ``y`` is +1, −1 or 0 (no label)."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], WIDTH), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Linear(WIDTH, 14),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    known, target = y != 0, (y > 0).float()
    for _ in range(300):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            network(x), target, known.float()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def probability(network: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    """Of Forward and Backward, (N, 14, 2)."""
    forward = network(x).sigmoid().numpy()
    return np.stack([forward, 1 - forward], -1)


def judged(network: torch.nn.Module, x: torch.Tensor, truth: np.ndarray) -> tuple[float, float]:
    """Error (%) and log loss on parts tilted by more than 30°; truth 0 elsewhere."""
    found = probability(network, x)[..., 0]
    tilted = truth != 0
    right = np.where(truth > 0, found, 1 - found)[tilted]
    return 100 * float((right < 0.5).mean()), float(-np.log(np.clip(right, 1e-6, 1)).mean())


def doubts(x: torch.Tensor, y: torch.Tensor, table: Annotations, seed: int) -> Candidates:
    """Doubts of a network, and where a second one of another seed disagrees with it."""
    first, second = (
        probability(trained(x[y.any(1)], y[y.any(1)], s), x) for s in (seed, 99 + seed)
    )
    entropy = -(first * np.log(np.clip(first, 1e-9, 1))).sum(-1).mean(-1)
    apart = [divergence(a, b) for a, b in zip(first, second, strict=True)]
    return Candidates(
        names=tuple(map(str, table.sample_id)),
        doubt_ND=np.stack([entropy, np.array(apart)], 1),
        feature_NC=x.numpy(),
        groups=tuple(zip(map(str, table.subject), map(str, table.clip), strict=True)),
    )


def run(train: Path, test: Path, data: Path, out: Path) -> None:
    """Do what the results lack."""
    done = list(csv.DictReader(out.open())) if out.exists() else []
    keys = {(row["arm"], int(row["labels"]), int(row["seed"])) for row in done}
    x_train, x_test = pooled(train), pooled(test)
    mean, spread = x_train.mean(0), x_train.std(0) + 1e-6
    x = torch.from_numpy((x_train - mean) / spread).float()
    judge_x = torch.from_numpy((x_test - mean) / spread).float()
    table = Annotations.read(data / "annotations.parquet", GROUPS).split("train")
    table = table.take(np.arange(len(x)))
    truth = np.where(targets(test, "relation_known_BK"), targets(test, "relation_BK"), 0)
    for seed, more in itertools.product(SEEDS, STEPS):
        rng = np.random.default_rng(seed)
        labels = torch.from_numpy(simulated(train, rng))
        order = rng.permutation(len(x))
        start, at_random = order[:START], order[START : START + more]
        names = [str(name) for name in table.sample_id]
        for arm in ("random", "queue"):
            if (arm, START + more, seed) in keys:
                continue
            rows: Any = at_random
            if arm == "queue":
                hidden = torch.zeros_like(labels)
                hidden[start] = labels[start]
                found = doubts(x, hidden, table, seed)
                chosen = choose(found, more, [names[row] for row in start])
                rows = np.array([table.row_of[name] for name in chosen])
            own = np.concatenate([start, rows])
            error, loss = judged(trained(x[own], labels[own], seed), judge_x, truth)
            row = {
                "arm": arm, "labels": START + more, "seed": seed, "error_pct": f"{error:.2f}",
                "log_loss": f"{loss:.4f}", "known": int((labels[own] != 0).sum()),
            }  # fmt: skip
            print(row, flush=True)
            done.append({name: str(row[name]) for name in FIELDS})
            with out.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(done)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run(asked.train, asked.test, asked.data, asked.out)
