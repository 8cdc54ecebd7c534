"""Training samples for the shape network: joints predicted by its own pose network.

A pose network has systematic errors: uncertain joints contract, sides are swapped, depths are
guessed. Exact or noisy joints don't teach the most likely body for such input, and end-to-end
training overfits the shape network to image features. So the pose network predicts augmented
training images and their mirror images once, and the shape network trains on thousands of them per
second.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Integers
from hemlets.data.transforms import AugmentationConfig
from hemlets.training.predictions import LOOKS, PredictedBodies
from hemlets.training.shape_samples import Draws, ShapeBatch, apply_draws, sample_draws


class PredictedSamples:
    """Predicted joints, one view at a time, augmented by (seed, epoch, index).

    Args:
        bodies: Predictions from augmented crops.
        seed: Seed of the augmentation.
        augmentation: Joints are rotated and scaled by half of the crops' ranges and mirrored as
            often, without noise.
    """

    def __init__(
        self, bodies: PredictedBodies, *, seed: int, augmentation: AugmentationConfig
    ) -> None:
        self._bodies, self.seed = bodies, seed
        self._augmentation = augmentation.model_copy(
            update={
                "rotation_deg": augmentation.rotation_deg / 2,
                "scale_min": (1 + augmentation.scale_min) / 2,
                "scale_max": (1 + augmentation.scale_max) / 2,
                "joint_noise_m": 0.0,
            }
        )
        self._epoch = -1
        self._draws: tuple[Draws, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._bodies.betas_NS)

    def batch(self, indices: Integers, epoch: int) -> ShapeBatch:
        """Make the batch of some indices in an epoch."""
        draws, look_N = self._draws_of(epoch)
        chosen = torch.from_numpy(np.asarray(indices, np.int64))
        exact = ShapeBatch(
            self._bodies.looks_NLJ3_m[chosen, look_N[chosen]],
            self._bodies.rotation_NR33[chosen],
            self._bodies.betas_NS[chosen],
        )
        return apply_draws(exact, Draws(*(values[chosen] for values in draws)))

    def _draws_of(self, epoch: int) -> tuple[Draws, Tensor]:
        if self._draws is None or self._epoch != epoch:
            key = self.seed, epoch
            look = np.random.default_rng((*key, 1)).integers(LOOKS, size=len(self))
            self._draws = sample_draws(self._augmentation, key, len(self)), torch.from_numpy(look)
            self._epoch = epoch
        return self._draws
