"""The three training stages: pose, shape, and both end to end."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hemlets.core.arrays import Image
from hemlets.core.files import content_hash, write_json
from hemlets.data.table import Annotations
from hemlets.models import HemletsPosh, PoseNetwork
from hemlets.models.backbones import freeze_levels
from hemlets.models.backbones.pretrained import backbone_file, load_backbone
from hemlets.models.model_folder import load_strictly, load_weights
from hemlets.training.batches import Samples, Source
from hemlets.training.calibration import Calibration, CalibrationRows, calibrate
from hemlets.training.config import TUNING, WARM_UP, StageJob, TrainingConfig
from hemlets.training.features import FeatureSamples, compute_features, weights_hash
from hemlets.training.group import Group
from hemlets.training.identity import Identity
from hemlets.training.objectives import PoseObjective, PoshObjective, ShapeObjective
from hemlets.training.pictures import validation_picture
from hemlets.training.precision import resolve_precision
from hemlets.training.predicted_samples import PredictedSamples
from hemlets.training.predictions import predict_bodies
from hemlets.training.reporting import PROGRESS
from hemlets.training.shape_samples import ShapeSamples, has_body_and_joints, no_bodies
from hemlets.training.simulated_keypoints import SimulatedKeypoints
from hemlets.training.validation import validate, validate_shape

BEFORE_TUNING, PREDICTIONS, FEATURES = "initial.safetensors", "predictions", "features"
_SHAPE_BATCH = 512


class Stage(ABC):
    """Defines a stage for the engine: trained part, objective, samples, validation."""

    prefix = ""
    """Prefix of the trained part's weights in the whole model."""

    def __init__(self, job: StageJob, group: Group) -> None:
        self.job, self.group = job, group

    @abstractmethod
    def part(self, model: HemletsPosh) -> nn.Module:
        """Return the part of a model that is trained."""

    @abstractmethod
    def objective(self, model: HemletsPosh) -> nn.Module:
        """Return the objective: batch → loss terms summed over it, and their weighted ``total``."""

    @abstractmethod
    def samples(self, rows: Annotations) -> Source[Any]:
        """Return the training samples of some rows."""

    @abstractmethod
    def validate(self, model: HemletsPosh, rows: Annotations) -> dict[str, float]:
        """Compute validation figures of some rows."""

    def calibrate(self, model: HemletsPosh, rows: CalibrationRows) -> Calibration:
        """Calibrate the predictions, if the stage trains the pose network."""
        return Calibration(None, None)

    def picture(self, model: HemletsPosh, rows: Annotations) -> Image | None:
        """Draw predictions of a few rows, if the stage uses images."""
        return None

    def _on_images(
        self,
        network: PoseNetwork | HemletsPosh,
        rows: Annotations,
    ) -> dict[str, float]:
        return validate(
            network,
            rows,
            self.job.data / "shards",
            precision=resolve_precision(self.job.training.precision, self.group.device),
            device=self.group.device,
            shrink=self.job.training.shrink,
        )


class _FromImages(Stage):
    def samples(self, rows: Annotations) -> Source[Any]:
        crops = Samples(
            rows,
            self.job.data / "shards",
            self.job.pose.volume,
            seed=self.job.training.seed,
            augmentation=self.job.augmentation,
        )
        training = self.job.training
        if not training.feature_crops:
            return crops
        features = _encoded(self.job, crops, self.group)
        if not training.simulated_keypoints:
            return features
        return SimulatedKeypoints(
            features, training.simulated_keypoints, self.job.pose.volume_cells, training.seed
        )

    def validate(self, model: HemletsPosh, rows: Annotations) -> dict[str, float]:
        part = model.pose if self.prefix else model
        return self._on_images(part, rows)

    def calibrate(self, model: HemletsPosh, rows: CalibrationRows) -> Calibration:
        found = calibrate(
            model,
            rows,
            self.job.data / "shards",
            flip_test=self.job.inference.flip_test,
            shrink=self.job.training.shrink,
            device=self.group.device,
            second_look=self.job.inference.second_look,
        )
        if self.job.losses.supervision not in ("2d", "both"):
            # Its heatmaps, whose peaks the confidence is, were never trained.
            return found._replace(person=None)
        return found

    def picture(self, model: HemletsPosh, rows: Annotations) -> Image | None:
        return validation_picture(
            model,
            rows,
            self.job.data / "shards",
            device=self.group.device,
            shrink=self.job.training.shrink,
        )


class PoseStage(_FromImages):
    """The pose network, equations (3) to (8)."""

    prefix = "pose."

    def part(self, model: HemletsPosh) -> nn.Module:
        """Return the pose network."""
        return model.pose

    def objective(self, model: HemletsPosh) -> nn.Module:
        """Return L_tot."""
        return PoseObjective(model.pose, self.job.losses, shrink=self.job.training.shrink)


class PoshStage(_FromImages):
    """Both networks end to end, equation (11)."""

    def part(self, model: HemletsPosh) -> nn.Module:
        """Return the whole model."""
        return model

    def objective(self, model: HemletsPosh) -> nn.Module:
        """Return L_mesh."""
        return PoshObjective(model, self.job.losses, shrink=self.job.training.shrink)


class ShapeStage(Stage):
    """The shape network from joints alone."""

    prefix = "shape."

    def part(self, model: HemletsPosh) -> nn.Module:
        """Return the shape network."""
        return model.shape

    def objective(self, model: HemletsPosh) -> nn.Module:
        """Return L_θ + L_β."""
        model.shape.forget_features()
        return ShapeObjective(model.shape, self.job.losses)

    def samples(self, rows: Annotations) -> Source[Any]:
        """Return true joints with noise, or joints predicted from images."""
        if self.job.training.predictions:
            return _predicted(self.job, rows, self.group)
        return ShapeSamples(
            rows,
            self.job.pose.volume,
            seed=self.job.training.seed,
            augmentation=self.job.augmentation,
        )

    def validate(self, model: HemletsPosh, rows: Annotations) -> dict[str, float]:
        """Evaluate from exact and noisy joints, or the whole model on images."""
        if self.job.training.predictions:
            return self._on_images(model, rows)
        return validate_shape(model.shape, rows, self.job.pose.volume, device=self.group.device)


def warm_up_job(job: StageJob, rows: Annotations, world_size: int) -> StageJob:
    """Make the job of the shape stage that precedes a ``posh`` stage."""
    usable = len(ShapeSamples(rows, job.pose.volume, seed=0, augmentation=None))
    steps = job.training.shape_warmup
    training = TrainingConfig(
        steps=steps,
        batch_size=_shape_batch(usable, world_size),
        learning_rate=2e-3,
        weight_decay=1e-4,
        ema=0.995,
        precision="float32",
        threads=job.training.threads,
        seed=job.training.seed,
        validate_every=steps,
        validation_samples=job.training.validation_samples,
        checkpoint_every=200,
    )
    out = job.out / WARM_UP
    return job.model_copy(update={"stage": "shape", "training": training, "out": out})


def tuning_job(job: StageJob, world_size: int) -> StageJob:
    """Make the job of the shape stage that follows a ``posh`` stage, on its predictions.

    The ``posh`` stage writes its weights to the job's ``initial``.
    """
    before = job.training
    steps = before.shape_tuning
    training = TrainingConfig(
        steps=steps,
        predictions=before.predictions,
        batch_size=_shape_batch(before.predictions, world_size),
        learning_rate=1e-3,
        weight_decay=1e-3,
        ema=0.99,
        precision=before.precision,
        threads=before.threads,
        shrink=before.shrink,
        seed=before.seed,
        validate_every=steps,
        validation_samples=before.validation_samples,
        checkpoint_every=200,
    )
    out = job.out / TUNING
    return job.model_copy(
        update={
            "stage": "shape",
            "training": training,
            "out": out,
            "initial": out / BEFORE_TUNING,
            "initial_pose": None,
            "stream": None,
        }
    )


def _shape_batch(samples: int, world_size: int) -> int:
    return max(min(_SHAPE_BATCH, samples) // world_size * world_size, 2)


def _predicted(job: StageJob, rows: Annotations, group: Group) -> PredictedSamples:
    """Predict training images with the network that a job starts from."""
    taught = rows.take(has_body_and_joints(rows))
    if not len(taught):
        raise no_bodies()
    training = job.training
    with torch.random.fork_rng(devices=[]):
        model = initial_model(job)
    crops = Samples(
        taught,
        job.data / "shards",
        job.pose.volume,
        seed=training.seed,
        augmentation=job.augmentation.model_copy(update={"flip": 0.0}),
    )
    keep = job.out / PREDICTIONS / Identity.of(job).key

    if group.rank == 0 and keep.parent.exists():
        for other in keep.parent.iterdir():
            if other != keep:
                shutil.rmtree(other)
    bodies = predict_bodies(
        model,
        crops,
        training.predictions,
        shrink=training.shrink,
        keep=keep,
        group=group,
        report_progress=_progress_writer(job, group, "predicted", predictions=training.predictions),
    )
    return PredictedSamples(bodies, seed=training.seed, augmentation=job.augmentation)


def _encoded(job: StageJob, crops: Samples, group: Group) -> FeatureSamples:
    """Compute features of training crops with a job's frozen backbone."""
    training = job.training
    with torch.random.fork_rng(devices=[]):
        network = initial_model(job).pose
    precision = resolve_precision(training.precision, group.device)
    decided = {
        "backbone": [job.pose.backbone, weights_hash(network.backbone)],
        "levels": [*network.level_channels, job.pose.crop_px],
        # The files hold targets too.
        "volume": job.pose.volume.shape_xyz,
        "rows": Identity.of(job).annotations,
        "count": len(crops),
        "sources": sorted(training.mix),
        "augmentation": job.augmentation.model_dump(exclude={"joint_noise_m"}),
        "seed": training.seed,
        "crops": training.feature_crops,
        "precision": str(precision),
    }
    keep = job.features or job.out / FEATURES

    return compute_features(
        network,
        crops,
        training.feature_crops,
        folder=keep / content_hash(decided)[:20],
        precision=precision,
        group=group,
        report_progress=_progress_writer(
            job, group, "encoded", crops=training.feature_crops * len(crops)
        ),
    )


def _progress_writer(job: StageJob, group: Group, key: str, **total: int) -> Callable[[int], None]:
    """Return a function that writes progress before the first step to the run's folder."""

    def write(done: int) -> None:
        if group.rank == 0:
            row = {"step": 0, "steps": job.training.steps, key: done}
            write_json(job.out / PROGRESS, row | total)

    return write


def stage_of(job: StageJob, group: Group | None = None) -> Stage:
    """Return a job's stage; for a single process by default."""
    stages: dict[str, type[Stage]] = {"pose": PoseStage, "posh": PoshStage, "shape": ShapeStage}
    return stages[job.stage](job, group or Group())


def initial_model(job: StageJob) -> HemletsPosh:
    """Build the whole model with a job's initial weights.

    Raises:
        CheckpointError: Weights are missing, damaged or of another network.
    """
    model = HemletsPosh(job.pose, job.shape)
    if job.initial is not None:
        load_strictly(model, load_weights(job.initial), where=job.initial)
    if job.initial_pose is not None:
        state = load_weights(job.initial_pose)
        pose = {k.removeprefix("pose."): v for k, v in state.items() if k.startswith("pose.")}
        load_strictly(model.pose, pose, where=job.initial_pose)
    if job.training.backbone_weights is not None:
        file = backbone_file(job.training.backbone_weights, job.pose.backbone)
        load_backbone(model.pose.backbone, file)
    freeze_levels(model.pose.backbone, job.training.frozen_levels)
    if job.training.refinement_only:
        model.requires_grad_(False)
        for part in (model.pose.refinement, model.pose.context):
            if part is not None:
                part.requires_grad_(True)
    if job.training.freeze_batch_norm:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return model
