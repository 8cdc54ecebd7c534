"""One run of a study: train an arm under a seed, score it, and keep its row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from flows.ablation.arms import Arm
from flows.ablation.labels import write_labels
from flows.ablation.results import Row
from flows.ablation.scoring import figures, predict, score_arm
from flows.ablation.study import Study
from flows.steps.split_fingerprint import SplitFingerprint
from flows.steps.training_process import run_training
from flows.tracking.history import read_history
from hemlets.core.errors import DataError
from hemlets.data.table import Annotations
from hemlets.training.config import StageJob

_VALIDATION = "validation/mpjpe_mm"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that is to be, or has been.

    Attributes:
        key: Of its row.
        arm: What is trained.
        seed: Its seed.
        job: How.
    """

    key: str
    arm: Arm
    seed: int
    job: StageJob

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm.name}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the runs of a study happen.

    Attributes:
        study: Shared settings.
        data: Data version with train, validation and test rows.
        folder: For labels, weights and runs; may be deleted when the study is done.
        starter: The bundled weights.
    """

    study: Study
    data: Path
    folder: Path
    starter: Path

    def plan(self, arm: Arm, seed: int) -> Planned:
        """A run's job and key; writes the arm's labels and the start where they are not there."""
        job = self.study.job(
            arm,
            seed,
            data=write_labels(self.data, self.folder / "labels", arm.labels),
            out=Path(),
            initial_pose=self.starter if self.study.start == "starter" else None,
        )
        key = self.study.key(job, SplitFingerprint.of(self.test_rows).hash)
        out = self.folder / "runs" / key
        return Planned(key=key, arm=arm, seed=seed, job=job.model_copy(update={"out": out}))

    def run(
        self, planned: Planned, progress: Callable[[dict[str, Any]], None] | None = None
    ) -> Row:
        """Train, from where an earlier attempt was stopped, and score."""
        start = time.perf_counter()
        out = planned.job.out
        run_training(
            planned.job,
            processes=1,
            job_file=out.with_suffix(".json"),
            log=out.with_suffix(".log"),
            progress=progress,
        )
        study, arm = self.study, planned.arm
        rows = self.test_rows
        predictions = predict(out / "model", rows, self.data / "shards", shrink=study.shrink)
        predictions.write(out / "predictions.parquet")
        scores = score_arm(predictions, rows)
        return Row(
            key=planned.key,
            arm=arm.name,
            seed=planned.seed,
            settings={
                "supervision": arm.supervision,
                "labels": arm.labels,
                "states": str(arm.states),
                "samples": str(study.samples),
                "start": study.start,
                "crop_px": str(study.pose.crop_px // study.shrink),
                "precision": study.precision,
                "test_samples": str(len(rows)),
            },
            figures=figures(scores, rows, crop_px=study.pose.crop_px),
            seconds=time.perf_counter() - start,
            curve=self._curve(out / "history.jsonl"),
        )

    @cached_property
    def test_rows(self) -> Annotations:
        """The rows that every run is scored on: evenly over the test split.

        Raises:
            DataError: No test row knows its joints in 3D and its camera.
        """
        rows = Annotations.read(self.data / "annotations.parquet").split("test")
        rows = rows.take(rows.valid3d.all(1) & rows.valid2d.all(1) & rows.camera_valid)
        if not len(rows):
            raise DataError(
                "no test row has all joints in 3D and a camera", where=self.data, expected="some"
            )
        count = min(len(rows), self.study.test_samples)
        return rows.take(np.linspace(0, len(rows) - 1, count).astype(np.int64))

    def _curve(self, history: Path) -> tuple[tuple[int, float], ...]:
        return tuple(
            (step * self.study.batch_size, value)
            for name, value, step in read_history(history)
            if name == _VALIDATION
        )
