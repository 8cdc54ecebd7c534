"""Train one arm with one seed and score it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from flows.ablation.arms import Arm
from flows.ablation.photographs import Photographs, no_photographs
from flows.ablation.results import Row
from flows.ablation.scoring import figures, find, predicted_bones
from flows.ablation.study import Part, Study
from flows.ablation.training import Encoded, encode, evaluated_batches, train_head, validation_loss
from flows.steps.split_fingerprint import SplitFingerprint
from hemlets.core.errors import DataError
from hemlets.core.files import sha256_file
from hemlets.data.table import Annotations
from hemlets.evaluation.metrics.joints import mpjpe_mm
from hemlets.models import PoseNetwork
from hemlets.models.backbones.pretrained import backbone_file


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Planned or finished run.

    Attributes:
        key: Key of its row.
        arm: Trained arm.
        seed: Seed of initial weights and sample order.
    """

    key: str
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """Display name."""
        return f"{self.arm.name}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Data and features for the runs of a study.

    Attributes:
        study: Shared settings.
        data: Data version with train, validation and test rows.
        folder: Folder for features; may be deleted after the study.
        photos: Folder of photographs (`hemlets.evaluation.photos`), or None.
    """

    study: Study
    data: Path
    folder: Path
    photos: Path | None = None

    def plan(self, arm: Arm, seed: int) -> Planned:
        """Plan the run of an arm with a seed."""
        return Planned(key=self.study.key(arm, seed, self._files), arm=arm, seed=seed)

    def run(
        self, planned: Planned, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> Row:
        """Train and score."""
        study, arm = self.study, planned.arm
        start = time.perf_counter()
        seen = evaluated_batches(self.validation)
        curve: list[tuple[int, float]] = []

        def point(samples: int, network: PoseNetwork) -> None:
            progress(samples, study.samples)
            curve.append((samples, validation_loss(find(network, seen).voxel_BJ3, seen)))

        network = train_head(
            study, arm, planned.seed, self.train, self.data / "shards", point=point
        )
        bones = predicted_bones(find(network, seen), network, self.validation.rows)
        supervised = arm.supervision in ("hemlets", "both")
        found = figures(network, bones, self.scored, self.far, maps=supervised)
        found["validation_loss"] = curve[-1][1]
        photos = self._photographs
        found |= photos.figures(network, bones) if photos else no_photographs()
        return Row(
            key=planned.key,
            arm=arm.name,
            seed=planned.seed,
            samples=study.samples,
            scored_samples=len(self.scored.rows),
            mean_pose_mm=self.mean_pose_mm("scored"),
            far_mean_pose_mm=self.mean_pose_mm("far"),
            figures=found,
            seconds=time.perf_counter() - start,
            curve=tuple(curve),
        )

    def mean_pose_mm(self, part: Part) -> float:
        """MPJPE of the mean pose of the learnt-from people, on the people of a part."""
        rows = self.rows("train")
        train = rows.joints3d_mm[~self.study.held_out(rows)]
        people = self.rows(part).joints3d_mm
        mean = (train - train[:, :1]).astype(np.float64).mean(0, keepdims=True)
        return float(mpjpe_mm(np.repeat(mean, len(people), 0), people).mean())

    @cached_property
    def train(self) -> Encoded:
        """People of the whole training split, including held-out frames, and their features."""
        return self._encoded("train")

    @cached_property
    def validation(self) -> Encoded:
        """Validation people and their features."""
        return self._encoded("validation")

    @cached_property
    def scored(self) -> Encoded:
        """Scored people and their features."""
        return self._encoded("scored")

    @cached_property
    def far(self) -> Encoded:
        """Far people and their features."""
        return self._encoded("far")

    def rows(self, part: Part) -> Annotations:
        """Evenly spaced rows of a part's people; all rows of the training split.

        Raises:
            DataError: Nobody of the part has all joints in 3D and a camera.
        """
        study = self.study
        split = {"scored": "train", "far": "test"}.get(part, part)
        rows = self._table.split(split)
        if part == "scored":
            whole = np.array(["+" not in clip for clip in rows.column("clip")], bool)
            rows = rows.take(study.held_out(rows) & whole)
        rows = rows.take(rows.valid3d.all(1) & rows.valid2d.all(1) & rows.camera_valid)
        if not len(rows):
            raise DataError(
                f"no {part} row has all joints in 3D and a camera",
                where=self.data,
                expected="some",
            )
        most = {
            "validation": study.validation_samples,
            "scored": study.scored_samples,
            "far": study.far_samples,
        }
        count = min(len(rows), most.get(part, len(rows)))
        return rows.take(np.linspace(0, len(rows) - 1, count).astype(np.int64))

    def _encoded(self, part: Part) -> Encoded:
        torch.set_num_threads(self.study.threads)
        return encode(
            self.study,
            self.rows(part),
            self.data / "shards",
            self.folder / "features",
            augmentation=self.study.augmentation if part == "train" else None,
        )

    @cached_property
    def _table(self) -> Annotations:
        return Annotations.read(self.data / "annotations.parquet")

    @cached_property
    def _files(self) -> dict[str, str]:
        rows = {part: SplitFingerprint.of(self.rows(part)).hash for part in get_args(Part)}
        return rows | {"encoder": sha256_file(backbone_file("bundled", self.study.pose.backbone))}

    @cached_property
    def _photographs(self) -> Photographs | None:
        return Photographs.encoded(self.study, self.photos) if self.photos else None
