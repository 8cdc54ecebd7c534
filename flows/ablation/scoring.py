"""Score a trained arm: its joints by the project's scorer, and its maps.

Shape suffixes: B people, J 18 joints, K 14 parts, L layers a part, H W map.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from flows.ablation.training import CPU, Encoded, evaluated_batches
from hemlets.core.arrays import Array
from hemlets.core.skeleton import N_JOINTS, N_PARTS, PART_CHILD, PART_PARENT, depth_relations
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
from hemlets.models import PoseNetwork
from hemlets.models.codecs import layers
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import lengths_at_depth, metric_joints
from hemlets.models.crops import ImageJoints, joints_in_images
from hemlets.training.features import FeatureBatch, unflatten_features
from hemlets.training.precision import resolve_precision

Change = Literal["none", "cut", "shuffled", "swapped"]
"""Change of the intermediate maps before the volume: none; zeros; another person's maps; near and
far layers of the HEMlets exchanged."""

_MEASURES: Final = (
    "mpjpe_mm", "pa_mpjpe_mm", "pck3d_150mm_pct", "depth_mm", "joints2d_px", "relations_right_pct",
)  # fmt: skip
_TILTS: Final = ("tilt_0_30_mm", "tilt_30_60_mm", "tilt_60_90_mm")
_FAR: Final = ("mpjpe_mm", "depth_mm", "relations_right_pct", "sign_right_pct")
FIGURES: Final = (
    *_MEASURES,
    *_TILTS,
    "validation_loss",
    "sign_right_pct",
    "maps_sign_right_pct",
    "cut_mpjpe_mm",
    "shuffled_mpjpe_mm",
    "swapped_mpjpe_mm",
    "swapped_sign_right_pct",
    *(f"far_{name}" for name in _FAR),
    "photo_pa_mpjpe_mm",
    "photo_pck_torso_pct",
)
"""Means over the scored people; 2D pixels are of the crop. ``tilt``: errors of the children of
parts by their tilt. ``sign``: share of parts tilted by more than 30° whose child is rightly nearer
or farther, of the volume and of the HEMlets. ``cut``, ``shuffled``, ``swapped``: see `Change`.
``far``: people far from all others, see `flows.ablation.study.Part`. ``photo``: photographs, NaN
without a folder of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Predictions for B people.

    Attributes:
        voxel_BJ3: Joints in voxels.
        polarity_BK: Peak of each part's near layers minus the peak of its far layers.
    """

    voxel_BJ3: Tensor
    polarity_BK: Array


@contextlib.contextmanager
def _changed(network: PoseNetwork, change: Change) -> Iterator[None]:
    """Apply a change to the maps between their branch and the encoder that reads them."""

    def hook(_module: object, _inputs: object, maps: Tensor) -> Tensor:
        if change == "cut":
            return torch.zeros_like(maps)
        if change == "shuffled":
            return maps.roll(1, 0)
        parts = layers(network.config.states) * N_PARTS
        swapped = torch.unflatten(maps[:, :parts], 1, (N_PARTS, -1)).flip(2).flatten(1, 2)
        return torch.cat([swapped, maps[:, parts:]], 1)

    if change == "none":
        yield
        return
    handle = network.heatmap_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def find(network: PoseNetwork, batches: list[FeatureBatch], change: Change = "none") -> Found:
    """Run a head on features."""
    precision = resolve_precision("auto", CPU)
    voxels, polarities = [], []
    for batch in batches:
        with (
            _changed(network, change),
            torch.inference_mode(),
            torch.autocast("cpu", precision, enabled=precision != torch.float32),
        ):
            output = network.head(unflatten_features(batch, network))
            assert output.triplet_BKLHW is not None
        voxels.append(network.decode(output).voxel_BJ3)
        peak_BKL = output.triplet_BKLHW.float().amax((3, 4))
        middle = peak_BKL.shape[2] // 2
        near, far = peak_BKL[..., middle + 1 :].amax(2), peak_BKL[..., :middle].amax(2)
        polarities.append((near - far).numpy())
    return Found(voxel_BJ3=torch.cat(voxels), polarity_BK=np.concatenate(polarities))


def _in_images(found: Found, network: PoseNetwork, rows: Annotations) -> ImageJoints:
    volume = network.config.volume
    crops = [square_crop(box, volume.crop_px) for box in rows.box_xyxy]
    return joints_in_images(found.voxel_BJ3, volume, crops)


def predicted_bones(found: Found, network: PoseNetwork, rows: Annotations) -> BoneLengths:
    """Bone lengths of predicted skeletons on the validation split, at their true distance."""
    seen = _in_images(found, network, rows)
    distance = rows.joints3d_mm[:, 0, 2]
    return BoneLengths.measured(
        lengths_at_depth(seen.image_px_BJ2, seen.depth_mm_BJ, rows.camera, distance)
    )


def predictions(
    found: Found, network: PoseNetwork, rows: Annotations, bones: BoneLengths
) -> Predictions:
    """Predict poses of people with cameras in annotated boxes, without bodies.

    The distance comes from bone lengths, never from ground truth.
    """
    seen = _in_images(found, network, rows)
    joints_mm, root_mm = metric_joints(seen.image_px_BJ2, seen.depth_mm_BJ, rows.camera, bones)
    count = len(rows)
    info = PredictionsInfo(
        model_version="arm", data_version="", split=str(rows.column("split")[0]),
        precision="bfloat16", depth_source="bone-length-prior", box_source="ground-truth",
        flip_test=False, code_version="", absent=("confidence", "theta", "betas"),
    )  # fmt: skip
    return Predictions(
        info=info,
        sample_id=rows.sample_id,
        joints3d_mm=joints_mm.astype(np.float32),
        root_mm=root_mm.astype(np.float32),
        joints2d_px=seen.image_px_BJ2.astype(np.float32),
        confidence=np.zeros((count, N_JOINTS), np.float32),
        theta=np.zeros((count, 24, 3), np.float32),
        betas=np.zeros((count, 10), np.float32),
        box_xyxy=rows.box_xyxy,
        flags=((),) * count,
    )


def scores_of(predicted: Predictions, rows: Annotations) -> SampleScores:
    """Errors per person."""
    measures = tuple(Measure(key=key) for key in _MEASURES)
    protocol = split_protocol(predicted.info.split).model_copy(
        update={"measures": measures, "tables": ()}
    )
    return score(predicted, Truth.of(rows, protocol), protocol)


def sign_right_pct(polarity_BK: Array, joints_BJ3_mm: Array) -> float:
    """Share of parts tilted by more than 30° whose child's sign of depth is right.

    Args:
        polarity_BK: Positive where the child is predicted nearer than its parent.
        joints_BJ3_mm: Ground-truth joints.
    """
    relation = depth_relations(joints_BJ3_mm)[0]
    right = np.sign(polarity_BK) == relation
    return float(100 * right[relation != 0].mean()) if relation.any() else float("nan")


def polarity_of(found: Found) -> Array:
    """Depth of each part's parent minus its child's in the volume, voxels."""
    z_BJ = found.voxel_BJ3[..., 2].numpy()
    return np.asarray(z_BJ[:, list(PART_PARENT)] - z_BJ[:, list(PART_CHILD)])


def figures(
    network: PoseNetwork, bones: BoneLengths, scored: Encoded, far: Encoded, *, maps: bool
) -> dict[str, float]:
    """Figures of an arm by name, without those of the curve and of photographs.

    Args:
        network: A trained head.
        bones: Bone lengths of the network's predicted skeletons.
        scored: People with all joints and cameras.
        far: People whose motions are far from those of training.
        maps: Whether the HEMlets were supervised; their signs have no meaning otherwise.
    """
    rows, truth, batches = scored.rows, scored.rows.joints3d_mm, evaluated_batches(scored)
    found = find(network, batches)
    scores = scores_of(predictions(found, network, rows, bones), rows)
    values = {key: scores.of(key) for key in _MEASURES}
    side_px = np.array([square_crop(box, 1).side_px for box in rows.box_xyxy])
    values["joints2d_px"] = values["joints2d_px"] * network.config.crop_px / side_px
    result = {name: float(np.nanmean(v)) for name, v in values.items()}
    for name, errors in zip(_TILTS, scores.tilt_errors_mm.T, strict=True):
        result[name] = float(np.nanmean(errors)) if not np.isnan(errors).all() else float("nan")
    result["sign_right_pct"] = sign_right_pct(polarity_of(found), truth)
    result["maps_sign_right_pct"] = (
        sign_right_pct(found.polarity_BK, truth) if maps else float("nan")
    )
    changes: tuple[Change, ...] = ("cut", "shuffled", "swapped")
    for change in changes:
        other = find(network, batches, change)
        error = scores_of(predictions(other, network, rows, bones), rows).of("mpjpe_mm")
        result[f"{change}_mpjpe_mm"] = float(error.mean())
        if change == "swapped":
            result["swapped_sign_right_pct"] = sign_right_pct(polarity_of(other), truth)
    other = find(network, evaluated_batches(far))
    scores = scores_of(predictions(other, network, far.rows, bones), far.rows)
    for key in ("mpjpe_mm", "depth_mm", "relations_right_pct"):
        result[f"far_{key}"] = float(np.nanmean(scores.of(key)))
    result["far_sign_right_pct"] = sign_right_pct(polarity_of(other), far.rows.joints3d_mm)
    return result
