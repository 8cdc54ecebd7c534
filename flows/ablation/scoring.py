"""The test figures of a trained arm: its predictions go through the project's one scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from hemlets.core.skeleton import N_JOINTS, depth_relations
from hemlets.data.table import Annotations
from hemlets.data.transforms import square_crop
from hemlets.evaluation import (
    Predictions,
    PredictionsInfo,
    SampleScores,
    Truth,
    score,
    split_protocol,
)
from hemlets.evaluation.protocols import Measure
from hemlets.models.codecs.decode import metric_joints
from hemlets.models.crops import joints_in_images
from hemlets.models.model_folder import load_model
from hemlets.training.row_crops import row_crops

_MEASURES: Final = ("mpjpe_mm", "pa_mpjpe_mm", "depth_mm", "joints2d_px", "relations_right_pct")
FIGURES: Final = (*_MEASURES, "mpjpe_flat_mm", "mpjpe_foreshortened_mm")
"""Means over the test samples; the last two over the half with the fewest parts that point
towards or away from the camera, and over the other half. Pixels are of the crop."""


def predict(
    model_folder: Path, rows: Annotations, shards: Path, *, shrink: int, batch_size: int = 64
) -> Predictions:
    """Poses of rows with cameras, in annotated boxes; bodies are not predicted.

    The distance comes from the bone lengths that the model's skeletons have on the validation
    split, never from the test sample.
    """
    model, card = load_model(model_folder)
    volume = card.pose.volume
    joints, roots, pixels = [], [], []
    batches = row_crops(
        rows, shards, crop_px=volume.crop_px, device=torch.device("cpu"), shrink=shrink,
        batch_size=batch_size,
    )  # fmt: skip
    for part, crops, image_B3HW in batches:
        with torch.inference_mode():
            voxels = model.pose.decode(model.pose(image_B3HW)).voxel_BJ3
        found = joints_in_images(voxels, volume, crops)
        camera = rows.camera[part]
        found_mm, root_mm = metric_joints(found.image_px_BJ2, found.depth_mm_BJ, camera, card.bones)
        joints.append(found_mm)
        roots.append(root_mm)
        pixels.append(found.image_px_BJ2)
    count = len(rows)
    info = PredictionsInfo(
        model_version="arm", data_version="", split=str(rows.column("split")[0]),
        precision="float32", depth_source="bone-length-prior", box_source="ground-truth",
        flip_test=False, code_version="", absent=("confidence", "theta", "betas"),
    )  # fmt: skip
    return Predictions(
        info=info,
        sample_id=rows.sample_id,
        joints3d_mm=np.concatenate(joints).astype(np.float32),
        root_mm=np.concatenate(roots).astype(np.float32),
        joints2d_px=np.concatenate(pixels).astype(np.float32),
        confidence=np.zeros((count, N_JOINTS), np.float32),
        theta=np.zeros((count, 24, 3), np.float32),
        betas=np.zeros((count, 10), np.float32),
        box_xyxy=rows.box_xyxy,
        flags=((),) * count,
    )


def score_arm(predictions: Predictions, rows: Annotations) -> SampleScores:
    """Errors by sample under the measures of the study."""
    measures = tuple(Measure(key=key) for key in _MEASURES)
    protocol = split_protocol(predictions.info.split).model_copy(
        update={"measures": measures, "tables": ()}
    )
    return score(predictions, Truth.of(rows, protocol), protocol)


def figures(scores: SampleScores, rows: Annotations, *, crop_px: int) -> dict[str, float]:
    """Means of an arm, by the names of ``FIGURES``; NaN where no sample has one.

    Args:
        scores: of all rows, in their order.
        rows: the test rows, with all joints known.
        crop_px: side of the crops that pixel errors are converted to.
    """
    side_px = np.array([square_crop(box, crop_px).side_px for box in rows.box_xyxy])
    values = {key: scores.of(key) for key in _MEASURES}
    values["joints2d_px"] = values["joints2d_px"] * crop_px / side_px
    foreshortened = (depth_relations(rows.joints3d_mm)[0] != 0).sum(1)
    many = foreshortened > np.median(foreshortened)
    values["mpjpe_flat_mm"] = values["mpjpe_mm"][~many]
    values["mpjpe_foreshortened_mm"] = values["mpjpe_mm"][many]
    return {name: float(v.mean()) if v.size else float("nan") for name, v in values.items()}
