"""Batches of crops and targets, the same for any number of processes and after any resume."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import roma
import torch
from torch import Tensor

from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.codecs import VolumeSpec
from hemlets.errors import ConfigError
from hemlets.skeleton import (
    FLIP_JOINTS,
    FLIP_PARTS,
    PART_CHILD,
    PART_PARENT,
    SMPL_JOINTS,
    Joint,
)
from hemlets.transforms import AugmentationConfig, draw_augmentation, square_crop

__all__ = ["Batch", "Loader", "Samples"]

_SMPL_FLIP = [
    SMPL_JOINTS.index(name.replace("left_", "~").replace("right_", "left_").replace("~", "right_"))
    for name in SMPL_JOINTS
]


class Batch(NamedTuple):
    """Crops with their targets.

    Attributes:
        image_BHW3: uint8 RGB crops.
        voxel_BJ3: Joint targets in continuous voxels.
        known2d_BJ: 1 where x and y are known.
        known3d_BJ: 1 where depth is known.
        relation_BK: Depth relations.
        relation_known_BK: 1 where the relation is known (Λ).
        rotation_BR33: SMPL θ as matrices.
        betas_BS: SMPL β.
        smpl_known_B: 1 where θ and β are known.
    """

    image_BHW3: Tensor
    voxel_BJ3: Tensor
    known2d_BJ: Tensor
    known3d_BJ: Tensor
    relation_BK: Tensor
    relation_known_BK: Tensor
    rotation_BR33: Tensor
    betas_BS: Tensor
    smpl_known_B: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self))


class Samples:
    """The samples of one split, cropped and augmented by (seed, epoch, index)."""

    def __init__(
        self,
        annotations: Annotations,
        shards: Path,
        volume: VolumeSpec,
        *,
        seed: int,
        augmentation: AugmentationConfig | None,
    ) -> None:
        self.volume = volume
        self.seed = seed
        self.augmentation = augmentation
        self._reader = ShardReader(shards)
        a = annotations
        self._ids, self._shard, self._row = a.sample_id, a.shard, a.shard_row
        self._box = a.box_xyxy
        self._joints2d, self._joints3d = a.joints2d_px, a.joints3d_mm
        self._valid2d = a.valid2d
        # Depth is a target only relative to a known pelvis.
        self._valid3d = a.valid3d & a.valid3d[:, [Joint.PELVIS]]
        self._relations = a.relations
        # A triplet holds the Gaussians of both joints, so both must be known in the image.
        ends_known = a.valid2d[:, PART_PARENT] & a.valid2d[:, PART_CHILD]
        self._relations_valid = a.relations_valid & ends_known
        theta = torch.from_numpy(a.theta.copy())
        self._rotation = roma.rotvec_to_rotmat(theta).numpy()
        self._betas, self._smpl_valid = a.betas, a.smpl_valid

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, indices: npt.NDArray[np.integer], epoch: int) -> Batch:
        """The samples of some indices in one epoch."""
        crops, joints, rotations = [], [], []
        flips = np.zeros(len(indices), bool)
        for slot, index in enumerate(indices):
            crop, points, rotation, flips[slot] = self._sample(int(index), epoch)
            crops.append(crop)
            joints.append(points)
            rotations.append(rotation)
        flip_joints, flip_parts = np.array(FLIP_JOINTS), np.array(FLIP_PARTS)

        def flipped(values: npt.NDArray[np.generic], order: npt.NDArray[np.integer]) -> Tensor:
            picked = values[indices]
            picked[flips] = picked[flips][:, order]
            return torch.from_numpy(picked.astype(np.float32))

        depth = self._joints3d[indices, :, 2]
        depth = depth - depth[:, [Joint.PELVIS]]
        depth[flips] = depth[flips][:, flip_joints]
        points_BJ2 = torch.from_numpy(np.stack(joints).astype(np.float32))
        return Batch(
            image_BHW3=torch.from_numpy(np.stack(crops)),
            voxel_BJ3=self.volume.to_voxels(points_BJ2, torch.from_numpy(depth)),
            known2d_BJ=flipped(self._valid2d, flip_joints),
            known3d_BJ=flipped(self._valid3d, flip_joints),
            relation_BK=flipped(self._relations, flip_parts),
            relation_known_BK=flipped(self._relations_valid, flip_parts),
            rotation_BR33=torch.from_numpy(np.stack(rotations).astype(np.float32)),
            betas_BS=torch.from_numpy(self._betas[indices]),
            smpl_known_B=torch.from_numpy(self._smpl_valid[indices].astype(np.float32)),
        )

    def _sample(
        self, index: int, epoch: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.floating], npt.NDArray[np.floating], bool]:
        name = self._ids[index]
        data = self._reader.jpeg(self._shard[index], int(self._row[index]), name)
        image = decode_image(data, where=name)
        crop = square_crop(self._box[index], self.volume.crop_px)
        rotation_R33 = self._rotation[index]
        if self.augmentation is None:
            return crop.extract(image), crop.to_crop(self._joints2d[index]), rotation_R33, False
        draw = draw_augmentation(self.augmentation, (self.seed, epoch, index))
        dx, dy = (s * crop.side_px for s in draw.shift)
        crop = replace(
            crop,
            centre_px=(crop.centre_px[0] + dx, crop.centre_px[1] + dy),
            side_px=crop.side_px / draw.scale,
            angle_rad=draw.angle_rad,
            flip=draw.flip,
        )
        points = crop.to_crop(self._joints2d[index])
        cos, sin = np.cos(draw.angle_rad), np.sin(draw.angle_rad)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        rotation_R33 = np.concatenate([turn @ rotation_R33[:1], rotation_R33[1:]])
        if draw.flip:
            points = points[list(FLIP_JOINTS)]
            # Conjugation by the mirror x → −x, for a body that is mirror-symmetric.
            mirror = np.array([1.0, -1.0, -1.0])
            rotation_R33 = rotation_R33[_SMPL_FLIP] * (mirror[:, None] * mirror)
        return draw.colour(crop.extract(image)), points, rotation_R33, draw.flip


class Loader:
    """Endless training batches from a given step on, made one ahead in a thread.

    The order of an epoch is a permutation drawn from (seed, epoch); every rank takes its
    stride of the same global batch, so the samples of a step depend on the step alone.

    Raises:
        ConfigError: The batch does not fit the processes or the samples.
    """

    def __init__(
        self, samples: Samples, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % world_size:
            raise ConfigError(
                f"{batch_size} samples can't be shared evenly by {world_size} processes",
                where="training.batch_size",
                expected=f"a multiple of {world_size}",
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
        self.steps_an_epoch = len(samples) // batch_size

    def indices(self, step: int) -> tuple[npt.NDArray[np.integer], int]:
        """This rank's sample indices of a step, and the epoch."""
        epoch, position = divmod(step, self.steps_an_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
        return chosen[self.rank :: self.world_size], epoch

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps from ``start`` to before ``stop``."""

        def make(step: int) -> Batch:
            return self.samples.batch(*self.indices(step))

        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: Future[Batch] | None = pool.submit(make, start) if start < stop else None
            for step in range(start, stop):
                assert ahead is not None
                batch = ahead.result()
                ahead = pool.submit(make, step + 1) if step + 1 < stop else None
                yield batch
