"""Second looks: predict people again, from rotated and tighter crops, if the network is unsure.

The encoder was trained on upright, tightly cropped people. A rotated crop improves predictions of
people lying or upside down, and a crop around the predicted joints those of people who fill little
of their box. The result with the highest keypoint scores is used. On LSPET 1-250, which the
constants were chosen on, PCK rises by 4 to 5 points.

Shape suffixes: B crops, J 18 joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.core.skeleton import Joint
from hemlets.data.transforms import Crop
from hemlets.models.codecs import VolumeSpec, from_view, person_confidence
from hemlets.models.crops import joints_in_images

_LIMBS: Final = [
    joint for joint in Joint
    if joint.name.endswith(("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST"))
]  # fmt: skip
SURE: Final = 0.6
"""Mean confidence of the limb joints above which no second look is needed."""
_UNSURE: Final = 0.5
"""Mean confidence below which rotated crops are tried."""
_CLEARLY: Final = 0.05
"""Least gain of confidence for a rotated crop to replace the upright one."""
_MARGIN: Final = 1.35
"""Side of the new crop, relative to the longer side of the box around the joints."""
_SIDES: Final = (0.6, 1.3)
"""Smallest and largest side of the new crop, relative to the old side."""


class NetworkAnswer(NamedTuple):
    """Outputs of the network for B crops.

    Attributes:
        voxel_BJ3: Joints in voxels of the volume.
        rotation_BR33: SMPL rotations in the frame of each crop.
        betas_BS: SMPL β.
        confidence_BJ: Confidence of each joint, 0–1; NaN from a network without heatmaps.
    """

    voxel_BJ3: Tensor
    rotation_BR33: Tensor
    betas_BS: Tensor
    confidence_BJ: Tensor

    def rows(self, numbers: Sequence[int]) -> NetworkAnswer:
        """Select crops by number."""
        return NetworkAnswer(*(value[list(numbers)] for value in self))


_STEPS: Final = 40
"""Centre and side of a new crop are rounded to this fraction of the old side. The batch composition
changes the last digits of the first prediction, and rounding keeps the second crop the same."""
_SMALLEST_GROUP: Final = 8
"""Least batch size of second looks."""

Look = Callable[[Sequence[int], Sequence[Crop]], NetworkAnswer]
"""Function that predicts crops of the people with the given numbers."""


def unsure(answer: NetworkAnswer) -> npt.NDArray[np.bool_]:
    """Mark (B,) the people whom one look is not enough for."""
    return _mean_confidence(answer) < SURE


def look_again(
    crops: Sequence[Crop],
    first: NetworkAnswer,
    volume: VolumeSpec,
    look: Look,
    *,
    allowed: Sequence[bool] | None = None,
) -> tuple[list[Crop], NetworkAnswer]:
    """Return the best crops and predictions; the first prediction if it was sure.

    Args:
        crops: Of the first look.
        first: What it saw.
        volume: That joints are decoded in.
        look: Looks as the first look did. It is given no more crops at a time than there are
            people, so that a second look needs no more memory than the first.
        allowed: Whether each person may be looked at again; everybody by default.
    """
    look = _in_groups(look, max(len(crops), _SMALLEST_GROUP))
    sure_B = _mean_confidence(first)
    again = [
        number for number in np.flatnonzero(sure_B < SURE).tolist()
        if allowed is None or allowed[number]
    ]  # fmt: skip
    if not again:
        return list(crops), first
    seen_B = _surer_half(first)
    seen = {number: (crops[number], first.rows([number])) for number in again}
    turned = [number for number in again if sure_B[number] < _UNSURE]
    if turned:
        asked = [
            (number, replace(crops[number], angle_rad=crops[number].angle_rad + quarter))
            for number in turned
            for quarter in (np.pi / 2, np.pi, -np.pi / 2)
        ]
        glances = look([number for number, _ in asked], [crop for _, crop in asked])
        best = {number: sure_B[number] + _CLEARLY for number in turned}
        halves = _surer_half(glances)
        for row, ((number, crop), sure) in enumerate(
            zip(asked, _mean_confidence(glances), strict=True)
        ):
            if sure > best[number] and halves[row] > seen_B[number]:
                best[number], seen[number] = sure, (crop, glances.rows([row]))
    closer = [_around_joints(*seen[number], volume) for number in again]
    second = look(again, closer)
    chosen = list(crops)
    values = [value.clone() for value in first]
    halves = _surer_half(second)
    for row, sure in enumerate(_mean_confidence(second)):
        number = again[row]
        if sure > sure_B[number] and halves[row] > seen_B[number]:
            chosen[number] = closer[row]
            for value, better in zip(values, second, strict=True):
                value[number] = better[row]
    return chosen, NetworkAnswer(*values)


def _in_groups(look: Look, size: int) -> Look:
    """Limit ``look`` to ``size`` crops at a time."""

    def grouped(numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
        starts = range(0, len(crops), size)
        seen = [look(numbers[at : at + size], crops[at : at + size]) for at in starts]
        return NetworkAnswer(*map(torch.cat, zip(*seen, strict=True)))

    return grouped


def upright(answer: NetworkAnswer, crops: Sequence[Crop]) -> Tensor:
    """Rotations (B, 24, 3, 3) with the crop's rotation removed from the root."""
    cos_sin = [(math.cos(crop.angle_rad), math.sin(crop.angle_rad)) for crop in crops]
    back_B33 = torch.tensor([[[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]] for cos, sin in cos_sin])
    return from_view(answer.rotation_BR33, back_B33)


def _mean_confidence(answer: NetworkAnswer) -> npt.NDArray[np.floating]:
    return answer.confidence_BJ[:, _LIMBS].float().mean(1).cpu().numpy()


def _surer_half(answer: NetworkAnswer) -> npt.NDArray[np.floating]:
    """Mean confidence of the surer half of the joints.

    In a portrait the limbs that are outside of the picture have none in any crop, and a turned
    crop of it may be a little surer of them, and of nothing else.
    """
    return person_confidence(answer.confidence_BJ.float().cpu().numpy())


def _around_joints(crop: Crop, answer: NetworkAnswer, volume: VolumeSpec) -> Crop:
    """Crop with the same rotation around the predicted joints."""
    points = joints_in_images(answer.voxel_BJ3, volume, [crop]).crop_px_BJ2[0]
    low, high = points.min(0), points.max(0)
    side = _MARGIN * float((high - low).max()) * crop.side_px / crop.size_px
    x, y = crop.to_image((low + high) / 2)
    smallest, largest = (share * crop.side_px for share in _SIDES)
    step = crop.side_px / _STEPS
    side = step * round(min(max(side, smallest), largest) / step)
    centre = [
        old + step * round((float(new) - old) / step)
        for new, old in zip((x, y), crop.centre_px, strict=True)
    ]
    return replace(crop, centre_px=(centre[0], centre[1]), side_px=side)
