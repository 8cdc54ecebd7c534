"""What the shape network learns last: the joints that its own pose network predicts.

A pose network errs in its own ways: it draws what is unsure together, confuses sides, and guesses
depths. Which body is then most likely can't be learnt from exact joints nor from ones with noise,
and end to end the shape network overfits to image features long before. So the pose network looks
at training images once, each at random turned and scaled and together with its mirror image, and
the shape network learns from what it says of them: thousands of samples a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.models import HemletsPosh
from hemlets.models.inference_form import InferenceForm, can_prepare
from hemlets.models.posh import nominal_metres
from hemlets.skeleton import FLIP_JOINTS
from hemlets.training.batches import Samples
from hemlets.training.objectives import shrunk
from hemlets.training.shape_samples import Draws, ShapeBatch, draw_moves, moved
from hemlets.transforms import AugmentationConfig, normalise

__all__ = ["PredictedBodies", "PredictedSamples", "predict_bodies"]

_LOOKS = 3
"""At a crop, at its mirror image, and their average, which the flip test regresses a body from."""


class PredictedBodies(NamedTuple):
    """Predicted joints with the true bodies that they belong to.

    Attributes:
        looks_NLJ3_m: By look, relative to the pelvis, in nominal metres of the crop.
        rotation_NR33: SMPL θ as matrices; the root's in the crop's view.
        betas_NS: SMPL β.
    """

    looks_NLJ3_m: Tensor
    rotation_NR33: Tensor
    betas_NS: Tensor


def predict_bodies(
    model: HemletsPosh,
    samples: Samples,
    count: int,
    *,
    shrink: int,
    device: torch.device,
    batch_size: int = 32,
) -> PredictedBodies:
    """Predict so many samples, spread evenly over them, or each several times.

    Args:
        model: As it is to predict later; it stays as it is.
        samples: Of people whose body is known, not mirrored.
        count: A sample that comes again does so with its next epoch's augmentation.
        shrink: What crops are averaged down by.
        device: Where to predict.
        batch_size: Crops with their mirror images that go through the model together.
    """
    network: HemletsPosh | InferenceForm = model.eval().to(device)
    if device.type == "cpu" and can_prepare("bfloat16"):
        network = InferenceForm(model, "bfloat16")
    epochs, rest = divmod(count, len(samples))
    spread = np.linspace(0, len(samples) - 1, rest).astype(np.int64)
    orders = [*[np.arange(len(samples))] * epochs, spread]
    found: list[PredictedBodies] = []
    for epoch, order in enumerate(orders):
        for start in range(0, len(order), batch_size):
            batch = samples.batch(order[start : start + batch_size], epoch)
            image_B3HW = shrunk(normalise(batch.image_BHW3.to(device)), shrink)
            looks = _looks(network, image_B3HW)
            found.append(PredictedBodies(looks.cpu(), batch.rotation_BR33, batch.betas_BS))
    return PredictedBodies(*(torch.cat(column) for column in zip(*found, strict=True)))


@torch.inference_mode()
def _looks(network: HemletsPosh | InferenceForm, image_B3HW: Tensor) -> Tensor:
    """Joints (B, 3, 18, 3) of each look, those of the mirror image mirrored back."""
    images = torch.cat([image_B3HW, image_B3HW.flip(-1)])
    voxel = network(images.contiguous(memory_format=torch.channels_last)).decoded.voxel_BJ3
    one, other = nominal_metres(voxel.float(), network.volume).chunk(2)
    other = other[:, list(FLIP_JOINTS)] * other.new_tensor((-1.0, 1.0, 1.0))
    return torch.stack([one, other, (one + other) / 2], 1)


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
            look = np.random.default_rng((*key, 1)).integers(_LOOKS, size=len(self))
            self._draws = draw_moves(self._augmentation, key, len(self)), torch.from_numpy(look)
            self._epoch = epoch
        return self._draws
