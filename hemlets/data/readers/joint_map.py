"""Map a dataset's joints to the project's 18."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hemlets.core.arrays import Array, Bool
from hemlets.core.skeleton import Joint

_SHOULDERS: Final = (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
_HIPS: Final = (Joint.LEFT_HIP, Joint.RIGHT_HIP)


@dataclass(frozen=True, kw_only=True)
class JointMap:
    """Source of each of the 18 joints.

    Attributes:
        size: Number of the dataset's joints, J.
        first: Index of each joint's source, -1 where the dataset has none.
        second: Index of a second source, where the joint is the middle of two; else the first.
        names: The dataset's names of its joints, if any.
    """

    size: int
    first: tuple[int, ...]
    second: tuple[int, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, size: int, sources: Mapping[Joint, int], middles: Sequence[Joint] = (Joint.THORAX,)
    ) -> JointMap:
        """Build a map.

        Args:
            size: Number of the dataset's joints.
            sources: Index of the source of each joint.
            middles: Joints computed as the middle of the shoulders (thorax) or hips (pelvis).
        """
        first = [int(sources.get(joint, -1)) for joint in Joint]
        second = list(first)
        for joint in middles:
            left, right = _SHOULDERS if joint == Joint.THORAX else _HIPS
            first[joint], second[joint] = first[left], first[right]
        return cls(size=size, first=tuple(first), second=tuple(second))

    @classmethod
    def named(cls, **targets: Joint | None) -> JointMap:
        """Build a map from the dataset's joint names, in its order.

        Args:
            targets: The project's joint for each name; None if it has none.
        """
        sources = {joint: i for i, joint in enumerate(targets.values()) if joint is not None}
        return replace(cls.of(len(targets), sources, middles=()), names=tuple(targets))

    @property
    def targets(self) -> tuple[Joint | None, ...]:
        """The project's joint for each of the dataset's; None for others and for middles."""
        own = {first: Joint(joint) for joint, first in enumerate(self.first)
               if first >= 0 and first == self.second[joint]}  # fmt: skip
        return tuple(own.get(index) for index in range(self.size))

    @property
    def known(self) -> Bool:
        """Mask (18,) of joints that the dataset has."""
        return np.array(self.first) >= 0

    def apply(self, points_FJC: Array, valid_FJ: Array | None = None) -> tuple[Array, Array]:
        """Reorder points to the project's joints.

        Args:
            points_FJC: Points of F frames, J joints and 2 or 3 coordinates.
            valid_FJ: Mask of annotated points; all where omitted.

        Returns:
            Points (F, 18, C), zero where invalid, and validity (F, 18).
        """
        first, second = np.array(self.first), np.array(self.second)
        if valid_FJ is None:
            valid_FJ = np.ones(points_FJC.shape[:2], bool)
        valid = valid_FJ[:, first] & valid_FJ[:, second] & (first >= 0)
        points = (points_FJC[:, first] + points_FJC[:, second]) / 2
        return np.where(valid[..., None], points, 0.0), valid
