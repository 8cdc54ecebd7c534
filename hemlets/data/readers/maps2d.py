"""Joint maps of datasets with 2D joints of people in stills.

A joint that a dataset does not annotate stays invalid. The middle of two hips is not an annotated
pelvis, so it is not computed here.
"""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import Joint
from hemlets.data.readers.joint_map import JointMap


def _by_name(names: str) -> JointMap:
    """Map a dataset's joints that have the project's names; others are not used."""
    return JointMap.named(**{n: Joint.__members__.get(n.upper()) for n in names.split()})


MPII: Final = JointMap.named(
    r_ankle=Joint.RIGHT_ANKLE,
    r_knee=Joint.RIGHT_KNEE,
    r_hip=Joint.RIGHT_HIP,
    l_hip=Joint.LEFT_HIP,
    l_knee=Joint.LEFT_KNEE,
    l_ankle=Joint.LEFT_ANKLE,
    pelvis=Joint.PELVIS,
    thorax=Joint.THORAX,
    upper_neck=Joint.NECK,
    head_top=Joint.HEAD_TOP,
    r_wrist=Joint.RIGHT_WRIST,
    r_elbow=Joint.RIGHT_ELBOW,
    r_shoulder=Joint.RIGHT_SHOULDER,
    l_shoulder=Joint.LEFT_SHOULDER,
    l_elbow=Joint.LEFT_ELBOW,
    l_wrist=Joint.LEFT_WRIST,
)
"""MPII Human Pose's 16 in the order of its README (ids 0–15)."""

LSP: Final = _by_name(
    "right_ankle right_knee right_hip left_hip left_knee left_ankle "
    "right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist neck head_top"
)
"""Leeds Sports Pose's 14 in the order of its README."""

COCO: Final = _by_name(
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle"
)
"""COCO's 17 keypoints as its categories name them; eyes and ears are not used."""
