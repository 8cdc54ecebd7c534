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

import numpy as np
import torch

from hemlets.body.limits import LOWER_J3_RAD, UPPER_J3_RAD
from hemlets.body.rotations import axis_angles, nearest_axis_angles, rotation_matrices
from hemlets.core.arrays import Float, Floating
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
_SPINE: Final = [SMPL_JOINTS.index(name) for name in ("spine1", "spine2", "spine3")]
_NECK: Final = [SMPL_JOINTS.index("neck")]
_BASE: Final = [Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]
_MIDDLE: Final = [Joint.LEFT_KNEE, Joint.RIGHT_KNEE, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW]
_END: Final = [Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE, Joint.LEFT_WRIST, Joint.RIGHT_WRIST]
_SHOULDERS: Final = _BASE[2:]
_TORSO: Final = [*_BASE, Joint.SPINE, Joint.NECK, Joint.THORAX]
_HEAD: Final = [Joint.NOSE, Joint.HEAD_TOP]
_LIMITED: Final = [*_NECK, *_COLLARS, *_LOWER]
_RANGE: Final = (LOWER_J3_RAD[_LIMITED], UPPER_J3_RAD[_LIMITED])
_SCALES: Final = (0.8, 1.25)
"""Smallest and largest scale of the joints."""
_TILTS: Final = 2
"""Gauss-Newton steps of a tilt, after which angles change by a degree."""
_TINY: Final = 1e-6
_OPPOSITE: Final = 1e-3
"""1 + cos of the angle from which on directions are opposite."""


def turn_onto(
    rotation_BJ33: Floating, posed_BJ3_mm: Float, joints_BJ3_mm: Float, confidence_BJ: Floating
) -> Float:
    """Return θ (B, 24, 3), axis-angles, of bodies turned onto joints.

    Args:
        rotation_BJ33: θ (B, 24, 3, 3); the root's turns into the camera frame.
        posed_BJ3_mm: The bodies' joints (B, 18, 3) in the camera frame, relative to the pelvis.
        joints_BJ3_mm: Likewise of the targets.
        confidence_BJ: (B, 18) in 0–1; not finite counts as 1.
    """
    sure_BJ1 = np.where(np.isfinite(confidence_BJ), confidence_BJ, 1.0)[..., None].clip(0, 1)
    image_BJ1 = np.minimum(sure_BJ1 / SURE, 1)
    weight_BJ3 = np.concatenate([image_BJ1, image_BJ1, DEPTH_SHARE * sure_BJ1], -1)
    theirs_B11 = _size(joints_BJ3_mm, image_BJ1)

    def targets(body_BJ3: Float) -> Float:
        """Targets from joints whose torso is scaled to be as large in the image as a body's."""
        scale_B11 = (_size(body_BJ3, image_BJ1) / theirs_B11).clip(*_SCALES)
        result: Float = posed_BJ3_mm + weight_BJ3 * (scale_B11 * joints_BJ3_mm - posed_BJ3_mm)
        return result

    # A torso that is turned out of the image looks small, so that the turned one scales the limbs.
    torso_B33 = _torso_rotation(posed_BJ3_mm, targets(posed_BJ3_mm))
    turned_BJ3 = posed_BJ3_mm @ torso_B33.mT
    rotation = rotation_BJ33.astype(np.float64)
    rotation[:, 0] = torso_B33 @ rotation[:, 0]
    theta_BJ3 = axis_angles(_turned(rotation, turned_BJ3, targets(turned_BJ3), image_BJ1))
    theta_BJ3[:, _LIMITED] = theta_BJ3[:, _LIMITED].clip(*_RANGE)
    return theta_BJ3


def _size(joints_BJ3: Float, weight_BJ1: Floating) -> Float:
    """Size (B, 1, 1) of torsos in the image, in millimetres."""
    weight_BN1 = weight_BJ1[:, _TORSO]
    weight_BN1 = weight_BN1 / np.maximum(weight_BN1.sum(1, keepdims=True), _TINY)
    flat = joints_BJ3[:, _TORSO, :2]
    off = flat - (weight_BN1 * flat).sum(1, keepdims=True)
    # A millimetre keeps joints of no weight, and those in one point, as they are.
    size: Float = np.sqrt((weight_BN1 * off**2).sum((1, 2), keepdims=True)) + 1
    return size


def _turned(
    rotation_BJ33: Float, body_BJ3: Float, target_BJ3: Float, weight_BJ1: Floating
) -> Float:
    """Turn bodies, whose torso is turned already, onto targets; return θ as matrices."""
    neck, thorax = body_BJ3[:, [Joint.NECK]], body_BJ3[:, [Joint.THORAX]]
    nod = swing(
        *(joints[:, _HEAD].mean(1, keepdims=True) - neck for joints in (body_BJ3, target_BJ3))
    )

    clavicle = body_BJ3[:, _SHOULDERS] - thorax
    wanted = target_BJ3[:, _SHOULDERS] - target_BJ3[:, [Joint.THORAX]]
    collar_B233 = swing(clavicle, _unit(clavicle) + _unit(wanted))
    # What the parents of the four limbs add to the torso's rotation.
    carried = np.concatenate([np.broadcast_to(np.eye(3), collar_B233.shape), collar_B233], 1)
    base = body_BJ3[:, _BASE]
    upper = _apply(carried, body_BJ3[:, _MIDDLE] - base)
    lower = _apply(carried, body_BJ3[:, _END] - body_BJ3[:, _MIDDLE])
    base[:, 2:] = thorax + _apply(collar_B233, clavicle)
    weight_BL1 = weight_BJ1[:, _MIDDLE]
    upper_target = _tilted(
        target_BJ3[:, _MIDDLE] - (target_BJ3[:, _BASE] + base) / 2,
        _length(upper),
        weight_BL1 * weight_BJ1[:, _BASE],
    )
    first = swing(upper, upper_target)
    upper = _apply(first, upper)
    lower_target = _tilted(
        target_BJ3[:, _END] - (target_BJ3[:, _MIDDLE] + base + upper) / 2,
        _length(lower),
        weight_BJ1[:, _END] * weight_BL1,
    )
    first = _twist(_unit(upper), _apply(first, lower), lower_target) @ first
    second = swing(_apply(first, lower), lower_target)

    # Each turn is the camera frame's; its parents' world rotation takes it to theirs.
    root = chest = rotation_BJ33[:, [0]]
    for joint in _SPINE:
        chest = chest @ rotation_BJ33[:, [joint]]
    collars = collar_B233 @ chest @ rotation_BJ33[:, _COLLARS]
    above = np.concatenate([root, root, collars], 1)
    thighs = first @ above @ rotation_BJ33[:, _UPPER]
    result = rotation_BJ33.copy()
    result[:, _COLLARS] = chest.mT @ collars
    result[:, _NECK] = chest.mT @ nod @ chest @ rotation_BJ33[:, _NECK]
    result[:, _UPPER] = above.mT @ thighs
    result[:, _LOWER] = thighs.mT @ second @ thighs @ rotation_BJ33[:, _LOWER]
    return result


def _torso_rotation(posed_BJ3: Float, target_BJ3: Float) -> Float:
    """Rotation (B, 3, 3) about the pelvis, faded out where it is too large to be true."""
    turn_B3 = nearest_axis_angles(target_BJ3[:, _TORSO].mT @ posed_BJ3[:, _TORSO])
    full, none = TORSO_RAD
    share_B1 = ((none - _length(turn_B3)) / (none - full)).clip(0, 1)
    rotation: Float = rotation_matrices(torch.from_numpy(turn_B3 * share_B1)).numpy()
    return rotation


def _tilted(target_BL3: Float, length_BL1: Float, weight_BL1: Floating) -> Float:
    """Directions in which bones of given lengths look most like their targets.

    With the target's length r in the image and its depth z, a bone of length L at an angle φ to the
    image plane minimises (L cos φ − r)² + λ (L sin φ − z)². λ falls from 1 to `TILT_SHARE` with the
    weight. From the target's own angle, Gauss-Newton.
    """
    depth_share = 1 - (1 - TILT_SHARE) * weight_BL1
    across = _length(target_BL3[..., :2])
    image, depth = across / length_BL1, target_BL3[..., 2:] / length_BL1
    angle = np.arctan2(depth, image)
    for _ in range(_TILTS):
        sine, cosine = np.sin(angle), np.cos(angle)
        step = sine * (cosine - image) - depth_share * cosine * (sine - depth)
        angle = angle + step / (sine**2 + depth_share * cosine**2)
    angle = angle.clip(-np.pi / 2, np.pi / 2)
    flat = target_BL3[..., :2] / np.maximum(across, _TINY)
    return np.concatenate([flat * np.cos(angle), np.sin(angle)], -1)


def swing(start_BL3: Float, end_BL3: Float) -> Float:
    """Smallest rotations (B, L, 3, 3) from directions to directions; none where one has no length.

    With unit vectors a, b and s = a + b it is I + 2 b aᵀ − s sᵀ / (1 + a·b), two reflections.
    Opposite directions, to within 2.5°, have no smallest rotation and stay.
    """
    a, b = _unit(start_BL3), _unit(end_BL3)
    both = a + b
    nearness = 1 + (a * b).sum(-1)[..., None, None]
    turned = 2 * b[..., None] * a[..., None, :]
    turned -= both[..., None] * both[..., None, :] / np.maximum(nearness, _OPPOSITE)
    known = a.any(-1) & b.any(-1) & (nearness[..., 0, 0] > _OPPOSITE)
    rotation: Float = np.eye(3) + turned * known[..., None, None]
    return rotation


def _twist(axis_BL3: Float, lower_BL3: Float, target_BL3: Float) -> Float:
    """Rotations about the upper bones that turn the lower bones towards their targets' planes."""

    def across(bone_BL3: Float) -> Float:
        unit = _unit(bone_BL3)
        orthogonal: Float = unit - axis_BL3 * (unit * axis_BL3).sum(-1, keepdims=True)
        return orthogonal

    ours, theirs = across(lower_BL3), across(target_BL3)
    bend = _length(ours) * _length(theirs)
    ours, theirs = _unit(ours), _unit(theirs)
    angle = np.arccos((ours * theirs).sum(-1, keepdims=True).clip(-1, 1))
    share = bend / (bend + STRAIGHT)
    # To the direction at that share of the angle between both.
    return swing(ours, np.sin((1 - share) * angle) * ours + np.sin(share * angle) * theirs)


def _apply(rotation: Float, vector_BL3: Float) -> Float:
    turned: Float = (rotation @ vector_BL3[..., None])[..., 0]
    return turned


def _length(vector: Float) -> Float:
    length: Float = np.sqrt((vector * vector).sum(-1, keepdims=True))
    return length


def _unit(vector: Float) -> Float:
    """Vectors of length 1; a vector that has hardly any becomes 0."""
    length = _length(vector)
    return vector / np.where(length > _TINY, length, np.inf)
