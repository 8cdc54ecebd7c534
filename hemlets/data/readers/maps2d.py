"""Joint maps of datasets with 2D joints of people in stills.

A joint that a dataset does not annotate stays invalid. The middle of two hips is not an annotated
pelvis, so it is not computed here.
"""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import Joint
from hemlets.data.readers.joint_map import JointMap

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

LSP: Final = JointMap.named(
    right_ankle=Joint.RIGHT_ANKLE,
    right_knee=Joint.RIGHT_KNEE,
    right_hip=Joint.RIGHT_HIP,
    left_hip=Joint.LEFT_HIP,
    left_knee=Joint.LEFT_KNEE,
    left_ankle=Joint.LEFT_ANKLE,
    right_wrist=Joint.RIGHT_WRIST,
    right_elbow=Joint.RIGHT_ELBOW,
    right_shoulder=Joint.RIGHT_SHOULDER,
    left_shoulder=Joint.LEFT_SHOULDER,
    left_elbow=Joint.LEFT_ELBOW,
    left_wrist=Joint.LEFT_WRIST,
    neck=Joint.NECK,
    head_top=Joint.HEAD_TOP,
)
"""Leeds Sports Pose's 14 in the order of its README."""

COCO: Final = JointMap.named(
    nose=Joint.NOSE,
    left_eye=None,
    right_eye=None,
    left_ear=None,
    right_ear=None,
    left_shoulder=Joint.LEFT_SHOULDER,
    right_shoulder=Joint.RIGHT_SHOULDER,
    left_elbow=Joint.LEFT_ELBOW,
    right_elbow=Joint.RIGHT_ELBOW,
    left_wrist=Joint.LEFT_WRIST,
    right_wrist=Joint.RIGHT_WRIST,
    left_hip=Joint.LEFT_HIP,
    right_hip=Joint.RIGHT_HIP,
    left_knee=Joint.LEFT_KNEE,
    right_knee=Joint.RIGHT_KNEE,
    left_ankle=Joint.LEFT_ANKLE,
    right_ankle=Joint.RIGHT_ANKLE,
)
"""COCO's 17 keypoints as its categories name them."""
