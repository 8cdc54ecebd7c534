"""What a finished model's predictions are read by, measured on the validation split.

How long the parts of its skeletons come out, which fixes their distance; and from which
confidence on there is a person.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from hemlets.annotations import Annotations, ShardReader, stored_images
from hemlets.codecs import PERSON_STATISTIC, decode_heatmaps, person_confidence
from hemlets.codecs.bones import BoneLengths
from hemlets.codecs.decode import lengths_at_depth
from hemlets.models import HemletsPosh
from hemlets.models.crops import ImageJoints, joints_in_images, network_input
from hemlets.models.flip import both_ways
from hemlets.models.model_folder import PersonThreshold
from hemlets.skeleton import Joint
from hemlets.training.objectives import shrunk
from hemlets.transforms import square_crop

__all__ = ["Calibration", "best_threshold", "calibrate"]

Array = npt.NDArray[np.floating]


class Calibration(NamedTuple):
    """What the validation split says of a model.

    Attributes:
        bones: Lengths of predicted parts; None where no row has a whole skeleton and a camera.
        person: None where there are no people or no empty scenes, or no heatmaps.
    """

    bones: BoneLengths | None
    person: PersonThreshold | None


class _Seen(NamedTuple):
    joints: ImageJoints
    confidence_N: Array | None


def calibrate(
    model: HemletsPosh,
    people: Annotations,
    backgrounds: Annotations,
    shards: Path,
    *,
    flip_test: bool,
    shrink: int,
    device: torch.device,
    batch_size: int = 64,
) -> Calibration:
    """Predict validation images in float32, as they are predicted later.

    Args:
        model: The whole model.
        people: Validation rows of people.
        backgrounds: Validation rows without a person.
        shards: Folder of their images.
        flip_test: Whether predictions will be averaged with the mirrored crop's.
        shrink: What crops were averaged down by in training.
        device: Where the model is.
        batch_size: Crops that go through the model together.
    """
    was_training = model.training
    model.eval()
    look = partial(
        _look, model, shards=shards, flip_test=flip_test, shrink=shrink, device=device,
        batch_size=batch_size,
    )  # fmt: skip
    seen, empty = look(people), look(backgrounds)
    model.train(was_training)
    bones = None
    whole = people.valid3d.all(1) & people.camera_valid
    if seen is not None and whole.any():
        bones = BoneLengths.measured(
            lengths_at_depth(
                seen.joints.image_px_BJ2[whole],
                seen.joints.depth_mm_BJ[whole],
                people.camera[whole],
                people.joints3d_mm[whole, Joint.PELVIS, 2],
            )
        )
    person = None
    if seen is not None and empty is not None:
        of_people, of_backgrounds = seen.confidence_N, empty.confidence_N
        if of_people is not None and of_backgrounds is not None:
            person = PersonThreshold.measured(
                best_threshold(of_people, of_backgrounds),
                of_people,
                of_backgrounds,
                statistic=PERSON_STATISTIC,
            )
    return Calibration(bones, person)


def best_threshold(of_people_N: Array, of_backgrounds_M: Array) -> float:
    """The confidence at which the mean of both error rates is least.

    Half way between two measured confidences, or 0 or 1, where nobody or everybody is refused;
    of several that are as good, the one in the widest gap.
    """
    people, backgrounds = np.sort(of_people_N), np.sort(of_backgrounds_M)
    values = np.concatenate([[0.0], np.unique(np.concatenate([people, backgrounds])), [1.0]])
    candidates = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    missed = np.searchsorted(people, candidates) / len(people)
    false_alarms = 1 - np.searchsorted(backgrounds, candidates) / len(backgrounds)
    errors = missed + false_alarms
    # Rates are ratios of whole numbers, which are equal up to rounding only.
    best = np.flatnonzero(errors <= errors.min() + 1e-9)
    return float(candidates[best[np.argmax(gaps[best])]])


def _look(
    model: HemletsPosh,
    rows: Annotations,
    *,
    shards: Path,
    flip_test: bool,
    shrink: int,
    device: torch.device,
    batch_size: int,
) -> _Seen | None:
    """Joints and, from heatmaps, the persons' confidences of all rows."""
    if not len(rows):
        return None
    volume = model.pose.config.volume
    reader = ShardReader(shards)
    crops = [square_crop(box, volume.crop_px) for box in rows.box_xyxy]
    joints: list[ImageJoints] = []
    confidences: list[Array] = []
    for start in range(0, len(rows), batch_size):
        part = range(start, min(start + batch_size, len(rows)))
        own = crops[part.start : part.stop]
        with torch.inference_mode():
            crop_B3HW = shrunk(
                network_input(stored_images(rows, part, reader), own, device), shrink
            )
            out = both_ways(model, crop_B3HW) if flip_test else model(crop_B3HW)
        joints.append(joints_in_images(out.decoded.voxel_BJ3, volume, own))
        if out.pose.heatmap_BJHW is not None:
            peak_BJ = decode_heatmaps(out.pose.heatmap_BJHW)[1].clamp(0, 1)
            confidences.append(person_confidence(peak_BJ.cpu().numpy()))
    return _Seen(
        ImageJoints(*(np.concatenate(parts) for parts in zip(*joints, strict=True))),
        np.concatenate(confidences) if confidences else None,
    )
