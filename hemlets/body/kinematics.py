"""The kinematic tree: global rotations and positions of joints from rotations against parents.

Shape suffixes: B batch, J = 24 kinematic joints.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hemlets.core.skeleton import SMPL_PARENTS


def _parents_by_level() -> list[Tensor]:
    """Number the parents of each level's joints within the level above; SMPL is sorted by level."""
    levels, above = [], [0]
    while above:
        own = [joint for joint, parent in enumerate(SMPL_PARENTS) if parent in above]
        levels.append(torch.tensor([above.index(SMPL_PARENTS[joint]) for joint in own]))
        above = own
    return levels[:-1]


_PARENTS: Final = _parents_by_level()
_SIZES: Final = [1, *map(len, _PARENTS)]
_PARENTS_BELOW_ROOT: Final = list(SMPL_PARENTS[1:])


def world_rotations(rotation_BJ33: Tensor) -> Tensor:
    """Chain rotations against the parents to rotations against the body's frame.

    Args:
        rotation_BJ33: Each joint's rotation against its parent; the root's against the frame.

    Returns:
        Rotations (B, 24, 3, 3).
    """
    root, *below = torch.split(rotation_BJ33, _SIZES, 1)
    levels = [root]
    for parents, own in zip(_PARENTS, below, strict=True):
        levels.append(levels[-1][:, parents] @ own)
    return torch.cat(levels, 1)


def pose_skeleton(rotation_BJ33: Tensor, rest_BJ3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pose the kinematic joints (SMPL's G, Loper et al. 2015, equations 3 and 4).

    Args:
        rotation_BJ33: Each joint's rotation against its parent; the root's against the frame.
        rest_BJ3: The joints of the body at rest, in any unit.

    Returns:
        Posed joints (B, 24, 3), and each joint's rigid transform from rest to pose: rotations
        (B, 24, 3, 3) and translations (B, 24, 3); x becomes rotation · x + translation.
    """
    world_BJ33 = world_rotations(rotation_BJ33)
    bones_BL3 = rest_BJ3[:, 1:] - rest_BJ3[:, _PARENTS_BELOW_ROOT]
    turned_BL3 = _turn(world_BJ33[:, _PARENTS_BELOW_ROOT], bones_BL3)
    joints = [rest_BJ3[:, 0]]
    for joint, parent in enumerate(_PARENTS_BELOW_ROOT):
        joints.append(joints[parent] + turned_BL3[:, joint])
    joints_BJ3 = torch.stack(joints, 1)
    return joints_BJ3, world_BJ33, joints_BJ3 - _turn(world_BJ33, rest_BJ3)


def _turn(rotation_BJ33: Tensor, vector_BJ3: Tensor) -> Tensor:
    return (rotation_BJ33 @ vector_BJ3[..., None])[..., 0]
