"""A study: the settings that all its runs share, and the job of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from flows.ablation.arms import Arm
from hemlets.core.config import Config
from hemlets.core.files import content_hash, sha256_file
from hemlets.data.synthetic.config import OpenDataConfig, SplitSizes
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.backbones.pretrained import backbone_file
from hemlets.training.config import LossConfig, StageJob, TrainingConfig

_LATER: Final[dict[str, dict[str, Any]]] = {
    "pose": {"depth_cells": None, "keypoints": False},
    "training": {"feature_crops": 0},
    "job": {"features": None},
}
"""Settings that are younger than the first rows, with the values at which nothing differs: they
count in a row's key only at other values."""


def _without_later_settings(values: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in later or v != later[k]}


class Study(Config):
    """What every run of an ablation has in common.

    Attributes:
        samples: That a run sees, augmented anew each time: the budget.
        start: Weights that every run begins with. ``imagenet``: of the backbone alone, as the
            paper has it; ``starter``: the bundled ones, which have seen HEMlets and depth
            already; ``random``: none.
        shrink: 2 trains and scores on crops of half the side, at a quarter of the cost.
        curve: Points of the learning curve.
        test_samples: Of the test split that a run is scored on.
        data: What is rendered where no data version is given.
    """

    samples: int = Field(15_000, ge=1)
    start: Literal["imagenet", "starter", "random"] = "imagenet"
    shrink: Literal[1, 2] = 2
    batch_size: int = Field(32, ge=2)
    optimiser: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(2e-3, gt=0)
    alpha: float = Field(0.3, ge=0)
    threads: int = Field(1, ge=1)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    curve: int = Field(6, ge=1)
    validation_samples: int = Field(512, ge=1)
    test_samples: int = Field(2048, ge=1)
    data: OpenDataConfig = OpenDataConfig(
        seed=7,
        # They would teach the arms with heatmaps only, and thin out the others' batches.
        background_share=0.0,
        samples=SplitSizes(train=16_384, validation=512, gate=0, test=2048),
    )
    pose: PoseNetworkConfig = PoseNetworkConfig(backbone="efficientnet_lite0", lateral=True)
    shape: ShapeNetworkConfig = ShapeNetworkConfig(hidden=32, blocks=0)
    augmentation: AugmentationConfig = AugmentationConfig(
        rotation_deg=15.0, scale_min=0.85, scale_max=1.15, colour=0.15
    )

    @property
    def steps(self) -> int:
        """Batches that make up the budget."""
        return math.ceil(self.samples / self.batch_size)

    def job(
        self,
        arm: Arm,
        seed: int,
        *,
        data: Path,
        out: Path,
        initial_pose: Path | None,
    ) -> StageJob:
        """What trains an arm under a seed."""
        every = max(1, self.steps // self.curve)
        pretrained = self.start == "imagenet"
        return StageJob(
            stage="pose",
            pose=self.pose.model_copy(update={"states": arm.states}),
            shape=self.shape,
            losses=LossConfig(alpha=self.alpha, supervision=arm.supervision),
            augmentation=self.augmentation,
            training=TrainingConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                optimiser=self.optimiser,
                learning_rate=self.learning_rate,
                warmup=0.05,
                ema=0.99,
                precision=self.precision,
                threads=self.threads,
                shrink=self.shrink,
                backbone_weights="imagenet" if pretrained else None,
                backbone_rate=0.2 if pretrained else 1.0,
                frozen_levels=1 if pretrained else 0,
                seed=seed,
                log_every=every,
                validate_every=every,
                validation_samples=self.validation_samples,
                checkpoint_every=max(1, min(50, self.steps)),
            ),
            data=data,
            out=out,
            initial_pose=initial_pose,
        )

    def key(self, job: StageJob, test: str) -> str:
        """Hash of all that a run's figures depend on but the machine: the row that it fills.

        Args:
            job: Of the run; its data and start must be in place.
            test: Hash of the rows that it is scored on.
        """
        training = _without_later_settings(job.training.model_dump(mode="json"), _LATER["training"])
        weights = job.training.backbone_weights
        backbone = weights and sha256_file(backbone_file(weights, job.pose.backbone))
        ingredients: dict[str, Any] = job.model_dump(
            mode="json",
            exclude={"training", "data", "out", "initial", "initial_pose", "render_workers"},
        )
        ingredients = _without_later_settings(ingredients, _LATER["job"])
        ingredients["pose"] = _without_later_settings(ingredients["pose"], _LATER["pose"])
        return content_hash(
            {
                **ingredients,
                "training": {**training, "backbone_weights": backbone},
                "initial_pose": job.initial_pose and sha256_file(job.initial_pose),
                "annotations": sha256_file(job.data / "annotations.parquet"),
                "test": test,
            }
        )[:20]
