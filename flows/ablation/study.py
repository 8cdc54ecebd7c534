"""Settings shared by all runs of a study."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from flows.ablation.arms import Arm
from hemlets.core.arrays import Bool
from hemlets.core.config import Config
from hemlets.core.files import content_hash
from hemlets.data.synthetic.config import OpenDataConfig, SplitSizes
from hemlets.data.table import Annotations
from hemlets.data.transforms import AugmentationConfig
from hemlets.data.weak_labels import read_annotators
from hemlets.models import PoseNetworkConfig
from hemlets.training.config import LossConfig, TrainingConfig

Part = Literal["train", "validation", "scored", "far"]
"""Groups of people.

- ``train``: the training split; arms learn from its people outside held-out frames.
- ``validation``: the validation split. Settings are chosen on it; it gives the learning curves and
  the metric scale.
- ``scored``: people of the training split in held-out frames, without mixtures of clips. Arms are
  scored on them, and nothing is chosen on them.
- ``far``: the test split, whose motions are unlike those of the training split.
"""


class Study(Config):
    """Settings of every run. The losses are the paper's, without the marginal term.

    Attributes:
        samples: Training samples of a run (budget).
        curve: Number of points on the learning curve.
        crops: Augmented crops per training person, with features computed once.
        held_out_share: Share of every training clip, its last frames, excluded from training.
        validation_samples: Maximum number of people, like the two below; see `Part`.
        annotators: Rates of the simulated annotators; None is `hemlets.data.weak_labels.DEFAULT`.
        data: Rendered people, if no data version is given.
        pose: Network: a slim head on the frozen encoder.
    """

    samples: int = Field(3200, ge=1)
    batch_size: int = Field(32, ge=2)
    optimiser: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(1e-2, gt=0)
    alpha: float = Field(0.05, ge=0)
    threads: int = Field(1, ge=1)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    curve: int = Field(4, ge=1)
    crops: int = Field(1, ge=1)
    held_out_share: float = Field(0.25, gt=0, lt=1)
    validation_samples: int = Field(192, ge=2)
    scored_samples: int = Field(384, ge=1)
    far_samples: int = Field(192, ge=1)
    annotators: Path | None = None
    data: OpenDataConfig = OpenDataConfig(
        seed=15,
        background_share=0.0,
        image_px=256,
        samples=SplitSizes(train=4096, validation=256, gate=0, test=256),
        # As in Human3.6M, whole people stand free before a camera near the height of their eyes.
        mixture_probability=0.0,
        free_limb_probability=0.0,
        tumble_probability=0.0,
        truncation_probability=0.0,
        occluder_probability=0.0,
        elevation_deg=(-5.0, 20.0),
    )
    pose: PoseNetworkConfig = PoseNetworkConfig(
        backbone="movenet_thunder",
        crop_px=192,
        volume_cells=24,
        depth_cells=16,
        branch_channels=32,
        fusion_channels=64,
        lateral=True,
    )
    augmentation: AugmentationConfig = AugmentationConfig()

    def held_out(self, rows: Annotations) -> Bool:
        """Mask of rows in the last frames of their clip; a mixture's clip is the first."""
        first = np.array([clip.split("+")[0] for clip in rows.column("clip")], object)
        frame = rows.column("frame")
        mask = np.zeros(len(rows), bool)
        for clip in set(first):
            own = first == clip
            mask[own] = frame[own] >= (1 - self.held_out_share) * (frame[own].max() + 1)
        return mask

    @property
    def steps(self) -> int:
        """Number of training steps of a run."""
        return math.ceil(self.samples / self.batch_size)

    def losses(self, arm: Arm) -> LossConfig:
        """The paper's losses with the supervision of an arm."""
        return LossConfig(
            alpha=self.alpha,
            supervision=arm.supervision,
            joint_units=arm.joint_units,
            marginal=0.0,
        )

    def training(self, seed: int) -> TrainingConfig:
        """Optimiser and schedule of a run."""
        return TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            learning_rate=self.learning_rate,
            warmup=0.05,
            ema=0.99,
            precision=self.precision,
            threads=self.threads,
            seed=seed,
        )

    def network(self, arm: Arm) -> PoseNetworkConfig:
        """Network configuration with the states of an arm."""
        return self.pose.model_copy(update={"states": arm.states})

    def key(self, arm: Arm, seed: int, files: dict[str, str]) -> str:
        """Hash of everything that a run's figures depend on, except the machine.

        Args:
            arm: Trained arm.
            seed: Seed of initial weights and sample order.
            files: Hashes of the rows and of the encoder.
        """
        own: dict[str, Any] = self.model_dump(
            mode="json", exclude={"data", "annotators", "threads"}
        )
        if not own["pose"]["refinement_context"]:
            # A setting from after the committed runs.
            del own["pose"]["refinement_context"]
        rates = {}
        if arm.rest not in ("absent", "2d"):
            found = read_annotators(*([self.annotators] if self.annotators else []))
            rates = {name: found[name].hash for name in sorted(found)}
        return content_hash([own, asdict(arm), seed, rates, files])[:20]
