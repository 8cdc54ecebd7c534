"""Second looks: predict people again, from rotated and tighter crops, if the network is unsure.

The encoder was trained on upright, tightly cropped people, and takes left for right where it sees
little of a face. An unsure person is therefore predicted in four more crops, each turned by another
quarter and tighter than the first. Every pass of the network, those over mirror images included,
votes for where a joint is, and the place that most of the confidence agrees on is taken. On LSPET
1-250, which the constants were chosen on, PCK rises from 68.4 to 78.4 %; the surest of up to five
looks has 73.4 %.

Shape suffixes: B crops, H passes of a crop, P passes of a person, J 18 joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.data.transforms import Crop
from hemlets.models.codecs import VolumeSpec, from_view
from hemlets.models.crops import joints_in_images

_LIMBS: Final = [
    joint for joint in Joint
    if joint.name.endswith(("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST"))
]  # fmt: skip
SURE: Final = 0.7
"""Mean confidence of the limb joints from which on no second look is needed."""
_TURNS_RAD: Final = (0.0, np.pi / 2, np.pi, -np.pi / 2)
_TIGHTER: Final = 0.8
"""Side of the second crops, relative to that of the first."""
_NEAR: Final = 0.05
"""Standard deviation of places that agree, as a fraction of the first crop's side."""
_TRUST: Final = 8
"""Exponent of the limbs' mean confidence in the weight of a pass' votes and of a look's depth."""
_LEAST: Final = 1e-3
"""Confidence of a pass that has none, so that some place wins."""
_SMALLEST_GROUP: Final = 8
"""Least batch size of second looks."""


class NetworkAnswer(NamedTuple):
    """Outputs of the network for B crops.

    Attributes:
        voxel_BJ3: Joints in voxels of the volume.
        rotation_BR33: SMPL rotations in the frame of each crop.
        betas_BS: SMPL β.
        confidence_BJ: Confidence of each joint, 0–1; NaN where the network gives none.
        passes_BHJ4: Joints in voxels and their confidence by each pass of the network: that over
            the crop and, with the flip test, that over its mirror image, mirrored back.
    """

    voxel_BJ3: Tensor
    rotation_BR33: Tensor
    betas_BS: Tensor
    confidence_BJ: Tensor
    passes_BHJ4: Tensor

    @classmethod
    def joined(cls, answers: Iterable[Self]) -> Self:
        """Join the answers for successive crops."""
        return cls(*map(torch.cat, zip(*answers, strict=True)))


Look = Callable[[Sequence[int], Sequence[Crop]], NetworkAnswer]
"""Function that predicts crops of the people with the given numbers."""


def unsure(answer: NetworkAnswer) -> npt.NDArray[np.bool_]:
    """Mark (B,) the people whom one look is not enough for."""
    sure_B = answer.confidence_BJ[:, _LIMBS].float().mean(1)
    return (sure_B < SURE).cpu().numpy()


def look_again(
    crops: Sequence[Crop],
    first: NetworkAnswer,
    volume: VolumeSpec,
    look: Look,
    *,
    allowed: Sequence[bool] | None = None,
) -> tuple[list[Crop], NetworkAnswer]:
    """Return crops and predictions in which the looks at unsure people are united.

    Rotations, β and the crop are those of the look with the pass whose places have most votes.

    Args:
        crops: Of the first look.
        first: What it saw.
        volume: That joints are decoded in.
        look: Looks as the first look did. It is given as many crops at a time as there are people,
            or eight, so that a second look needs hardly more memory than the first.
        allowed: Whether each person may be looked at again; everybody by default.
    """
    again = [
        number for number in np.flatnonzero(unsure(first)).tolist()
        if allowed is None or allowed[number]
    ]  # fmt: skip
    if not again:
        return list(crops), first
    asked = [
        (number, replace(crop, side_px=_TIGHTER * crop.side_px, angle_rad=crop.angle_rad + turn))
        for number in again
        for crop in [crops[number]]
        for turn in _TURNS_RAD
    ]
    look = _in_groups(look, max(len(crops), _SMALLEST_GROUP))
    second = look([number for number, _ in asked], [crop for _, crop in asked])
    chosen, united = list(crops), NetworkAnswer(*(value.clone() for value in first))
    for row, number in enumerate(again):
        rows = slice(row * len(_TURNS_RAD), (row + 1) * len(_TURNS_RAD))
        views = [crops[number], *(crop for _, crop in asked[rows])]
        answers = NetworkAnswer(
            *(torch.cat([a[number, None], b[rows]]) for a, b in zip(first, second, strict=True))
        )
        best, voxel_J3, confidence_J = _united(views, answers, volume)
        chosen[number] = views[best]
        for value, better in zip(united, answers, strict=True):
            value[number] = better[best]
        united.voxel_BJ3[number], united.confidence_BJ[number] = voxel_J3, confidence_J
    return chosen, united


def _united(
    crops: Sequence[Crop], answers: NetworkAnswer, volume: VolumeSpec
) -> tuple[int, Tensor, Tensor]:
    """Unite the looks at one person.

    Returns:
        Number of the look with the pass whose places have most votes; joints (18, 3) in its
        voxels; their confidence (18,): the geometric mean of the passes' confidence there and of
        the share of all votes that are for the place, NaN where no pass has any.
    """
    passes_PJ4 = answers.passes_BHJ4.flatten(0, 1).cpu().double()
    look_P = np.arange(len(passes_PJ4)) // answers.passes_BHJ4.shape[1]
    found = joints_in_images(passes_PJ4[..., :3], volume, [crops[look] for look in look_P.tolist()])
    told_PJ = passes_PJ4[..., 3]
    sure_PJ = told_PJ.nan_to_num(0.0).clamp(_LEAST).numpy()
    vote_PJ = sure_PJ * sure_PJ[:, _LIMBS].mean(1, keepdims=True) ** _TRUST
    place_PJ2 = found.image_px_BJ2 / (_NEAR * crops[0].side_px)
    near_PPJ = np.exp(-0.5 * ((place_PJ2[:, None] - place_PJ2) ** 2).sum(-1))
    agreed_PJ = (near_PPJ * vote_PJ).sum(1)
    best = int(look_P[agreed_PJ[:, _LIMBS].sum(1).argmax()])
    for_PJ = near_PPJ[agreed_PJ.argmax(0), :, np.arange(N_JOINTS)].T * vote_PJ
    share_PJ = for_PJ / for_PJ.sum(0)
    image_px_J2 = (share_PJ[..., None] * found.image_px_BJ2).sum(0)
    trust_L = answers.confidence_BJ[:, _LIMBS].cpu().double().mean(1).clamp(_LEAST).numpy()
    trust_P = trust_L[look_P] ** _TRUST
    depth_mm_J = trust_P @ found.depth_mm_BJ / trust_P.sum()
    voxel_1J3 = volume.to_voxels(
        torch.from_numpy(crops[best].to_crop(image_px_J2))[None],
        torch.from_numpy(depth_mm_J)[None],
    )
    agreement_J = for_PJ.sum(0) / vote_PJ.sum(0)
    confidence_J = np.sqrt((share_PJ * sure_PJ).sum(0) * agreement_J)
    confidence_J[told_PJ.isnan().all(0).numpy()] = np.nan
    return best, voxel_1J3[0], torch.from_numpy(confidence_J)


def _in_groups(look: Look, size: int) -> Look:
    """Limit ``look`` to ``size`` crops at a time."""

    def grouped(numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
        starts = range(0, len(crops), size)
        return NetworkAnswer.joined(
            look(numbers[at : at + size], crops[at : at + size]) for at in starts
        )

    return grouped


def upright(answer: NetworkAnswer, crops: Sequence[Crop]) -> Tensor:
    """Rotations (B, 24, 3, 3) with the crop's rotation removed from the root."""
    cos_sin = [(math.cos(crop.angle_rad), math.sin(crop.angle_rad)) for crop in crops]
    back_B33 = torch.tensor([[[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]] for cos, sin in cos_sin])
    return from_view(answer.rotation_BR33, back_B33)
