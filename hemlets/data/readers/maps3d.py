"""Joint maps of datasets with 3D joints.

A joint that a dataset lacks stays invalid. A joint is computed from two others only where the
project defines it so: the thorax is the middle of the shoulders; the pelvis is the middle of the
hips if a body model's pelvis is another point.
"""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import SMPL_JOINTS, Joint
from hemlets.data.readers.joint_map import JointMap

_LIMBS: Final = (
    Joint.RIGHT_HIP, Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE,
    Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE,
    Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST,
    Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST,
)  # fmt: skip


def _limbs(*indices: int) -> dict[Joint, int]:
    return dict(zip(_LIMBS, indices, strict=True))


def _trunk(pelvis: int, spine: int, neck: int, nose: int, head_top: int) -> dict[Joint, int]:
    trunk = (Joint.PELVIS, Joint.SPINE, Joint.NECK, Joint.NOSE, Joint.HEAD_TOP)
    return dict(zip(trunk, (pelvis, spine, neck, nose, head_top), strict=True))


HUMAN36M_32: Final = JointMap.of(
    32, _trunk(0, 12, 13, 14, 15) | _limbs(1, 2, 3, 6, 7, 8, 17, 18, 19, 25, 26, 27)
)
"""Human3.6M's 32 points (Ionescu et al. 2014, ``skel_pos`` in metadata.xml)."""

HUMAN36M_17: Final = JointMap.of(
    17, _trunk(0, 7, 8, 9, 10) | _limbs(1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16)
)
"""The 17 of them that move, in the order of the 32."""

MPI_TRAIN_28: Final = JointMap.of(
    28, _trunk(4, 3, 5, 6, 7) | _limbs(23, 24, 25, 18, 19, 20, 9, 10, 11, 14, 15, 16)
)
"""``mpii_get_joint_set.m`` of MPI-INF-3DHP, "all": spine is its 4th, nose its "head"."""

MPI_TEST_17: Final = JointMap.of(
    17, _trunk(14, 15, 1, 16, 0) | _limbs(8, 9, 10, 11, 12, 13, 5, 6, 7, 2, 3, 4)
)
"""``mpii_get_joint_set.m``, "relevant": the test set's order."""

# HumanEva's "head" is inside the head: neither its top nor the nose.
HUMANEVA15: Final = JointMap.of(
    15, {Joint.PELVIS: 0} | _limbs(11, 12, 13, 8, 9, 10, 2, 3, 4, 5, 6, 7)
)
"""The 15 joints of HumanEva's evaluation code (Sigal et al. 2010); its thorax lies at 1."""


def _smpl() -> JointMap:
    names = ("hip", "knee", "ankle")
    legs = [SMPL_JOINTS.index(f"{side}_{n}") for side in ("right", "left") for n in names]
    names = ("shoulder", "elbow", "wrist")
    arms = [SMPL_JOINTS.index(f"{side}_{n}") for side in ("left", "right") for n in names]
    trunk = {
        Joint.SPINE: SMPL_JOINTS.index("spine2"),
        Joint.NECK: SMPL_JOINTS.index("neck"),
    }
    return JointMap.of(24, trunk | _limbs(*legs, *arms), (Joint.THORAX, Joint.PELVIS))


SMPL_24: Final = _smpl()
"""SMPL's 24 kinematic joints (Loper et al. 2015); they have neither nose nor head top."""

SPIN_24: Final = JointMap.of(
    24, _trunk(14, 16, 12, 17, 18) | _limbs(2, 1, 0, 3, 4, 5, 9, 10, 11, 8, 7, 6)
)
"""SPIN's 24 ground-truth joints (Kolotouros et al. 2019, ``constants.py``)."""

# OpenPose's neck is the middle of the shoulders, which is the project's thorax, not its neck.
COCO18: Final = JointMap.of(18, {Joint.NOSE: 0} | _limbs(8, 9, 10, 11, 12, 13, 5, 6, 7, 2, 3, 4))
"""OpenPose's 18 joints, the order of 3DPW's 2D detections."""

LSP14: Final = JointMap.of(
    14, {Joint.NECK: 12, Joint.HEAD_TOP: 13} | _limbs(2, 1, 0, 3, 4, 5, 9, 10, 11, 8, 7, 6)
)
"""LSP's 14 joints (Johnson & Everingham 2010), the order of UP-3D's 2D joints."""
