"""A tiny data version of stick figures, equal on every machine: NumPy draws, PNG stores."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from hemlets.core.processes import die_with_parent
from hemlets.core.skeleton import PARTS, SMPL_JOINTS, depth_relations
from hemlets.data.table import Annotations, ShardWriter
from hemlets.training.config import StageJob
from hemlets.training.engine import train

IMAGE_PX, FOCAL_PX, SHARD = 96, 150.0, "shard-00000.arrow"

# x right, y down, z forward; a person who faces the camera, so that their right is at −x.
STANDING_MM = np.array(
    [
        (0, 0, 0),
        (-120, 20, 0), (-130, 430, 10), (-130, 840, 40),
        (120, 20, 0), (130, 430, 10), (130, 840, 40),
        (0, -250, 20), (0, -560, 0), (0, -640, -90), (0, -760, 0),
        (170, -480, 0), (240, -220, 20), (260, 20, -40),
        (-170, -480, 0), (-240, -220, 20), (-260, 20, -40),
        (0, -480, 0),
    ],
    float,
)  # fmt: skip


def draw_figure(joints_px: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A stick figure, each part of its own colour, on grey."""
    y, x = np.mgrid[:IMAGE_PX, :IMAGE_PX] + 0.5
    image = np.full((IMAGE_PX, IMAGE_PX, 3), 90, np.uint8)
    for number, part in enumerate(PARTS):
        a, b = joints_px[part.parent], joints_px[part.child]
        along = b - a
        t = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(float(along @ along), 1e-6)
        t = np.clip(t, 0, 1)
        distance = np.hypot(x - a[0] - t * along[0], y - a[1] - t * along[1])
        image[distance < 2.5] = (40 + 15 * number, 255 - 15 * number, (97 * number) % 256)
    return image


def make_columns(rng: np.random.Generator, splits: list[str]) -> tuple[dict[str, Any], list[bytes]]:
    """Columns of an annotation table of stick figures, and their images."""
    count = len(splits)
    turn = rng.uniform(-0.9, 0.9, count)
    cos, sin, zero, one = np.cos(turn), np.sin(turn), np.zeros(count), np.ones(count)
    around_y = np.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).reshape(-1, 3, 3)
    joints = STANDING_MM + rng.normal(0, 60, (count, 18, 3))
    joints = joints @ around_y.transpose(0, 2, 1) + [0.0, 0.0, 3500.0]
    centre = IMAGE_PX / 2
    points = joints[..., :2] / joints[..., 2:] * FOCAL_PX + centre
    images = [cv2.imencode(".png", draw_figure(p)[..., ::-1])[1].tobytes() for p in points]
    relations, known = depth_relations(joints, np.ones((count, 18), bool))
    names = np.array([f"figure-{i:04d}" for i in range(count)], object)
    columns = {
        "sample_id": names,
        "source": ["sticks"] * count,
        "split": splits,
        "subject": ["nobody"] * count,
        "clip": names,
        "family": ["standing"] * count,
        "frame": np.zeros(count, np.int32),
        "shard": [SHARD] * count,
        "shard_row": np.arange(count, dtype=np.int32),
        "image_hash": [""] * count,
        "image_width": np.full(count, IMAGE_PX, np.int32),
        "image_height": np.full(count, IMAGE_PX, np.int32),
        "box_xyxy": np.concatenate([points.min(1) - 3, points.max(1) + 3], -1),
        "joints2d_px": points,
        "joints3d_mm": joints,
        "valid2d": np.ones((count, 18), bool),
        "valid3d": np.ones((count, 18), bool),
        "visible": np.ones((count, 18), bool),
        "truncated": np.zeros((count, 18), bool),
        "camera": np.tile([FOCAL_PX, FOCAL_PX, centre, centre], (count, 1)),
        "camera_valid": np.ones(count, bool),
        "relations": relations,
        "relations_valid": known,
        "theta": rng.normal(0, 0.3, (count, len(SMPL_JOINTS), 3)),
        "betas": rng.normal(0, 1, (count, 10)),
        "transl_mm": joints[:, 0],
        "smpl_valid": np.ones(count, bool),
        "transl_valid": np.ones(count, bool),
        "mask": [b""] * count,
    }
    return columns, images


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of 64 training and 8 validation samples."""
    folder = tmp_path_factory.mktemp("data")
    columns, images = make_columns(np.random.default_rng(7), ["train"] * 64 + ["validation"] * 8)
    Annotations.from_columns(columns).write(folder / "annotations.parquet")
    ShardWriter.write(folder / "shards" / SHARD, list(columns["sample_id"]), images)
    return folder


def make_job(data: Path, out: Path, **changes: Any) -> StageJob:
    """The smallest network's job: 20 steps of 8 samples in float32 on one thread."""
    training = {
        "steps": 20,
        "batch_size": 8,
        "optimiser": "adamw",
        "learning_rate": 1e-3,
        "precision": "float32",
        "threads": 1,
        "seed": 3,
        "log_every": 1,
        "validate_every": 20,
        "checkpoint_every": 8,
    }
    values = {
        "stage": "pose",
        "pose": {
            "crop_px": 64,
            "volume_cells": 16,
            "branch_channels": 16,
            "fusion_channels": 32,
        },
        "shape": {"hidden": 32, "blocks": 1},
        "losses": {"alpha": 0.05, "marginal": 1.0, "marginal_sigma": 1.0},
        "augmentation": {"rotation_deg": 30.0, "colour": 0.2, "shift": 0.05},
        "training": training | changes.pop("training", {}),
        "data": str(data),
        "out": str(out),
    }
    return StageJob.from_mapping(values | changes)


@pytest.fixture(autouse=True, scope="package")
def _same_threads_afterwards() -> Iterator[None]:
    # Training sets the process's thread count.
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def job_for(data: Path) -> Callable[..., StageJob]:
    """``job_for(out, **changes)`` on the tiny data version."""
    return lambda out, **changes: make_job(changes.pop("data", data), out, **changes)


@dataclass
class Run:
    """A finished run: its folder and its loss by step."""

    out: Path
    job: StageJob

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = load_file(self.out / "model" / "model.safetensors")
        return tensors

    @property
    def history(self) -> list[dict[str, float]]:
        lines = (self.out / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def whole_run(job_for: Callable[..., StageJob], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny job, trained without interruption."""
    out = tmp_path_factory.mktemp("whole")
    job = job_for(out)
    train(job)
    return Run(out, job)


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[[StageJob], subprocess.Popen[str]]]:
    """Start the training process of a job; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(job: StageJob) -> subprocess.Popen[str]:
        file = tmp_path / "job.json"
        file.write_text(job.model_dump_json())
        process = subprocess.Popen(
            [sys.executable, "-m", "hemlets.training", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
