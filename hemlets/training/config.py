"""Settings of a training stage, and the file that a stage's process is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from hemlets.config import Config
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.transforms import AugmentationConfig

__all__ = ["LossConfig", "StageJob", "TrainingConfig"]


class LossConfig(Config):
    """Weights of the losses.

    Attributes:
        alpha: Of the intermediate maps, equation (8).
        marginal: Of the cross-entropy on the volume's marginals, which is not in the paper;
            0 is the paper's own loss.
        marginal_sigma: Width of that term's targets in voxels.
        theta: Of L_θ in equation (11).
        betas: Of L_β in equation (11).
    """

    alpha: float = Field(0.05, ge=0)
    hemlets: bool = True
    heatmaps: bool = True
    marginal: float = Field(1.0, ge=0)
    marginal_sigma: float = Field(1.0, gt=0)
    theta: float = Field(1.0, ge=0)
    betas: float = Field(1.0, ge=0)


class TrainingConfig(Config):
    """Schedule, precision and bookkeeping of one stage.

    Attributes:
        batch_size: Global: over all processes.
        learning_rate: Peak of the schedule.
        warmup: Share of the steps with a rising rate; it falls by a cosine after that.
        ema: Decay of the weights' moving average, which is what is evaluated and kept.
        precision: ``auto`` is bfloat16 where the processor has it.
        shrink: Crops are averaged down by this: a cheap first phase from random weights.
        threads: CPU threads; part of what makes two runs bit-equal.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0, le=1)
    final_rate: float = Field(0.01, ge=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    warmup: float = Field(0.05, ge=0, le=1)
    gradient_clip: float = Field(0.0, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(2, ge=1)
    shrink: Literal[1, 2] = 1
    seed: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1)
    validate_every: int = Field(200, ge=1)
    validation_samples: int = Field(256, ge=1)
    checkpoint_every: int = Field(50, ge=1)


class StageJob(Config):
    """Everything that the training process of one stage needs, as one JSON file.

    Attributes:
        data: Folder of the data version.
        out: Folder for checkpoints, history and the finished model.
        initial: Weights to start from (safetensors of the whole model), or None: random.
        initial_pose: Takes precedence for the pose network's part.
    """

    stage: Literal["pose", "posh"]
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig
    losses: LossConfig
    augmentation: AugmentationConfig
    training: TrainingConfig
    data: Path
    out: Path
    initial: Path | None = None
    initial_pose: Path | None = None
