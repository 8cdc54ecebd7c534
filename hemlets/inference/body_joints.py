"""Correct the network's joints by its body: their depths, and a head top too far from the nose.

The volume gives joints independently, with depths that are seen badly; the shape network has
learnt which bodies there are. On the open data's gate split the body's depths are wrong by 83 mm
in the mean, the volume's by 90 mm, both combined by 82 mm. In the image the volume is the better
of the two.

Shape suffixes: B people, J = 18 joints.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Bool, Float
from hemlets.core.skeleton import Joint
from hemlets.models.codecs.decode import place_joints

BODY_SHARE: Final = 0.75
"""Share of the body's depth, chosen on the gate split."""
HEAD_LENGTHS: Final = (1.0, 1.2)
"""Distances from nose to head top in the image, relative to the body's, between which the head top
moves from where the network has it to where the body has it."""


def with_head_of_body(joints_BJ3_mm: Float, posed_BJ3_mm: Float) -> tuple[Float, Bool]:
    """Move head tops that are too far from the nose to where the body has them.

    A head top that is hardly seen may be found on somebody else's head. What the image shows of
    the body's head is never longer than the head, so a longer distance is wrong, and the direction
    with it: such a head top is put where the body has it, seen from the nose.

    Args:
        joints_BJ3_mm: The network's joints in the camera frame, pelvis-relative.
        posed_BJ3_mm: The body's joints, likewise.

    Returns:
        Joints (B, 18, 3), and a mask (B,) of the people whose head top was moved.
    """
    ours_B3, theirs_B3 = (
        joints[:, Joint.HEAD_TOP] - joints[:, Joint.NOSE]
        for joints in (posed_BJ3_mm, joints_BJ3_mm)
    )
    longer_B = np.linalg.norm(theirs_B3[:, :2], axis=-1) / np.linalg.norm(ours_B3, axis=-1)
    low, high = HEAD_LENGTHS
    share_B1 = np.clip((longer_B - low) / (high - low), 0.0, 1.0)[:, None]
    result = joints_BJ3_mm.copy()
    result[:, Joint.HEAD_TOP] += share_B1 * (ours_B3 - theirs_B3)
    return result, share_B1[:, 0] > 0


def with_depth_of_body(
    joints_BJ3_mm: Float, roots_B3_mm: Float, posed_BJ3_mm: Float
) -> tuple[Float, Float]:
    """Combine the joints' depths with the body's; pixels and the pelvis' distance stay.

    Args:
        joints_BJ3_mm: The network's joints in the camera frame, pelvis-relative.
        roots_B3_mm: The pelvises in the camera frame.
        posed_BJ3_mm: The body's joints in the camera frame, pelvis-relative.

    Returns:
        Pelvis-relative joints (B, 18, 3) and pelvises (B, 3).
    """
    placed_BJ3 = joints_BJ3_mm + roots_B3_mm[:, None]
    rays_BJ2 = placed_BJ3[..., :2] / placed_BJ3[..., 2:]
    depth_BJ = joints_BJ3_mm[..., 2] + BODY_SHARE * (posed_BJ3_mm - joints_BJ3_mm)[..., 2]
    return place_joints(rays_BJ2, depth_BJ, roots_B3_mm[:, 2])
