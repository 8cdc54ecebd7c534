"""Turn a body onto joints: analytical inverse kinematics with the network's θ as the start.

A shape network answers with the mean of the poses that its input allows, so that its limbs lag
behind joints that are well seen. Bone directions fix every rotation but the twist about the bone
(Li et al. 2021, HybrIK). From the posed body's joints q, the given joints p and their confidence,
in the camera frame:

- Scale: p is multiplied about the pelvis until its torso is as large in the image as that of q.
- Targets t = q + w (p − q), with weights by confidence, smaller along the depth: joints that are
  not seen leave the body as the network has it.
- Torso: the rotation D that minimises Σ |D q − t|² over hips, spine, neck, shoulders and thorax,
  about the pelvis (Kabsch 1976). The larger its angle, the likelier left and right are exchanged:
  beyond a limit it fades out.
- Collarbones: half the smallest rotation from D (q_shoulder − q_thorax) to t_shoulder − t_thorax.
- Upper arms and thighs: the smallest rotation of the bone, as its parents carry it, onto its
  target. Then a twist about the bone, by the angle between the planes in which the network's and
  the targets' elbow or knee bend; a share κ of it is left out for straight limbs, which have none.
- Forearms and shins: the smallest rotation, as above.
- A limb's bone is turned half to its target's direction and half from where the body has its start
  to its target's end, so that the body's bone lengths move ankles and wrists less in the image.
  It is then tilted towards or away from the camera, on its target's side, as far as a bone of its
  length must be for the target's length in the image. The open body's shins are longer against
  its thighs than people's (435 and 379 mm; 454 and 443 mm in Human3.6M), and β hardly changes that.
- Neck: the smallest rotation from q_head − q_neck to t_head − q_neck, where the head is the middle
  of nose and head top.

World rotations W become D W; rotations against the parents follow, those of neck, collarbones,
elbows and knees within their anatomical ranges. Ankles, wrists, spine and head stay as they are
against their parents.

Shape suffixes: B bodies, L = 4 limbs, J = 18 joints, N joints of the torso.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hemlets.body.kinematics import world_rotations
from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.body.model import BodyModel
from hemlets.body.posed_joints import PosedJoints
from hemlets.body.rotations import (
    axis_angles,
    cross_matrices,
    nearest_rotations,
    rotation_matrices,
)
from hemlets.core.skeleton import SMPL_JOINTS, Joint

SURE: Final = 0.65
"""Confidence from which on a joint has its whole weight in the image. Chosen with the next four on
LSPET 1-250 and on the open data's gate split."""
DEPTH_SHARE: Final = 0.2
"""A joint's weight along the depth, relative to its confidence."""
TILT_SHARE: Final = 0.3
"""How much a bone's depth counts against its length in the image, where both ends are sure."""
TORSO_RAD: Final = (0.7, 1.3)
"""Angles of the torso's rotation from which on it fades, and at which none of it is left."""
STRAIGHT: Final = 0.2
"""κ: product of the sines of both bends at which half of the twist is left out."""

_LIMBS: Final = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_UPPER: Final = [SMPL_JOINTS.index(name) for name in _LIMBS]
_LOWER: Final = [
    SMPL_JOINTS.index(name) for name in ("left_knee", "right_knee", "left_elbow", "right_elbow")
]
_COLLARS: Final = [SMPL_JOINTS.index(name) for name in ("left_collar", "right_collar")]
_CHEST: Final = SMPL_JOINTS.index("spine3")
_NECK: Final = SMPL_JOINTS.index("neck")
_BASE: Final = [Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]
_MIDDLE: Final = [Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW]
_END: Final = [Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE, Joint.LEFT_WRIST, Joint.RIGHT_WRIST]
_SHOULDERS: Final = _BASE[2:]
_TORSO: Final = [*_BASE, Joint.SPINE, Joint.NECK, Joint.THORAX]
_HEAD: Final = [Joint.NOSE, Joint.HEAD_TOP]
_LIMITED: Final = [_NECK, *_COLLARS, *_LOWER]
_RANGE: Final = tuple(torch.from_numpy(bound[_LIMITED]) for bound in (LOWER_J3_RAD, UPPER_J3_RAD))
_SCALES: Final = (0.8, 1.25)
"""Smallest and largest scale of the joints."""
_TILTS: Final = 2
"""Gauss-Newton steps of a tilt, after which angles change by a degree."""
_TINY: Final = 1e-6
_OPPOSITE: Final = 1e-3
"""1 + cos of the angle from which on directions are opposite; single precision needs it."""


class JointFollower:
    """Turns bodies onto joints.

    Args:
        body: The body that θ and β belong to.
    """

    def __init__(self, body: BodyModel) -> None:
        self._posed = PosedJoints(body)

    def posed_mm(self, rotation_BJ33: Tensor, betas_BK: Tensor) -> Tensor:
        """Return the bodies' joints (B, 18, 3) in the camera frame, relative to the pelvis."""
        posed: Tensor = 1000 * self._posed(rotation_BJ33, betas_BK)
        return posed

    def __call__(
        self, rotation_BJ33: Tensor, betas_BK: Tensor, joints_BJ3_mm: Tensor, confidence_BJ: Tensor
    ) -> Tensor:
        """Return θ (B, 24, 3, 3) of the bodies turned onto the joints.

        Args:
            rotation_BJ33: θ (B, 24, 3, 3); the root's turns into the camera frame.
            betas_BK: β.
            joints_BJ3_mm: (B, 18, 3) in the camera frame, relative to the pelvis.
            confidence_BJ: (B, 18) in 0–1; not finite counts as 1.
        """
        posed = self.posed_mm(rotation_BJ33, betas_BK)
        return turn_onto(rotation_BJ33, posed, joints_BJ3_mm, confidence_BJ)


def turn_onto(
    rotation_BJ33: Tensor, posed_BJ3_mm: Tensor, joints_BJ3_mm: Tensor, confidence_BJ: Tensor
) -> Tensor:
    """Do what :class:`JointFollower` does, for bodies whose joints are known.

    Args:
        rotation_BJ33: θ (B, 24, 3, 3).
        posed_BJ3_mm: The bodies' joints, see `JointFollower.posed_mm`.
        joints_BJ3_mm: Likewise of the targets.
        confidence_BJ: (B, 18) in 0–1; not finite counts as 1.
    """
    sure_BJ1 = confidence_BJ.nan_to_num(1.0)[..., None].clamp(0, 1)
    image_BJ1 = (sure_BJ1 / SURE).clamp(max=1)
    weight_BJ3 = torch.cat([image_BJ1, image_BJ1, DEPTH_SHARE * sure_BJ1], -1)

    def targets(body_BJ3: Tensor) -> Tensor:
        """Targets from joints that are scaled to a body."""
        scale_B11 = _scale(body_BJ3, joints_BJ3_mm, image_BJ1)
        return posed_BJ3_mm + weight_BJ3 * (scale_B11 * joints_BJ3_mm - posed_BJ3_mm)

    # A torso that is turned out of the image looks small, so that the turned one scales the limbs.
    torso_B133 = _torso_rotation(posed_BJ3_mm, targets(posed_BJ3_mm))[:, None]
    target = targets(_apply(torso_B133, posed_BJ3_mm))
    return _turned(rotation_BJ33, posed_BJ3_mm, torso_B133, target, image_BJ1)


def _scale(posed_BJ3: Tensor, joints_BJ3: Tensor, weight_BJ1: Tensor) -> Tensor:
    """Scale (B, 1, 1) at which the joints' torsos are as large in the image as the body's."""
    weight_BN1 = weight_BJ1[:, _TORSO]
    weight_BN1 = weight_BN1 / weight_BN1.sum(1, keepdim=True).clamp_min(_TINY)

    def size(joints_BJ3: Tensor) -> Tensor:
        flat = joints_BJ3[:, _TORSO, :2]
        middle = (weight_BN1 * flat).sum(1, keepdim=True)
        return (weight_BN1 * (flat - middle).square()).sum((1, 2)).sqrt()

    # A millimetre keeps joints of no weight, and those in one point, as they are.
    scale_B = (size(posed_BJ3) + 1) / (size(joints_BJ3) + 1)
    return scale_B.clamp(*_SCALES)[:, None, None]


def _turned(
    rotation_BJ33: Tensor,
    posed_BJ3: Tensor,
    torso_B133: Tensor,
    target_BJ3: Tensor,
    weight_BJ1: Tensor,
) -> Tensor:
    """Return rotations against the parents of bodies turned onto targets."""
    world = world_rotations(rotation_BJ33)

    def bones(ends: list[Joint], starts: list[Joint]) -> tuple[Tensor, Tensor]:
        """Bones of the body, carried by the torso, and of the targets."""
        ours, theirs = (joints[:, ends] - joints[:, starts] for joints in (posed_BJ3, target_BJ3))
        return _apply(torso_B133, ours), theirs

    clavicle, wanted = bones(_SHOULDERS, [Joint.THORAX])
    half_way = _unit(clavicle) + _unit(wanted)
    collar_B233 = swing(clavicle, half_way)
    upper, upper_target = bones(_MIDDLE, _BASE)
    lower, lower_target = bones(_END, _MIDDLE)
    # What the parents of the four limbs add to the torso's rotation.
    carried = torch.cat([torch.eye(3).to(collar_B233).expand_as(collar_B233), collar_B233], 1)
    base = _apply(torso_B133, posed_BJ3[:, _BASE])
    base[:, 2:] += _apply(collar_B233, clavicle) - clavicle
    upper_target = _tilted(
        (upper_target + target_BJ3[:, _MIDDLE] - base) / 2,
        upper.norm(dim=-1, keepdim=True),
        weight_BJ1[:, _MIDDLE] * weight_BJ1[:, _BASE],
    )
    first = swing(_apply(carried, upper), upper_target)
    middle = base + _apply(first @ carried, upper)
    lower_target = _tilted(
        (lower_target + target_BJ3[:, _END] - middle) / 2,
        lower.norm(dim=-1, keepdim=True),
        weight_BJ1[:, _END] * weight_BJ1[:, _MIDDLE],
    )
    bent = _apply(first @ carried, lower)
    axis = _unit(_apply(first @ carried, upper))
    first = _twist(axis, bent, lower_target) @ first
    second = swing(_apply(first @ carried, lower), lower_target)
    neck = _apply(torso_B133, posed_BJ3[:, [Joint.NECK]])
    head = _apply(torso_B133, posed_BJ3[:, _HEAD]).mean(1, keepdim=True) - neck
    nod = swing(head, target_BJ3[:, _HEAD].mean(1, keepdim=True) - neck)

    result = rotation_BJ33.clone()
    result[:, 0] = torso_B133[:, 0] @ rotation_BJ33[:, 0]
    # Each turn is the camera frame's; its parents' world rotation takes it to theirs.
    chest = torso_B133 @ world[:, [_CHEST]]
    collars = collar_B233 @ torso_B133 @ world[:, _COLLARS]
    above = torch.cat([(torso_B133 @ world[:, [0]]).expand(-1, 2, -1, -1), collars], 1)
    thighs = first @ carried @ torso_B133 @ world[:, _UPPER]
    shins = second @ first @ carried @ torso_B133 @ world[:, _LOWER]
    result[:, _COLLARS] = chest.mT @ collars
    result[:, [_NECK]] = chest.mT @ nod @ torso_B133 @ world[:, [_NECK]]
    result[:, _UPPER] = above.mT @ thighs
    result[:, _LOWER] = thighs.mT @ shins
    low, high = (bound.to(result) for bound in _RANGE)
    result[:, _LIMITED] = rotation_matrices(axis_angles(result[:, _LIMITED]).clamp(low, high))
    return result


def _torso_rotation(posed_BJ3: Tensor, target_BJ3: Tensor) -> Tensor:
    """Rotation (B, 3, 3) about the pelvis, faded out where it is too large to be true."""
    turn_B3 = axis_angles(nearest_rotations(target_BJ3[:, _TORSO].mT @ posed_BJ3[:, _TORSO]))
    full, none = TORSO_RAD
    share_B1 = ((none - turn_B3.norm(dim=-1, keepdim=True)) / (none - full)).clamp(0, 1)
    return rotation_matrices(turn_B3 * share_B1)


def _tilted(target_BL3: Tensor, length_BL1: Tensor, weight_BL1: Tensor) -> Tensor:
    """Directions in which bones of given lengths look most like their targets.

    With the target's length r in the image and its depth z, a bone of length L at an angle φ to the
    image plane minimises (L cos φ − r)² + λ (L sin φ − z)². λ falls from 1 to `TILT_SHARE` with the
    weight. From the target's own angle, Gauss-Newton.
    """
    depth_share = 1 - (1 - TILT_SHARE) * weight_BL1
    across = target_BL3[..., :2].norm(dim=-1, keepdim=True)
    image, depth = across / length_BL1, target_BL3[..., 2:] / length_BL1
    angle = torch.atan2(depth, image)
    for _ in range(_TILTS):
        sine, cosine = angle.sin(), angle.cos()
        step = sine * (cosine - image) - depth_share * cosine * (sine - depth)
        angle = angle + step / (sine.square() + depth_share * cosine.square())
    angle = angle.clamp(-torch.pi / 2, torch.pi / 2)
    flat = target_BL3[..., :2] / across.clamp_min(_TINY)
    return torch.cat([flat * angle.cos(), angle.sin()], -1)


def swing(start_BL3: Tensor, end_BL3: Tensor) -> Tensor:
    """Smallest rotations (B, L, 3, 3) from directions to directions; none where one has no length.

    With unit vectors a, b and v = a × b it is I + [v] + [v]² / (1 + a·b) (Rodrigues' formula).
    Opposite directions, to within 2.5°, have no smallest rotation and stay.
    """
    a, b = _unit(start_BL3), _unit(end_BL3)
    cross = cross_matrices(a.cross(b, dim=-1))
    cosine = (a * b).sum(-1)[..., None, None]
    eye = torch.eye(3).to(cross)
    rotation = eye + cross + cross @ cross / (1 + cosine).clamp_min(_OPPOSITE)
    long = (a.square().sum(-1) > 0.5) & (b.square().sum(-1) > 0.5)
    known = long & (cosine[..., 0, 0] > _OPPOSITE - 1)
    return torch.where(known[..., None, None], rotation, eye)


def _twist(axis_BL3: Tensor, lower_BL3: Tensor, target_BL3: Tensor) -> Tensor:
    """Rotations about the upper bones that turn the lower bones towards their targets' planes."""

    def across(bone_BL3: Tensor) -> Tensor:
        unit = _unit(bone_BL3)
        return unit - axis_BL3 * (unit * axis_BL3).sum(-1, keepdim=True)

    ours, theirs = across(lower_BL3), across(target_BL3)
    sine = (ours.cross(theirs, dim=-1) * axis_BL3).sum(-1, keepdim=True)
    angle = torch.atan2(sine, (ours * theirs).sum(-1, keepdim=True))
    bend = ours.norm(dim=-1, keepdim=True) * theirs.norm(dim=-1, keepdim=True)
    return rotation_matrices(axis_BL3 * angle * bend / (bend + STRAIGHT))


def _apply(rotation: Tensor, vector_BL3: Tensor) -> Tensor:
    return (rotation @ vector_BL3[..., None])[..., 0]


def _unit(vector: Tensor) -> Tensor:
    """Vectors of length 1; a vector that has hardly any becomes 0."""
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > _TINY, vector / length.clamp_min(_TINY), 0.0)
