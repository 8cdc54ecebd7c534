"""A model's predicted relations of a person and their uncertainty, for the page and the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from hemlets.core.arrays import Array, Image
from hemlets.core.skeleton import FLIP_PARTS, PART_CHILD, PART_PARENT, PARTS
from hemlets.data.transforms import square_crop
from hemlets.inference.predictor import Predictor
from hemlets.models.crops import joints_in_images, network_input

Box = tuple[float, float, float, float]

LABELS: Final = ("B", "U", "F")
"""Labels along the last axis of the probabilities: relation −1, 0 and +1."""

_WIDER: Final = 1.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Opinion:
    """A model's prediction of a person's relations.

    Attributes:
        probability_K3: Of Backward, level and Forward for each part.
        others_VK3: The same from other views: the mirrored crop, and a wider one.
        joints2d_J2: In the image, pixels.
        feature_C: Pooled features of the backbone.
    """

    probability_K3: Array
    others_VK3: Array
    joints2d_J2: Array
    feature_C: Array

    @property
    def entropy(self) -> float:
        """Mean entropy of the parts' relations, nats."""
        return float(_entropy(self.probability_K3).mean())

    @property
    def disagreement(self) -> float:
        """Mean divergence from the other views, see `divergence`."""
        views = [divergence(self.probability_K3, other) for other in self.others_VK3]
        return float(np.mean(views))

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types, features rounded to three digits."""
        labels = np.array(LABELS)[self.probability_K3.argmax(1)]
        return {
            "relations": {p.name: str(label) for p, label in zip(PARTS, labels, strict=True)},
            "probability": self.probability_K3.astype(float).round(4).tolist(),
            "entropy": self.entropy,
            "disagreement": self.disagreement,
            "feature": [float(f"{value:.3g}") for value in self.feature_C],
        }


def divergence(first_K3: Array, second_K3: Array) -> float:
    """Compute the Jensen–Shannon divergence of two predictions, mean over parts, nats."""
    middle = _entropy((first_K3 + second_K3) / 2)
    return float((middle - (_entropy(first_K3) + _entropy(second_K3)) / 2).mean())


def _entropy(probability_K3: Array) -> Array:
    p = np.clip(probability_K3, 1e-12, 1)
    return np.asarray(-(p * np.log(p)).sum(-1))


def relation_probabilities(depth_BJD: Array, cell_mm: float, limit_K: Array) -> Array:
    """Compute probabilities (B, 14, 3) of Backward, level and Forward from depth marginals.

    Parent and child count as independent.

    Args:
        depth_BJD: Distribution of each joint over cells of depth, away from the camera.
        cell_mm: Depth of a cell.
        limit_K: ε of each part, millimetres: half of its usual length.
    """
    depth = depth_BJD / depth_BJD.sum(-1, keepdims=True)
    cells = np.arange(depth.shape[-1])
    # Of parent and child in cells i and j, by how much the child is nearer.
    nearer_DD = (cells[:, None] - cells[None]) * cell_mm
    found = np.empty((len(depth), len(PARTS), 3))
    for k, (parent, child) in enumerate(zip(PART_PARENT, PART_CHILD, strict=True)):
        joint_BDD = depth[:, parent, :, None] * depth[:, child, None, :]
        for column, mask in ((0, nearer_DD < -limit_K[k]), (2, nearer_DD > limit_K[k])):
            found[:, k, column] = (joint_BDD * mask).sum((1, 2))
    found[..., 1] = np.clip(1 - found[..., 0] - found[..., 2], 0, 1)
    return found


@torch.inference_mode()
def opinions(
    predictor: Predictor, images_HW3: Sequence[Image], boxes: Sequence[Box]
) -> list[Opinion]:
    """Predict the relations of one person per image."""
    if not images_HW3:
        return []
    card = predictor.card
    crops = [square_crop(box, card.pose.crop_px) for box in boxes]
    wider = [replace(crop, side_px=_WIDER * crop.side_px) for crop in crops]
    crop_B3HW = network_input(images_HW3, crops, predictor.device)
    limit_K = 0.5 * np.asarray(card.bones.mean_mm)

    def look(crop: torch.Tensor) -> tuple[Any, Array]:
        out = predictor.outputs(crop)
        depth = out.decoded.marginals_xyz[2].float().cpu().numpy().astype(np.float64)
        volume = card.pose.volume
        cell_mm = volume.cell_mm * volume.cells / depth.shape[-1]
        return out, relation_probabilities(depth, cell_mm, limit_K)

    out, straight = look(crop_B3HW)
    _, mirrored = look(crop_B3HW.flip(-1))
    _, apart = look(network_input(images_HW3, wider, predictor.device))
    found = joints_in_images(out.decoded.voxel_BJ3, card.pose.volume, crops)
    features = out.pose.feature_BC.float().cpu().numpy()
    return [
        Opinion(
            probability_K3=straight[i],
            others_VK3=np.stack([mirrored[i][list(FLIP_PARTS)], apart[i]]),
            joints2d_J2=found.image_px_BJ2[i],
            feature_C=features[i],
        )
        for i in range(len(crops))
    ]
