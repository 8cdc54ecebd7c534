"""Predict the joints of training images once, and cache them for the shape stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Integers
from hemlets.core.skeleton import FLIP_JOINTS
from hemlets.data.transforms import normalise
from hemlets.models import HemletsPosh
from hemlets.models.fused import FusedModel, can_prepare
from hemlets.models.model_folder import save_tensors
from hemlets.models.posh import nominal_metres
from hemlets.training.batches import Samples
from hemlets.training.group import Group, missing_shared_file
from hemlets.training.objectives import downscale

LOOKS = 3
"""The crop, its mirror image, and their average, which the flip test uses."""

_CHUNK = 16
"""Batches per file: the most that a killed process has to predict again."""


class PredictedBodies(NamedTuple):
    """Predicted joints and the true bodies.

    Attributes:
        looks_NLJ3_m: By view (`LOOKS`), relative to the pelvis, in nominal metres of the crop.
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
    report_progress: Callable[[int], None] = lambda predicted: None,
    batch_size: int = 32,
) -> PredictedBodies:
    """Predict ``count`` samples that no earlier process predicted; processes share the work.

    The samples are spread evenly, or repeated with the next epoch's augmentation.

    Args:
        model: The model; unchanged.
        samples: Samples with known bodies, not mirrored.
        count: Number of predictions.
        shrink: Downscaling factor of crops.
        keep: Folder of the predictions of this model, these samples and this count.
        group: The processes.
        report_progress: Called with the number of predicted samples.
        batch_size: Crops per forward pass, each with its mirror image.

    Raises:
        SystemExit: Code 75 if a stop was requested.
        TrainingError: A file of another process is missing.
    """
    batches = _batches(len(samples), count, batch_size)
    chunks = [batches[start : start + _CHUNK] for start in range(0, len(batches), _CHUNK)]
    files = [keep / f"{number:05d}.safetensors" for number in range(len(chunks))]
    sizes = [sum(len(indices) for _, indices in chunk) for chunk in chunks]
    # As process 0 sees it: all must count alike.
    missing = group.all_gather([n for n, file in enumerate(files) if not file.exists()])[0]
    predict = _predictor(model, samples, shrink, group.device) if missing else None
    for first in range(0, len(missing), group.size):
        own = missing[first : first + group.size][group.rank : group.rank + 1]
        found: list[PredictedBodies] = []
        for position in range(_CHUNK):
            for number in own:
                if predict is not None and position < len(chunks[number]):
                    found.append(predict(*chunks[number][position]))
            if group.stop_requested():
                group.end()
        for number in own:
            save_tensors(files[number], _joined(found)._asdict())
        remaining = missing[first + group.size :]
        report_progress(count - sum(sizes[number] for number in remaining))
    group.barrier()
    return _joined([_read(file) for file in files])


def _batches(available: int, count: int, batch_size: int) -> list[tuple[int, Integers]]:
    """Return epoch and indices of each batch."""
    epochs, rest = divmod(count, available)
    spread = np.linspace(0, available - 1, rest).astype(np.int64)
    orders = [*[np.arange(available)] * epochs, spread]
    return [
        (epoch, order[start : start + batch_size])
        for epoch, order in enumerate(orders)
        for start in range(0, len(order), batch_size)
    ]


def _predictor(
    model: HemletsPosh, samples: Samples, shrink: int, device: torch.device
) -> Callable[[int, Integers], PredictedBodies]:
    """Return a function that predicts the samples of some indices in an epoch."""
    network: HemletsPosh | FusedModel = model.eval().to(device)
    if device.type == "cpu" and can_prepare("bfloat16"):
        network = FusedModel(model, "bfloat16")

    def predict(epoch: int, indices: Integers) -> PredictedBodies:
        batch = samples.batch(indices, epoch)
        image_B3HW = downscale(normalise(batch.image_BHW3.to(device)), shrink)
        looks = _looks(network, image_B3HW)
        return PredictedBodies(looks.cpu(), batch.rotation_BR33, batch.betas_BS)

    return predict


@torch.inference_mode()
def _looks(network: HemletsPosh | FusedModel, image_B3HW: Tensor) -> Tensor:
    """Predict joints (B, 3, 18, 3) of each view; the mirror image's are mirrored back."""
    images = torch.cat([image_B3HW, image_B3HW.flip(-1)])
    voxel = network(images.contiguous(memory_format=torch.channels_last)).decoded.voxel_BJ3
    one, other = nominal_metres(voxel.float(), network.volume).chunk(2)
    other = other[:, list(FLIP_JOINTS)] * other.new_tensor((-1.0, 1.0, 1.0))
    return torch.stack([one, other, (one + other) / 2], 1)


def _joined(parts: Sequence[PredictedBodies]) -> PredictedBodies:
    return PredictedBodies(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _read(path: Path) -> PredictedBodies:
    from safetensors.torch import load_file

    try:
        return PredictedBodies(**load_file(path))
    except FileNotFoundError as error:
        raise missing_shared_file("predicted", path) from error
