"""Which of a dataset's own joints each of the 18 is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import Joint

Array = npt.NDArray[Any]

_SHOULDERS: Final = (Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER)
_HIPS: Final = (Joint.LEFT_HIP, Joint.RIGHT_HIP)


@dataclass(frozen=True, kw_only=True)
class JointMap:
    """Where each of the 18 joints comes from.

    Attributes:
        size: Joints of the dataset, J.
        first: Index of each joint's source, -1 where the dataset has none.
        second: A second source that the joint is the middle of; the first again otherwise.
        names: The dataset's names of its joints, where it has some.
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
            size: Joints of the dataset.
            sources: Index of each joint that the dataset has.
            middles: Joints that are the middle of the shoulders (thorax) or hips (pelvis).
        """
        first = [int(sources.get(joint, -1)) for joint in Joint]
        second = list(first)
        for joint in middles:
            left, right = _SHOULDERS if joint == Joint.THORAX else _HIPS
            first[joint], second[joint] = first[left], first[right]
        return cls(size=size, first=tuple(first), second=tuple(second))

    @classmethod
    def named(cls, **targets: Joint | None) -> JointMap:
        """Build a map from the dataset's joints in its order, each with the joint that it is.

        Args:
            targets: None for those that the 18 don't have.
        """
        sources = {joint: i for i, joint in enumerate(targets.values()) if joint is not None}
        return replace(cls.of(len(targets), sources, middles=()), names=tuple(targets))

    @property
    def targets(self) -> tuple[Joint | None, ...]:
        """The joint that each of the dataset's is by itself, None for the others."""
        own = {first: Joint(joint) for joint, first in enumerate(self.first)
               if first >= 0 and first == self.second[joint]}  # fmt: skip
        return tuple(own.get(index) for index in range(self.size))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Joints (18,) that the dataset has."""
        return np.array(self.first) >= 0

    def apply(self, points_FJC: Array, valid_FJ: Array | None = None) -> tuple[Array, Array]:
        """Bring points into the project's order.

        Args:
            points_FJC: Points of F frames, J joints and 2 or 3 coordinates.
            valid_FJ: Which of them are annotated; all where omitted.

        Returns:
            Points (F, 18, C), zero where invalid, and validity (F, 18).
        """
        first, second = np.array(self.first), np.array(self.second)
        if valid_FJ is None:
            valid_FJ = np.ones(points_FJC.shape[:2], bool)
        valid = valid_FJ[:, first] & valid_FJ[:, second] & (first >= 0)
        points = (points_FJC[:, first] + points_FJC[:, second]) / 2
        return np.where(valid[..., None], points, 0.0), valid
