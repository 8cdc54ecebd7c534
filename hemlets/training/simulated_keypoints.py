"""Replace a backbone's keypoints by simulated ones for a share of the training people.

A backbone trained on photographs finds keypoints worse on renderings. True joints with noise are as
good as its keypoints on photographs, so that the refinement learns how far to rely on those.

Shape suffixes: B batch, K keypoints.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from hemlets.core.arrays import Integers
from hemlets.core.skeleton import Joint
from hemlets.models.evidence import KEYPOINT_NAMES
from hemlets.training.batches import Source
from hemlets.training.features import FeatureBatch

_NOISE: Final = 0.012
"""Standard deviation of a simulated keypoint, as a fraction of the crop's side."""
_SHOWN: Final = 0.85
"""Probability that a joint's keypoint is replaced; the others stay the backbone's."""
_SCORES: Final = (0.35, 0.95)
"""Range of simulated scores."""
_JOINT_OF: Final = {
    KEYPOINT_NAMES.index(joint.name.lower()): int(joint)
    for joint in Joint
    if joint.name.lower() in KEYPOINT_NAMES
}
"""Skeleton joint of each keypoint; eyes and ears have none."""
_KEYPOINTS: Final = list(_JOINT_OF)
_JOINTS: Final = list(_JOINT_OF.values())


class SimulatedKeypoints:
    """Features with simulated keypoints, drawn by (seed, epoch, index).

    Args:
        samples: Features with the backbone's keypoints.
        share: Share of the people with simulated keypoints.
        cells: Of the volume along x and y, which the true joints are in.
        seed: Of the draws.
    """

    def __init__(self, samples: Source[FeatureBatch], share: float, cells: int, seed: int) -> None:
        self._samples, self._share, self._cells, self._seed = samples, share, cells, seed

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, indices: Integers, epoch: int) -> FeatureBatch:
        """Load the batch of some indices in an epoch."""
        batch = self._samples.batch(indices, epoch)
        size = len(_JOINTS)
        # Apart from the augmentation's draws, which have the same key.
        draws = [np.random.default_rng((self._seed, epoch, int(index), 1)) for index in indices]
        chosen_B = torch.tensor([rng.random() < self._share for rng in draws])
        shown_BK = torch.tensor(np.array([rng.random(size) < _SHOWN for rng in draws]))
        noise_BK2 = torch.tensor(np.array([rng.normal(0, _NOISE, (size, 2)) for rng in draws]))
        score_BK = torch.tensor(np.array([rng.uniform(*_SCORES, size) for rng in draws]))
        place_BK2 = batch.voxel_BJ3[:, _JOINTS, :2] / self._cells + noise_BK2
        inside_BK = ((place_BK2 > 0) & (place_BK2 < 1)).all(-1)
        known_BK = (batch.known2d_BJ[:, _JOINTS] > 0) & (batch.absent_B == 0)[:, None]
        replaced_BK = chosen_B[:, None] & shown_BK & inside_BK & known_BK
        simulated = torch.cat([place_BK2, score_BK[..., None]], -1).to(batch.keypoints_BK3)
        keypoints_BK3 = batch.keypoints_BK3.clone()
        keypoints_BK3[:, _KEYPOINTS] = torch.where(
            replaced_BK[..., None], simulated, keypoints_BK3[:, _KEYPOINTS]
        )
        return batch._replace(keypoints_BK3=keypoints_BK3)
