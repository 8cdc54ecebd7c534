"""The kinematic tree: global rotations and positions of joints from rotations against parents.

Shape suffixes: B batch, J = 24 kinematic joints.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from hemlets.core.skeleton import SMPL_PARENTS


def _generations() -> tuple[tuple[int, ...], ...]:
    """Group the kinematic joints by their distance from the root, root first."""
    depth: list[int] = []
    for parent in SMPL_PARENTS:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return tuple(
        tuple(joint for joint, own in enumerate(depth) if own == level)
        for level in range(max(depth) + 1)
    )


_GENERATIONS: Final = _generations()
_BY_GENERATION: Final = [joint for generation in _GENERATIONS for joint in generation]
_IN_ORDER: Final = [_BY_GENERATION.index(joint) for joint in range(len(_BY_GENERATION))]
_PARENTS_BELOW_ROOT: Final = list(SMPL_PARENTS[1:])


def world_rotations(rotation_BJ33: Tensor) -> Tensor:
    """Chain rotations against the parents to rotations against the body's frame.

    Args:
        rotation_BJ33: Each joint's rotation against its parent; the root's against the frame.

    Returns:
        Rotations (B, 24, 3, 3).
    """
    levels = [rotation_BJ33[:, :1]]
    for above, generation in pairwise(_GENERATIONS):
        parents = [above.index(SMPL_PARENTS[joint]) for joint in generation]
        levels.append(levels[-1][:, parents] @ rotation_BJ33[:, list(generation)])
    return torch.cat(levels, 1)[:, _IN_ORDER]


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
