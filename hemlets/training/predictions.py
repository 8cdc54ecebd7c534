"""What a pose network says of training images: predicted once, kept until it was learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.core.errors import TrainingError
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.data.transforms import normalise
from hemlets.models import HemletsPosh
from hemlets.models.fused import FusedModel, can_prepare
from hemlets.models.posh import nominal_metres
from hemlets.training.batches import Samples
from hemlets.training.group import Group
from hemlets.training.objectives import shrunk

LOOKS = 3
"""At a crop, at its mirror image, and their average, which the flip test regresses a body from."""

_CHUNK = 16
"""Batches that are kept together: what a killed process has to predict again, at most."""

Indices = npt.NDArray[np.integer[Any]]


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
    keep: Path,
    group: Group,
    told: Callable[[int], None] = lambda predicted: None,
    batch_size: int = 32,
) -> PredictedBodies:
    """Predict so many samples, spread evenly over them, or each several times.

    The processes share the work. What was predicted is kept, so that whoever comes again with
    the same folder predicts the rest only.

    Args:
        model: As it is to predict later; it stays as it is.
        samples: Of people whose body is known, not mirrored.
        count: A sample that comes again does so with its next epoch's augmentation.
        shrink: What crops are averaged down by.
        keep: Folder of these very predictions: of this model, these samples and this count.
        group: Who predicts.
        told: Called with how many samples are predicted, now and then.
        batch_size: Crops with their mirror images that go through the model together.

    Raises:
        SystemExit: Code 75 where the group was asked to end.
        TrainingError: What another process predicted is not there.
    """
    batches = _batches(len(samples), count, batch_size)
    chunks = [batches[start : start + _CHUNK] for start in range(0, len(batches), _CHUNK)]
    files = [keep / f"{number:05d}.safetensors" for number in range(len(chunks))]
    sizes = [sum(len(indices) for _, indices in chunk) for chunk in chunks]
    # As process 0 sees it: all must count alike.
    missing = group.gathered([n for n, file in enumerate(files) if not file.exists()])[0]
    look = _looker(model, samples, shrink, group.device) if missing else None
    for first in range(0, len(missing), group.size):
        own = missing[first : first + group.size][group.rank : group.rank + 1]
        found: list[PredictedBodies] = []
        for position in range(_CHUNK):
            for number in own:
                if look is not None and position < len(chunks[number]):
                    found.append(look(*chunks[number][position]))
            if group.asked_to_end():
                group.end()
        for number in own:
            _write(files[number], _joined(found))
        told(count - sum(sizes[number] for number in missing[first + group.size :]))
    group.barrier()
    return _joined([_read(file) for file in files])


def _batches(available: int, count: int, batch_size: int) -> list[tuple[int, Indices]]:
    """Epoch and indices of each batch."""
    epochs, rest = divmod(count, available)
    spread = np.linspace(0, available - 1, rest).astype(np.int64)
    orders = [*[np.arange(available)] * epochs, spread]
    return [
        (epoch, order[start : start + batch_size])
        for epoch, order in enumerate(orders)
        for start in range(0, len(order), batch_size)
    ]


def _looker(
    model: HemletsPosh, samples: Samples, shrink: int, device: torch.device
) -> Callable[[int, Indices], PredictedBodies]:
    """What predicts the samples of some indices in one epoch."""
    network: HemletsPosh | FusedModel = model.eval().to(device)
    if device.type == "cpu" and can_prepare("bfloat16"):
        network = FusedModel(model, "bfloat16")

    def look(epoch: int, indices: Indices) -> PredictedBodies:
        batch = samples.batch(indices, epoch)
        image_B3HW = shrunk(normalise(batch.image_BHW3.to(device)), shrink)
        looks = _looks(network, image_B3HW)
        return PredictedBodies(looks.cpu(), batch.rotation_BR33, batch.betas_BS)

    return look


@torch.inference_mode()
def _looks(network: HemletsPosh | FusedModel, image_B3HW: Tensor) -> Tensor:
    """Joints (B, 3, 18, 3) of each look, those of the mirror image mirrored back."""
    images = torch.cat([image_B3HW, image_B3HW.flip(-1)])
    voxel = network(images.contiguous(memory_format=torch.channels_last)).decoded.voxel_BJ3
    one, other = nominal_metres(voxel.float(), network.volume).chunk(2)
    other = other[:, list(FLIP_JOINTS)] * other.new_tensor((-1.0, 1.0, 1.0))
    return torch.stack([one, other, (one + other) / 2], 1)


def _joined(parts: Sequence[PredictedBodies]) -> PredictedBodies:
    return PredictedBodies(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _write(path: Path, bodies: PredictedBodies) -> None:
    from safetensors.torch import save_file

    with atomic_path(path) as scratch:
        save_file({k: v.contiguous() for k, v in bodies._asdict().items()}, scratch)


def _read(path: Path) -> PredictedBodies:
    from safetensors.torch import load_file

    try:
        return PredictedBodies(**load_file(path))
    except FileNotFoundError as error:
        raise TrainingError(
            "what another process predicted is not there",
            where=path,
            expected="a folder that all processes of the run see",
            remedy="put the run's folder on a disk that all machines share",
        ) from error
