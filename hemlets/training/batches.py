"""Batches of crops and targets, the same for any number of processes and after any resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import roma
import torch
from torch import Tensor

from hemlets.body import mirror_theta
from hemlets.core.arrays import Floating, Image, Integers
from hemlets.core.errors import ConfigError
from hemlets.core.skeleton import FLIP_JOINTS, FLIP_PARTS, PART_CHILD, PART_PARENT, Joint
from hemlets.data.table import Annotations, ShardReader
from hemlets.data.transforms import (
    Augmentation,
    AugmentationConfig,
    Crop,
    draw_augmentation,
    square_crop,
)
from hemlets.data.transforms.stored import extract_stored
from hemlets.models.codecs import VolumeSpec, crop_views, from_view, into_view, steepness
from hemlets.training.mixing import MixedSource, batch_counts

_SHUFFLE = 77
"""Keeps the order within a batch apart from the order of a pass."""


class AnyBatch(Protocol):
    """A named tuple of tensors whose first dimension is the batch."""

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        ...

    def _asdict(self) -> dict[str, Tensor]: ...


B = TypeVar("B", bound=AnyBatch)
B_co = TypeVar("B_co", bound=AnyBatch, covariant=True)


class Source(Protocol[B_co]):
    """Numbered samples; a sample is a function of (epoch, index)."""

    def __len__(self) -> int: ...

    def batch(self, indices: Integers, epoch: int) -> B_co:
        """Make the batch of some indices in an epoch."""
        ...


def micro_batches(batch: B, parts: int) -> list[B]:
    """Cut a batch into equal parts, in order."""
    if parts == 1:
        return [batch]
    columns = {name: value.chunk(parts) for name, value in batch._asdict().items()}
    return [
        type(batch)(**{name: chunks[part] for name, chunks in columns.items()})
        for part in range(parts)
    ]


class Batch(NamedTuple):
    """Crops with their targets.

    Attributes:
        image_BHW3: uint8 RGB crops.
        voxel_BJ3: Joint targets in continuous voxels.
        known2d_BJ: 1 where x and y are known.
        known3d_BJ: 1 where depth is known.
        relation_BK: Depth relations.
        steep_BK: 1 where the part is tilted by more than 60°, 0 by less, -1 where only its
            relation is known.
        relation_known_BK: 1 where the relation is known (Λ).
        rotation_BR33: SMPL θ as matrices; the root's in the crop's view.
        betas_BS: SMPL β.
        smpl_known_B: 1 where θ and β are known.
        absent_B: 1 where there is no person; the targets of all heatmaps are then 0.
    """

    image_BHW3: Tensor
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

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


class ImageReader(Protocol):
    """Source of the stored bytes of images, such as `ShardReader`."""

    def jpeg(self, shard: str, row: int, sample_id: str | None = None) -> bytes:
        """Return the stored bytes of one image."""
        ...


class _View(NamedTuple):
    """The augmented view of a sample in an epoch.

    Attributes:
        crop: Augmented crop.
        points_px: Joints in it, relabelled if it is mirrored.
        draw: The augmentation; None without one.
    """

    crop: Crop
    points_px: Floating
    draw: Augmentation | None


class Samples:
    """The samples of one split, cropped and augmented by (seed, epoch, index).

    People whose depth is known only by relations (FBI labels, ordinal pairs) train depth by the
    triplets alone. Like other 2D data they train L_2D and, with λ = 0, L_3D (equations (4) and
    (6)). The triplets' Gaussians stand at the annotated 2D joints (equation (2)): a relation
    between joints that are not annotated in the image is not used.

    Args:
        annotations: The rows.
        shards: Folder of their image shards, or another reader of their images.
        volume: Voxel grid of the targets.
        seed: Seed of the augmentation.
        augmentation: None disables augmentation.
        keys: Number per row that seeds its augmentation; by default the row's position.
    """

    def __init__(
        self,
        annotations: Annotations,
        shards: Path | ImageReader,
        volume: VolumeSpec,
        *,
        seed: int,
        augmentation: AugmentationConfig | None,
        keys: Integers | None = None,
    ) -> None:
        self.volume = volume
        self.seed = seed
        self.augmentation = augmentation
        self._reader = ShardReader(shards) if isinstance(shards, Path) else shards
        self._keys = np.arange(len(annotations)) if keys is None else keys
        a = annotations
        self._ids, self._shard, self._row = a.sample_id, a.shard, a.shard_row
        self._box = a.box_xyxy
        self._joints2d, self._joints3d = a.joints2d_px, a.joints3d_mm
        self._valid2d = a.valid2d
        # Depth is a target only relative to a known pelvis.
        self._valid3d = a.valid3d & a.valid3d[:, [Joint.PELVIS]]
        self._relations = a.relations
        self._steep = steepness(a.joints3d_mm, a.valid3d)
        # A triplet holds the Gaussians of both joints, so both must be known in the image.
        ends_known = a.valid2d[:, PART_PARENT] & a.valid2d[:, PART_CHILD]
        self._relations_valid = a.relations_valid & ends_known
        theta = torch.from_numpy(a.theta.copy())
        self._rotation = roma.rotvec_to_rotmat(theta).numpy()
        self._betas, self._smpl_valid = a.betas, a.smpl_valid
        self._camera, self._camera_valid = a.camera, a.camera_valid
        self._absent = ~a.shows_person

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, indices: Integers, epoch: int) -> Batch:
        """The samples of some indices in one epoch."""
        views = [self._view(int(index), epoch) for index in indices]
        images = [self._pixels(int(i), view) for i, view in zip(indices, views, strict=True)]
        return Batch(torch.from_numpy(np.stack(images)), **self._targets(indices, views))

    def targets(self, indices: Integers, epoch: int) -> dict[str, Tensor]:
        """Make the targets of :meth:`batch` without reading images."""
        return self._targets(indices, [self._view(int(index), epoch) for index in indices])

    def _targets(self, indices: Integers, views: Sequence[_View]) -> dict[str, Tensor]:
        crops = [view.crop for view in views]
        flips = np.array([crop.flip for crop in crops])
        flip_joints, flip_parts = np.array(FLIP_JOINTS), np.array(FLIP_PARTS)

        def flipped(values: npt.NDArray[np.generic], order: Integers) -> Tensor:
            picked = values[indices]
            picked[flips] = picked[flips][:, order]
            return torch.from_numpy(picked.astype(np.float32))

        depth = self._joints3d[indices, :, 2]
        depth = depth - depth[:, [Joint.PELVIS]]
        depth[flips] = depth[flips][:, flip_joints]
        points_BJ2 = torch.from_numpy(np.stack([v.points_px for v in views]).astype(np.float32))
        return {
            "voxel_BJ3": self.volume.to_voxels(points_BJ2, torch.from_numpy(depth)),
            "known2d_BJ": flipped(self._valid2d, flip_joints),
            "known3d_BJ": flipped(self._valid3d, flip_joints),
            "relation_BK": flipped(self._relations, flip_parts),
            "steep_BK": flipped(self._steep, flip_parts),
            "relation_known_BK": flipped(self._relations_valid, flip_parts),
            "rotation_BR33": self._turned(indices, crops),
            "betas_BS": torch.from_numpy(self._betas[indices]),
            "smpl_known_B": torch.from_numpy(self._smpl_valid[indices].astype(np.float32)),
            "absent_B": torch.from_numpy(self._absent[indices].astype(np.float32)),
        }

    def _view(self, index: int, epoch: int) -> _View:
        crop = square_crop(self._box[index], self.volume.crop_px)
        if self.augmentation is None:
            return _View(crop, crop.to_crop(self._joints2d[index]), None)
        key = self.seed, epoch, int(self._keys[index])
        draw = draw_augmentation(self.augmentation, key)
        dx, dy = (s * crop.side_px for s in draw.shift)
        crop = replace(
            crop,
            centre_px=(crop.centre_px[0] + dx, crop.centre_px[1] + dy),
            side_px=crop.side_px / draw.scale,
            angle_rad=draw.angle_rad,
            flip=draw.flip,
        )
        points = crop.to_crop(self._joints2d[index])
        return _View(crop, points[list(FLIP_JOINTS)] if draw.flip else points, draw)

    def _pixels(self, index: int, view: _View) -> Image:
        name = self._ids[index]
        data = self._reader.jpeg(self._shard[index], int(self._row[index]), name)
        pixels = extract_stored(data, view.crop, where=name)
        return pixels if view.draw is None else view.draw.cover(view.draw.colour(pixels))

    def _turned(self, indices: Integers, crops: Sequence[Crop]) -> Tensor:
        """Rotate and mirror θ (matrices, root in the crop's view) like the crops."""
        centre = np.array([crop.centre_px for crop in crops])
        view = crop_views(centre, self._camera[indices], self._camera_valid[indices])
        angle = np.array([crop.angle_rad for crop in crops], np.float32)
        turn = roma.rotvec_to_rotmat(
            torch.from_numpy(angle)[:, None] * torch.tensor([0.0, 0.0, 1.0])
        )
        rotation = from_view(into_view(torch.from_numpy(self._rotation[indices]), view), turn)
        flip = torch.tensor([crop.flip for crop in crops])
        return torch.where(flip[:, None, None, None], mirror_theta(rotation), rotation)


class Loader(Generic[B]):
    """Endless training batches from a given step on; a thread prepares the next batch.

    The order of each pass over a source is a permutation drawn from (seed, pass, source). Every
    rank takes its stride of the same global batch, so the samples of a step depend on the step
    alone.

    Args:
        samples: The source of samples.
        batch_size: Global batch size.
        seed: Seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        accumulate: Micro-batches per step.
        sources: Sources with a fixed share of every batch (`hemlets.training.mixing`); a small one
            is repeated more often. None: one source with all samples.

    Raises:
        ConfigError: The batch does not fit the processes, the samples or the sources.
    """

    def __init__(
        self,
        samples: Source[B],
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        sources: Sequence[MixedSource] = (),
    ) -> None:
        if batch_size % (world_size * accumulate):
            raise ConfigError(
                f"{batch_size} samples can't be shared evenly by {world_size} processes in "
                f"{accumulate} part(s) each",
                where="training.batch_size",
                expected=f"a multiple of {world_size * accumulate}",
            )
        if len(samples) < batch_size:
            raise ConfigError(
                f"{len(samples)} training samples don't fill a batch of {batch_size}",
                where="training.batch_size",
                expected=f"at most {len(samples)}",
                remedy="lower it, or make more data",
            )
        self.samples = samples
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size = rank, world_size
        self._members = [source.members for source in sources] or [np.arange(len(samples))]
        shares = [source.share for source in sources] or [1.0]
        self._counts = batch_counts(shares, batch_size)
        # A pass ends with the last full batch, unless the source does not fill one.
        self._passes = [
            len(members) - len(members) % count if len(members) >= count else len(members)
            for members, count in zip(self._members, self._counts, strict=True)
        ]
        # Of the source that is repeated most often: augmentation is drawn by the epoch.
        self.steps_an_epoch = max(
            1, min(n // count for n, count in zip(self._passes, self._counts, strict=True))
        )

    def indices(self, step: int) -> tuple[Integers, int]:
        """This rank's sample indices of a step, and the epoch."""
        chosen = np.concatenate([self._drawn(source, step) for source in range(len(self._members))])
        if len(self._members) > 1:
            # Each process and each part of a batch gets its share of every source.
            chosen = np.random.default_rng((self.seed, step, _SHUFFLE)).permutation(chosen)
        return chosen[self.rank :: self.world_size], step // self.steps_an_epoch

    def _drawn(self, source: int, step: int) -> Integers:
        """Indices of one source's samples in a step's global batch."""
        count, length = self._counts[source], self._passes[source]
        number, place = divmod(np.arange(step * count, (step + 1) * count), length)
        # The only source, or the first, is drawn as before there were several.
        key = (source,) if source else ()
        parts = []
        for one in np.unique(number):
            order = np.random.default_rng((self.seed, int(one), *key)).permutation(
                len(self._members[source])
            )
            parts.append(self._members[source][order[place[number == one]]])
        return np.concatenate(parts)

    def batches(self, start: int, stop: int) -> Iterator[B]:
        """Yield the batches of steps ``start`` to ``stop - 1``."""

        def make(step: int) -> B:
            return self.samples.batch(*self.indices(step))

        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: Future[B] | None = pool.submit(make, start) if start < stop else None
            for step in range(start, stop):
                assert ahead is not None
                batch = ahead.result()
                ahead = pool.submit(make, step + 1) if step + 1 < stop else None
                yield batch
