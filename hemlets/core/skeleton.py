"""Joints, parts and their symmetry: the one place that knows joint numbers.

The skeleton is the union of Human3.6M's 17 joints and MPII's 16 in the order that integral
regression code commonly uses; parts are the paper's 14 kinematically connected pairs
(HEMlets PoSh, section 3.1).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Bool, Floating


class Joint(IntEnum):
    """The 18 joints; ``right`` and ``left`` are the person's own."""

    PELVIS = 0
    RIGHT_HIP = 1
    RIGHT_KNEE = 2
    RIGHT_ANKLE = 3
    LEFT_HIP = 4
    LEFT_KNEE = 5
    LEFT_ANKLE = 6
    SPINE = 7
    NECK = 8
    NOSE = 9
    HEAD_TOP = 10
    LEFT_SHOULDER = 11
    LEFT_ELBOW = 12
    LEFT_WRIST = 13
    RIGHT_SHOULDER = 14
    RIGHT_ELBOW = 15
    RIGHT_WRIST = 16
    THORAX = 17


class Part(NamedTuple):
    """A skeletal part: a kinematically connected parent and child."""

    name: str
    parent: Joint
    child: Joint


JOINTS: tuple[str, ...] = tuple(joint.name.lower() for joint in Joint)
N_JOINTS = len(JOINTS)

PARTS: tuple[Part, ...] = (
    Part("torso", Joint.PELVIS, Joint.THORAX),
    Part("head", Joint.NECK, Joint.HEAD_TOP),
    Part("left_clavicle", Joint.THORAX, Joint.LEFT_SHOULDER),
    Part("right_clavicle", Joint.THORAX, Joint.RIGHT_SHOULDER),
    Part("left_upper_arm", Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW),
    Part("right_upper_arm", Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW),
    Part("left_forearm", Joint.LEFT_ELBOW, Joint.LEFT_WRIST),
    Part("right_forearm", Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST),
    Part("left_hip", Joint.PELVIS, Joint.LEFT_HIP),
    Part("right_hip", Joint.PELVIS, Joint.RIGHT_HIP),
    Part("left_thigh", Joint.LEFT_HIP, Joint.LEFT_KNEE),
    Part("right_thigh", Joint.RIGHT_HIP, Joint.RIGHT_KNEE),
    Part("left_shin", Joint.LEFT_KNEE, Joint.LEFT_ANKLE),
    Part("right_shin", Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE),
)
N_PARTS = len(PARTS)
PART_PARENT: tuple[int, ...] = tuple(int(part.parent) for part in PARTS)
PART_CHILD: tuple[int, ...] = tuple(int(part.child) for part in PARTS)


def _mirrored(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name


FLIP_JOINTS: tuple[int, ...] = tuple(JOINTS.index(_mirrored(name)) for name in JOINTS)
"""``joints[FLIP_JOINTS]`` relabels left and right after an image was mirrored."""

_PART_NAMES = [part.name for part in PARTS]
FLIP_PARTS: tuple[int, ...] = tuple(_PART_NAMES.index(_mirrored(name)) for name in _PART_NAMES)
"""Same for part channels; a depth relation keeps its sign, since depth is not mirrored."""

SMPL_JOINTS: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee",
    "spine2", "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot",
    "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
"""The 24 joints whose rotations are SMPL's θ (Loper et al. 2015)."""

MIRROR_SMPL_JOINTS: tuple[int, ...] = tuple(
    SMPL_JOINTS.index(_mirrored(name)) for name in SMPL_JOINTS
)
"""The 24 kinematic joints with left and right exchanged."""

SMPL_PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip


def depth_relations(
    joints_J3_mm: Floating, valid_J: Bool | None = None
) -> tuple[npt.NDArray[np.int8], Bool]:
    """Polarity of each part's depth, equation (1).

    ``+1`` (Forward) means that the child is nearer the camera than its parent by more than
    ε_k = 0.5·‖B_k‖, a tilt of 30°; ``-1`` (Backward) that it is farther; ``0`` neither.

    Args:
        joints_J3_mm: Joints of shape (..., 18, 3) in a camera frame with z forward.
        valid_J: Joints that are known, (..., 18); all of them when omitted.

    Returns:
        Relations (..., 14) in {-1, 0, +1} and their validity. A part with an unknown joint
        has validity False and relation 0.
    """
    parent = joints_J3_mm[..., PART_PARENT, :]
    child = joints_J3_mm[..., PART_CHILD, :]
    depth_mm = parent[..., 2] - child[..., 2]
    limit_mm = 0.5 * np.linalg.norm(parent - child, axis=-1)
    relation = (depth_mm > limit_mm).astype(np.int8) - (depth_mm < -limit_mm).astype(np.int8)
    if valid_J is None:
        return relation, np.ones(relation.shape, bool)
    valid = valid_J[..., PART_PARENT] & valid_J[..., PART_CHILD]
    return np.where(valid, relation, 0).astype(np.int8), valid
