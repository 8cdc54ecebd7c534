"""A trained arm on the test split, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hemlets.core.skeleton import Joint, depth_relations
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.data.transforms import square_crop
from hemlets.evaluation.metrics.alignment import align
from hemlets.models.codecs.decode import metric_joints
from hemlets.models.crops import joints_in_images, network_input
from hemlets.models.model_folder import load_model
from hemlets.training.objectives import shrunk

__all__ = ["FIGURES", "SampleScores", "score"]

FIGURES = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "depth_mm",
    "joints2d_px",
    "relations_right_pct",
    "mpjpe_flat_mm",
    "mpjpe_foreshortened_mm",
)
"""Means over the test samples; the last two over the half with the fewest parts that point
towards or away from the camera, and over the other half."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SampleScores:
    """Errors by sample, over 18 joints relative to the pelvis.

    The box is the annotated one; the distance comes from the bone length that the model's
    skeletons have on the validation split, never from the test sample.
    """

    sample_id: Array
    mpjpe_mm: Array
    pa_mpjpe_mm: Array
    depth_mm: Array
    joints2d_px: Array
    relations_right_pct: Array
    foreshortened: Array

    def figures(self) -> dict[str, float]:
        """Means, by the names of ``FIGURES``."""
        limit = np.median(self.foreshortened)
        many = self.foreshortened > limit
        values = {name: getattr(self, name) for name in FIGURES[:5]}
        values |= {
            "mpjpe_flat_mm": self.mpjpe_mm[~many],
            "mpjpe_foreshortened_mm": self.mpjpe_mm[many],
        }
        return {name: float(v.mean()) if v.size else float("nan") for name, v in values.items()}

    def write(self, path: Path) -> None:
        """Store the arrays, by which poses can be told apart later."""
        np.savez_compressed(path, **vars(self))


def score(
    model_folder: Path, rows: Annotations, shards: Path, *, shrink: int, batch_size: int = 64
) -> SampleScores:
    """Run a model over rows whose 3D joints and cameras are known."""
    model, card = load_model(model_folder)
    volume = card.pose.volume
    reader = ShardReader(shards)
    joints, pixels = [], []
    for start in range(0, len(rows), batch_size):
        a = rows.take(np.arange(start, min(start + batch_size, len(rows))))
        crops = [square_crop(box, volume.crop_px) for box in a.box_xyxy]
        images = stored_images(a, range(len(a)), reader)
        with torch.inference_mode():
            image_B3HW = shrunk(network_input(images, crops, torch.device("cpu")), shrink)
            voxels = model.pose.decode(model.pose(image_B3HW)).voxel_BJ3
        found = joints_in_images(voxels, volume, crops)
        found_mm, _ = metric_joints(found.image_px_BJ2, found.depth_mm_BJ, a.camera, card.bones)
        joints.append(found_mm)
        true_px = np.stack([c.to_crop(px) for c, px in zip(crops, a.joints2d_px, strict=True)])
        pixels.append(np.linalg.norm(found.crop_px_BJ2 - true_px, axis=-1).mean(1))
    predicted = np.concatenate(joints)
    true = rows.joints3d_mm - rows.joints3d_mm[:, [Joint.PELVIS]]
    aligned = align(predicted, true, scale=True).aligned
    found_relations, _ = depth_relations(predicted)
    true_relations, _ = depth_relations(true)
    return SampleScores(
        sample_id=rows.sample_id.astype(str),
        mpjpe_mm=np.linalg.norm(predicted - true, axis=-1).mean(1),
        pa_mpjpe_mm=np.linalg.norm(aligned - true, axis=-1).mean(1),
        depth_mm=np.abs(predicted[..., 2] - true[..., 2]).mean(1),
        joints2d_px=np.concatenate(pixels),
        relations_right_pct=100.0 * (found_relations == true_relations).mean(1),
        foreshortened=(true_relations != 0).sum(1),
    )
