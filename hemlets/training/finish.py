"""Finish a training: write model folder and run record, delete intermediate files."""

from __future__ import annotations

import shutil

import numpy as np
from torch import Tensor

from hemlets.core.files import read_json, sha256_file, write_json
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.model_folder import WEIGHTS, save_model
from hemlets.training.config import TUNING, WARM_UP, StageJob
from hemlets.training.identity import Identity
from hemlets.training.run import BONES_FROM, Run
from hemlets.training.stages import BEFORE_TUNING, FEATURES, PREDICTIONS
from hemlets.training.training_rows import TrainingRows, share_outside_volume, trained_families

CHECKPOINT, FINISHED, MODEL = "checkpoint.pt", "finished.json", "model"


def finished_figures(job: StageJob, identity: Identity) -> dict[str, float] | None:
    """Return the figures of this run if it has finished and its model is complete."""
    if (job.out / CHECKPOINT).exists() or not (job.out / FINISHED).exists():
        return None
    record = read_json(job.out / FINISHED)
    weights = job.out / MODEL / WEIGHTS
    if not weights.exists() or record.get("weights_sha256") != sha256_file(weights):
        return None
    if identity.changed(record):
        return None
    figures: dict[str, float] = record["figures"]
    return figures


def save_trained(
    job: StageJob, run: Run, weights: dict[str, Tensor], rows: TrainingRows, identity: Identity
) -> None:
    """Write the model and the run record, then delete files needed only for resuming."""
    standing, bones = run.standing, rows.true_bones
    config = job.training
    card = save_model(
        job.out / MODEL,
        weights,
        pose=job.pose,
        shape=job.shape,
        bones=_within(standing.calibration.bones or bones, bones),
        person=standing.calibration.person,
        inference=job.inference,
        training={
            "true_bone_length_mm": bones.sum_mm,
            BONES_FROM: standing.calibration.rows or {},
            "stage": job.stage,
            "steps": config.steps,
            "batch_size": config.batch_size,
            "precision": str(run.precision).removeprefix("torch."),
            "validation": standing.figures,
            "families": trained_families(rows.train, job),
            "depth_clipped_share": share_outside_volume(rows.train, job.pose.volume.depth_range_mm),
        },
    )
    figures = {"weights_sha256": card.weights_sha256, "figures": standing.figures}
    write_json(job.out / FINISHED, {**identity.record, **figures})
    (job.out / CHECKPOINT).unlink(missing_ok=True)
    # The weights of the stages within live on in the model.
    for folder in (PREDICTIONS, FEATURES, f"{WARM_UP}/{MODEL}", f"{TUNING}/{MODEL}"):
        shutil.rmtree(job.out / folder, ignore_errors=True)
    (job.out / TUNING / BEFORE_TUNING).unlink(missing_ok=True)


def _within(found: BoneLengths, true: BoneLengths) -> BoneLengths:
    """Clip predicted lengths to 0.5 to 1.1 of the true lengths.

    An untrained network collapses its skeletons to a point.
    """
    mean_K, true_K = np.array(found.mean_mm), np.array(true.mean_mm)
    mean_K = np.clip(mean_K, 0.5 * true_K, 1.1 * true_K)
    return BoneLengths(mean_mm=tuple(mean_K.tolist()), spread_mm=found.spread_mm)
