"""Precompute a frozen backbone's features for all training crops.

A frozen backbone gives the same features at every step, so the rest of the network is trained from
features on disk. Each sample has `TrainingConfig.feature_crops` augmented crops, which the epochs
cycle through.

Shape suffixes: B batch, F features of a crop: its levels, channels last, concatenated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hemlets.core.arrays import Integers
from hemlets.core.files import require_free_space
from hemlets.data.transforms import normalise
from hemlets.models.model_folder import save_tensors
from hemlets.models.pose import Encoded, PoseNetwork
from hemlets.training.batches import Samples
from hemlets.training.group import Group, missing_shared_file

CHUNK: Final = 256
"""Crops per file: the most that a killed process has to compute again."""
_STEP: Final = 16
"""Crops per forward pass of the backbone."""


class FeatureBatch(NamedTuple):
    """Encoded crops with the targets of `hemlets.training.batches.Batch`.

    Attributes:
        feature_BF: float16.
        keypoints_BK3: The backbone's keypoints; (B, 0, 3) if it has none.
    """

    feature_BF: Tensor
    keypoints_BK3: Tensor
    voxel_BJ3: Tensor
    known2d_BJ: Tensor
    known3d_BJ: Tensor
    relation_BK: Tensor
    steep_BK: Tensor
    relation_known_BK: Tensor
    rotation_BR33: Tensor
    betas_BS: Tensor
    smpl_known_B: Tensor
    absent_B: Tensor

    def to(self, device: torch.device) -> FeatureBatch:
        """Move the batch to a device."""
        return FeatureBatch(*(value.to(device, non_blocking=True) for value in self))


def flatten_features(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """Return features (B, F) in float16 and keypoints (B, K, 3); K = 0 without keypoints."""
    levels = [level.permute(0, 2, 3, 1).flatten(1).half() for level in encoded.levels]
    keypoints = encoded.keypoints_BK3
    if keypoints is None:
        keypoints = levels[0].new_zeros(len(levels[0]), 0, 3)
    return torch.cat(levels, 1), keypoints.float()


def unflatten_features(batch: FeatureBatch, network: PoseNetwork) -> Encoded:
    """Invert :func:`flatten_features` for the network of the same backbone."""
    config, count = network.config, network.n_levels
    channels = network.level_channels
    sides = [config.volume_cells >> level for level in range(count)]
    sizes = [side * side * width for side, width in zip(sides, channels, strict=True)]
    parts = batch.feature_BF.split(sizes, 1)  # type: ignore[no-untyped-call]
    levels = [
        part.view(-1, side, side, width).permute(0, 3, 1, 2).float()
        for part, side, width in zip(parts, sides, channels, strict=True)
    ]
    keypoints = batch.keypoints_BK3
    return Encoded(levels, keypoints if keypoints.shape[1] else None)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of a module's state: names, types and values."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compute_features(
    network: PoseNetwork,
    samples: Samples,
    crops: int,
    *,
    folder: Path,
    precision: torch.dtype,
    group: Group,
    report_progress: Callable[[int], None] = lambda computed: None,
) -> FeatureSamples:
    """Compute the features of all samples that no earlier process computed.

    The processes share the work.

    Args:
        network: The network whose backbone is run.
        samples: Crops with targets.
        crops: Augmented crops of each sample: those of the first epochs.
        folder: Folder of these features, named by a hash of everything that they depend on.
        precision: Precision of the backbone.
        group: The processes.
        report_progress: Called with the number of finished crops.

    Raises:
        SystemExit: Code 75 if a stop was requested.
        TrainingError: A file of another process is missing.
        WorkspaceError: The disk is too small.
    """
    total = crops * len(samples)
    chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    files = [folder / f"{number:06d}.safetensors" for number in range(len(chunks))]
    # As process 0 sees it: all must count alike.
    missing = group.all_gather([n for n, file in enumerate(files) if not file.exists()])[0]
    was_training = network.training
    network.eval().to(group.device)
    if missing and group.rank == 0:
        one = _features(network, samples, np.array([0]), 0, precision)
        size = sum(value.nbytes for value in one)
        require_free_space(folder, size * sum(len(chunks[number]) for number in missing))
    for first in range(0, len(missing), group.size):
        for number in missing[first : first + group.size][group.rank : group.rank + 1]:
            parts = []
            for step in _steps(chunks[number], len(samples)):
                parts.append(_features(network, samples, *step, precision))
                if group.size == 1 and group.stop_requested():
                    group.end()
            _write(files[number], parts)
        if group.stop_requested():
            group.end()
        report_progress(
            total - sum(len(chunks[number]) for number in missing[first + group.size :])
        )
    network.train(was_training)
    group.barrier()
    return FeatureSamples(files, len(samples), crops)


def _steps(chunk: range, samples: int) -> list[tuple[Integers, int]]:
    """Return indices and epoch of each forward pass; never of two epochs."""
    steps: list[tuple[Integers, int]] = []
    start = chunk.start
    while start < chunk.stop:
        epoch, index = divmod(start, samples)
        count = min(_STEP, chunk.stop - start, samples - index)
        steps.append((np.arange(index, index + count), epoch))
        start += count
    return steps


@torch.inference_mode()
def _features(
    network: PoseNetwork, samples: Samples, indices: Integers, epoch: int, precision: torch.dtype
) -> FeatureBatch:
    batch = samples.batch(indices, epoch)
    device = next(network.parameters()).device
    image_B3HW = normalise(batch.image_BHW3.to(device))
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        encoded = network.encode(image_B3HW.contiguous(memory_format=torch.channels_last))
    feature_BF, keypoints_BK3 = flatten_features(encoded)
    _, *targets = batch
    return FeatureBatch(feature_BF.cpu(), keypoints_BK3.cpu(), *targets)


def _write(path: Path, parts: list[FeatureBatch]) -> None:
    columns = zip(*parts, strict=True)
    save_tensors(path, FeatureBatch(*(torch.cat(column) for column in columns))._asdict())


class FeatureSamples:
    """Computed features as training samples, memory-mapped from disk.

    Raises:
        TrainingError: A file is missing.
    """

    def __init__(self, files: list[Path], samples: int, crops: int) -> None:
        from safetensors import safe_open

        self._samples, self._crops = samples, crops
        self._files = []
        targets: list[dict[str, Tensor]] = []
        for file in files:
            try:
                opened = safe_open(file, framework="pt")
            except FileNotFoundError as error:
                raise missing_shared_file("computed", file) from error
            self._files.append(opened.get_slice("feature_BF"))  # type: ignore[no-untyped-call]
            names = FeatureBatch._fields[1:]
            targets.append(
                {name: opened.get_tensor(name) for name in names}  # type: ignore[no-untyped-call]
            )
        self._targets = {name: torch.cat([t[name] for t in targets]) for name in targets[0]}

    def __len__(self) -> int:
        return self._samples

    def with_targets(self, samples: Samples) -> FeatureSamples:
        """The same features with the targets of other annotations of the same rows."""
        rows = np.arange(len(samples))
        parts = [samples.targets(rows, crop) for crop in range(self._crops)]
        own = copy(self)
        own._targets = self._targets | {
            name: torch.cat([part[name] for part in parts]) for name in parts[0]
        }
        return own

    def batch(self, indices: Integers, epoch: int) -> FeatureBatch:
        """Load the batch of some indices in an epoch."""
        numbers = epoch % self._crops * self._samples + np.asarray(indices, np.int64)
        rows = [self._files[n // CHUNK][n % CHUNK : n % CHUNK + 1] for n in numbers.tolist()]
        chosen = torch.from_numpy(numbers)
        return FeatureBatch(
            feature_BF=torch.cat(rows),
            **{name: values[chosen] for name, values in self._targets.items()},
        )
