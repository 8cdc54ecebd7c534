"""Calibrate a finished model's predictions on images that it was not trained on.

Two results: the lengths of parts in predicted skeletons, from which distance is estimated; and the
confidence threshold of person presence. Both come from the validation split, because networks
predict better on training images. A source without validation rows contributes training rows to
the lengths, because lengths differ between datasets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Bool, Floating
from hemlets.core.skeleton import Joint
from hemlets.data.table import Annotations, ShardReader, stored_images
from hemlets.data.transforms import Crop
from hemlets.inference.looks import NetworkAnswer, look_again
from hemlets.inference.predictor import answer_of
from hemlets.models import HemletsPosh, PoseNetworkConfig
from hemlets.models.codecs import PERSON_STATISTIC, person_confidence
from hemlets.models.codecs.bones import BoneLengths
from hemlets.models.codecs.decode import lengths_at_depth, undistorted_px
from hemlets.models.crops import ImageJoints, joints_in_images, network_input
from hemlets.models.flip_tta import flip_tta
from hemlets.models.fused import FusedModel, can_prepare
from hemlets.models.model_folder import PersonThreshold
from hemlets.training.objectives import downscale
from hemlets.training.row_crops import row_crops

RowsUsed = dict[str, dict[str, int]]
"""Number of rows by source and split."""


class Calibration(NamedTuple):
    """Result of a calibration.

    Attributes:
        bones: Lengths of predicted parts; None if no row has a whole skeleton and a camera.
        person: Confidence threshold; None without people, empty scenes or heatmaps.
        rows: Rows that the lengths were measured on.
    """

    bones: BoneLengths | None
    person: PersonThreshold | None
    rows: RowsUsed | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationRows:
    """Rows for a calibration.

    Attributes:
        people: Validation rows of people, for lengths and threshold.
        backgrounds: Validation rows without a person, for the threshold.
        other_sources: Rows of sources without a whole skeleton in ``people``, for the lengths.
        shares: Whole training skeletons by source: the weights of the sources' lengths.
    """

    people: Annotations
    backgrounds: Annotations
    other_sources: Annotations
    shares: Mapping[str, float]

    @classmethod
    def chosen(
        cls, train: Annotations, held_out: Annotations, backgrounds: Annotations, count: int
    ) -> Self:
        """Choose at most ``count`` validation rows, and as many of each source that they lack."""
        people = spread(held_out, count)
        shares = Counter(train.source[_whole(train)].tolist())
        others = [people.take(np.zeros(0, np.int64))]
        for source in sorted(shares.keys() - set(people.source[_whole(people)])):
            of_source = (
                rows.take(_whole(rows) & (rows.source == source)) for rows in (held_out, train)
            )
            others.append(spread(next(filter(len, of_source)), count))
        return cls(
            people=people,
            backgrounds=spread(backgrounds, count),
            other_sources=Annotations.concatenate(others),
            shares=shares,
        )


class _Predicted(NamedTuple):
    joints: ImageJoints
    confidence_N: Floating | None
    one_look_N: Floating | None = None


def calibrate(
    model: HemletsPosh,
    rows: CalibrationRows,
    shards: Path,
    *,
    flip_test: bool,
    shrink: int,
    device: torch.device,
    batch_size: int = 8,
    second_look: bool = False,
) -> Calibration:
    """Predict images in float32 and measure lengths and threshold.

    Args:
        model: The whole model.
        rows: The rows to predict.
        shards: Folder of their images.
        flip_test: Whether the model will be used with the flip test.
        shrink: Downscaling factor of crops in training.
        device: The model's device.
        batch_size: Largest number of crops per forward pass, twice as many with the flip test. 8
            need no more memory in float32 than a training step on 32.
        second_look: Whether uncertain people will be predicted a second time.
    """
    was_training = model.training
    model.eval()
    prepared = device.type == "cpu" and can_prepare("float32")
    network = FusedModel(model) if prepared else model
    predict = partial(
        _look,
        model.pose.config,
        partial(answer_of, partial(flip_tta, network) if flip_test else network),
        shards=shards,
        shrink=shrink,
        device=device,
        batch_size=batch_size,
        second_look=second_look,
    )
    with torch.inference_mode():
        seen, empty = predict(rows.people), predict(rows.backgrounds)
        predicted_rows = [(rows.people, seen), (rows.other_sources, predict(rows.other_sources))]
    model.train(was_training)
    bones, used = _bones(predicted_rows, rows.shares)
    person = None
    if seen is not None and empty is not None:
        of_people, of_backgrounds = seen.confidence_N, empty.confidence_N
        if of_people is not None and of_backgrounds is not None:
            one_look = None
            if seen.one_look_N is not None and empty.one_look_N is not None:
                one_look = best_threshold(seen.one_look_N, empty.one_look_N)
            person = PersonThreshold.measured(
                best_threshold(of_people, of_backgrounds),
                of_people,
                of_backgrounds,
                statistic=PERSON_STATISTIC,
                one_look=one_look,
            )
    return Calibration(bones, person, used)


def spread(rows: Annotations, count: int) -> Annotations:
    """Take at most ``count`` rows, evenly spaced over the table."""
    if len(rows) <= count:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, count).astype(np.int64))


def pooled(parts: Sequence[tuple[float, BoneLengths]]) -> BoneLengths:
    """Pool the lengths of groups of skeletons, given as (weight, lengths).

    The variance is the mean within-group variance plus the variance of the groups' means.
    """
    if len(parts) == 1:
        return parts[0][1]
    weight_S = np.array([weight for weight, _ in parts])
    share_S = weight_S / weight_S.sum()
    mean_SK = np.array([group.mean_mm for _, group in parts])
    spread_SK = np.array([group.spread_mm for _, group in parts])
    mean_K = share_S @ mean_SK
    spread_K = np.sqrt(share_S @ (spread_SK**2 + (mean_SK - mean_K) ** 2))
    return BoneLengths(mean_mm=tuple(mean_K.tolist()), spread_mm=tuple(spread_K.tolist()))


def _whole(rows: Annotations) -> Bool:
    """Mark rows (N,) with all joints in 3D and a camera."""
    whole: Bool = rows.valid3d.all(1) & rows.camera_valid
    return whole


def _bones(
    predicted_rows: Iterable[tuple[Annotations, _Predicted | None]], shares: Mapping[str, float]
) -> tuple[BoneLengths | None, RowsUsed | None]:
    """Measure lengths by source and pool them.

    Without training skeletons of any source, all rows are pooled alike.
    """
    lengths: dict[str, Floating] = {}
    counts: RowsUsed = {}
    for rows, seen in predicted_rows:
        if seen is None:
            continue
        whole = _whole(rows)
        for source in sorted(set(rows.source[whole].tolist())):
            own = whole & (rows.source == source)
            lengths[source] = lengths_at_depth(
                undistorted_px(
                    seen.joints.image_px_BJ2[own], rows.camera[own], rows.column("distortion")[own]
                ),
                seen.joints.depth_mm_BJ[own],
                rows.camera[own],
                rows.joints3d_mm[own, Joint.PELVIS, 2],
            )
            counts[source] = dict(Counter(rows.column("split")[own].tolist()))
    if not lengths:
        return None, None
    weights = {source: float(shares.get(source, 0)) for source in lengths}
    if not any(weights.values()):
        weights = {source: float(len(own)) for source, own in lengths.items()}
    used = [source for source, weight in weights.items() if weight]
    parts = [(weights[source], BoneLengths.measured(lengths[source])) for source in used]
    return pooled(parts), {source: counts[source] for source in used}


def best_threshold(of_people_N: Floating, of_backgrounds_M: Floating) -> float:
    """Find the confidence with the smallest mean of both error rates.

    Candidates lie half way between neighbouring measured confidences, plus 0 and 1. Of equally good
    candidates, the one in the widest gap is chosen.
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
    config: PoseNetworkConfig,
    answer: Callable[[Tensor], NetworkAnswer],
    rows: Annotations,
    *,
    shards: Path,
    shrink: int,
    device: torch.device,
    batch_size: int,
    second_look: bool,
) -> _Predicted | None:
    """Predict joints and, with heatmaps, person confidences of all rows."""
    if not len(rows):
        return None
    volume = config.volume
    joints: list[ImageJoints] = []
    confidences: list[Floating] = []
    of_one_look: list[Floating] = []
    reader = ShardReader(shards)
    batches = row_crops(
        rows, shards, crop_px=volume.crop_px, device=device, shrink=shrink, batch_size=batch_size
    )
    for batch in batches:
        crops, seen = batch.crops, answer(batch.image_B3HW)
        if second_look and config.keypoints:
            of_one_look += _person_confidences(seen)

            def look(numbers: Sequence[int], crops: Sequence[Crop], start: int) -> NetworkAnswer:
                images = stored_images(rows, (start + number for number in numbers), reader)
                return answer(downscale(network_input(images, crops, device), shrink))

            again = partial(look, start=batch.rows.start)
            crops, seen = look_again(crops, seen, volume, again)
        joints.append(joints_in_images(seen.voxel_BJ3, volume, crops))
        confidences += _person_confidences(seen)
    return _Predicted(
        ImageJoints(*(np.concatenate(parts) for parts in zip(*joints, strict=True))),
        np.concatenate(confidences) if confidences else None,
        np.concatenate(of_one_look) if of_one_look else None,
    )


def _person_confidences(answer: NetworkAnswer) -> list[Floating]:
    """The batch's confidences (B,) in a list; none where joints have no confidence."""
    if answer.confidence_BJ.isnan().any():
        return []
    return [person_confidence(answer.confidence_BJ.cpu().numpy())]
