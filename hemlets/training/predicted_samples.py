"""What the shape network learns last: the joints that its own pose network predicts.

A pose network errs in its own ways: it draws what is unsure together, confuses sides, and guesses
depths. Which body is then most likely can't be learnt from exact joints nor from ones with noise,
and end to end the shape network overfits to image features long before. So the pose network looks
at training images once, each at random turned and scaled and together with its mirror image, and
the shape network learns from what it says of them: thousands of samples a second.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.data.transforms import AugmentationConfig
from hemlets.training.predictions import LOOKS, PredictedBodies
from hemlets.training.shape_samples import Draws, ShapeBatch, draw_moves, moved


class PredictedSamples:
    """Predicted joints, one look at a time, varied by (seed, epoch, index).

    Args:
        bodies: Predicted from crops that are turned and scaled themselves.
        seed: Of the variation.
        augmentation: Joints are turned and scaled by half of what crops are, and mirrored as
            often; without noise, since their errors are the network's own.
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

    def batch(self, indices: npt.NDArray[np.integer], epoch: int) -> ShapeBatch:
        """The samples of some indices in one epoch."""
        draws, look_N = self._draws_of(epoch)
        chosen = torch.from_numpy(np.asarray(indices, np.int64))
        exact = ShapeBatch(
            self._bodies.looks_NLJ3_m[chosen, look_N[chosen]],
            self._bodies.rotation_NR33[chosen],
            self._bodies.betas_NS[chosen],
        )
        return moved(exact, Draws(*(values[chosen] for values in draws)))

    def _draws_of(self, epoch: int) -> tuple[Draws, Tensor]:
        if self._draws is None or self._epoch != epoch:
            key = self.seed, epoch
            look = np.random.default_rng((*key, 1)).integers(LOOKS, size=len(self))
            self._draws = draw_moves(self._augmentation, key, len(self)), torch.from_numpy(look)
            self._epoch = epoch
        return self._draws
