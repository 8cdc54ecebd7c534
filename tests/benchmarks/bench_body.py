"""Fitting, posing and drawing bodies: ``python tests/benchmarks/bench_body.py``.

Fits 64 bodies of held-out motion from exact and from noisy joints, refines as many from poor
starts, poses 64 full-resolution bodies, and lays a full-resolution body over a 720p image. Writes
one row a machine and figure to ``results/body.csv`` and ends with exit code 1 where a limit is
missed.
"""

from __future__ import annotations

from conditions import cores, machine

import argparse
import csv
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hemlets.assets.clips import load_clips
from hemlets.body.model import BodyModel
from hemlets.body.smplify import FitConfig, Smplify
from hemlets.body.targets import FitTargets
from hemlets.inference.refine import PREDICTION_FIT
from hemlets.inference.types import Camera
from hemlets.reports.drawing import overlay, render_mesh

RESULTS = Path(__file__).parent / "results" / "body.csv"
COLUMNS = ("machine", "cores", "threads", "clock", "figure", "value", "unit", "limit")
BODIES = 64


def held_out(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """θ and β of held-out motion and random people."""
    theta = np.concatenate([clip.theta_F72 for clip in load_clips("test")])
    rng = np.random.default_rng(0)
    chosen = theta[rng.choice(len(theta), n, replace=False)].reshape(n, 24, 3)
    return torch.tensor(chosen), torch.tensor(rng.standard_normal((n, 10)), dtype=torch.float32)


def best_of(action: Callable[[], object], repeats: int) -> float:
    """Least seconds of several runs, by :func:`clock`."""
    now = time.process_time if clock() == "busy" else time.perf_counter
    times = []
    for _ in range(repeats):
        start = now()
        action()
        times.append(now() - start)
    return min(times)


def clock() -> str:
    """The processor's own time on one thread, which a busy machine leaves alone; else the wall."""
    return "busy" if torch.get_num_threads() == 1 else "wall"


def gap_mm(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean distance of points."""
    return float((one - other).norm(dim=-1).mean())


def fitting(resolution: str) -> list[tuple[str, float, str, float]]:
    """Figures of fits from exact and from noisy joints."""
    body = BodyModel.load(resolution="full" if resolution == "full" else "lite")
    theta, betas = held_out(BODIES)
    with torch.inference_mode():
        truth = body(theta, betas)
    joints = truth.joints18_B183_mm.clone()
    noise = 10 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    rows = []
    exact = Smplify(body, FitConfig(joint_mm=1.0))
    noisy = Smplify(body, FitConfig(joint_mm=10.0))
    for name, smplify, target in (("exact", exact, joints), ("noisy", noisy, joints + noise)):
        seconds = best_of(partial(smplify.fit, FitTargets(joints_BN3_mm=target)), 3)
        fit = smplify.fit(FitTargets(joints_BN3_mm=target))
        rows.append((f"{resolution}: 64 fits from {name} joints", seconds, "s", 6.0))
        if name == "noisy":
            share = gap_mm(fit.joints_BN3_mm, joints) / gap_mm(target, joints)
            rows.append((f"{resolution}: error left of 10 mm noise", share, "share", 0.85))
            continue
        with torch.inference_mode():
            skin = body(fit.theta_BJ3, fit.betas_BK).vertices_BV3_mm + fit.transl_B3_mm[:, None]
        rows.append(
            (f"{resolution}: joints from exact joints", gap_mm(fit.joints_BN3_mm, joints), "mm", 3)
        )
        rows.append(
            (f"{resolution}: mesh from exact joints", gap_mm(skin, truth.vertices_BV3_mm), "mm", 20)
        )
    return rows


def refining(repeats: int) -> list[tuple[str, float, str, float]]:
    """Time of fits that start from a network's θ and β, as predictions are refined."""
    body = BodyModel.load()
    theta, betas = held_out(BODIES)
    theta[:, 0] = torch.tensor([torch.pi, 0.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        joints = body(theta, betas).joints18_B183_mm + torch.tensor([0.0, 0.0, 4000.0])
    joints = joints + torch.tensor([60.0, 60.0, 130.0]) * torch.randn(
        joints.shape, generator=generator
    )
    targets = FitTargets(
        joints_BN3_mm=joints,
        joints2d_BN2_px=150 * joints[..., :2] / joints[..., 2:],
        camera_B4=torch.tensor([150.0, 150.0, 0.0, 0.0]).expand(BODIES, 4),
    )
    start = theta + 0.2 * torch.randn(theta.shape, generator=generator)
    smplify = Smplify(body, PREDICTION_FIT)
    action = partial(smplify.fit, targets, theta_BJ3=start, betas_BK=torch.zeros_like(betas))
    return [("lite: 64 predictions refined", best_of(action, repeats), "s", 6.0)]


def posing(repeats: int) -> list[tuple[str, float, str, float]]:
    """Time of posing."""
    body = BodyModel.load(resolution="full")
    theta, betas = held_out(BODIES)
    with torch.inference_mode():
        seconds = best_of(lambda: body(theta, betas), repeats)
    return [("posing 64 full bodies", 1e3 * seconds, "ms", 150.0)]


def drawing(repeats: int) -> list[tuple[str, float, str, float]]:
    """Time of a full-resolution body over a 720p image."""
    body = BodyModel.load(resolution="full")
    theta, betas = held_out(1)
    theta[:, 0] = torch.tensor([torch.pi, 0.0, 0.0])
    with torch.inference_mode():
        skin = body(theta, betas).vertices_BV3_mm[0].numpy() + np.array([0, 0, 3500.0])
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    camera = Camera(fx=1200, fy=1200, cx=640, cy=360)
    faces = body.faces_F3.numpy()

    def draw() -> object:
        return overlay(image, render_mesh(skin, faces, camera, (1280, 720)))

    return [("overlay of a 720p image", 1e3 * best_of(draw, repeats), "ms", 60.0)]


def record(rows: list[tuple[str, float, str, float]], threads: int) -> None:
    """Replace this machine's figures, or add them."""
    old: list[dict[str, str]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as stream:
            old = list(csv.DictReader(stream))
    here = machine()
    names = {row[0] for row in rows}
    kept = [row for row in old if row["machine"] != here or row["figure"] not in names]
    for figure, value, unit, limit in rows:
        cells = (here, cores(), threads, clock(), figure, f"{value:.3g}", unit,
                 "" if limit != limit else limit)  # fmt: skip
        kept.append(dict(zip(COLUMNS, map(str, cells), strict=True)))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda row: (row["machine"], row["figure"])))


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        *fitting("lite"), *fitting("full"), *refining(3),
        *posing(options.repeats), *drawing(options.repeats),
    ]  # fmt: skip
    for figure, value, unit, limit in rows:
        print(f"{figure}: {value:.3g} {unit} (limit {limit:g})")
    record(rows, options.threads)
    return int(any(value > limit for _, value, _, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
