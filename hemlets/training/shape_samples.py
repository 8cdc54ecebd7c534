"""Training samples for the shape network without images: joints with noise, θ and β.

They need no image decoding, so the shape network sees hundreds of thousands of samples a minute.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from hemlets.body import mirror_theta
from hemlets.core.arrays import Bool, Integers
from hemlets.core.errors import DataError
from hemlets.core.skeleton import FLIP_JOINTS, N_JOINTS, Joint
from hemlets.data.table import Annotations
from hemlets.data.transforms import AugmentationConfig, square_crop
from hemlets.models.codecs import VolumeSpec, crop_views, into_view
from hemlets.models.posh import nominal_metres

_JOINT_SHARE = (0.3, 1.3)
"""Range of a joint's noise relative to its sample's: wrists are noisier than hips."""


class ShapeBatch(NamedTuple):
    """Joints and their bodies.

    Attributes:
        joints_BJ3_m: Relative to the pelvis, in nominal metres of the crop.
        rotation_BR33: SMPL θ as matrices; the root's in the crop's view.
        betas_BS: SMPL β.
    """

    joints_BJ3_m: Tensor
    rotation_BR33: Tensor
    betas_BS: Tensor

    def to(self, device: torch.device) -> ShapeBatch:
        """Move the batch to a device."""
        return ShapeBatch(*(value.to(device, non_blocking=True) for value in self))


def has_body_and_joints(annotations: Annotations) -> Bool:
    """Mark rows (N,) with a known body and all joints in 2D and 3D."""
    known: Bool = annotations.smpl_valid & annotations.valid2d.all(1) & annotations.valid3d.all(1)
    return known


def no_bodies() -> DataError:
    """Make the error of data without such rows."""
    return DataError(
        "no row has all joints in the image and in space together with θ and β",
        where="smpl_valid",
        expected="rows to teach the shape network from",
        remedy="train on data with bodies, or leave the shape stage out",
    )


class ShapeSamples:
    """Rows with a known body and all joints, augmented by (seed, epoch, index)."""

    def __init__(
        self,
        annotations: Annotations,
        volume: VolumeSpec,
        *,
        seed: int,
        augmentation: AugmentationConfig | None,
    ) -> None:
        a = annotations.take(has_body_and_joints(annotations))
        if not len(a):
            raise no_bodies()
        self.seed, self.augmentation = seed, augmentation
        crops = [square_crop(box, volume.crop_px) for box in a.box_xyxy]
        points = [crop.to_crop(px) for crop, px in zip(crops, a.joints2d_px, strict=True)]
        depth_mm = a.joints3d_mm[..., 2] - a.joints3d_mm[:, [Joint.PELVIS], 2]
        voxels = volume.to_voxels(
            torch.from_numpy(np.stack(points).astype(np.float32)), torch.from_numpy(depth_mm)
        )
        self._joints = nominal_metres(voxels, volume)
        centres = np.array([crop.centre_px for crop in crops])
        self._rotation = into_view(
            roma.rotvec_to_rotmat(torch.from_numpy(a.theta.copy())).float(),
            crop_views(centres, a.camera, a.camera_valid),
        )
        self._epoch = -1
        self._draws: Draws | None = None
        self._betas = torch.from_numpy(a.betas.astype(np.float32))

    def __len__(self) -> int:
        return len(self._joints)

    def batch(self, indices: Integers, epoch: int) -> ShapeBatch:
        """Make the batch of some indices in an epoch."""
        chosen = torch.from_numpy(np.asarray(indices, np.int64))
        exact = ShapeBatch(self._joints[chosen], self._rotation[chosen], self._betas[chosen])
        if self.augmentation is None:
            return exact
        draws = self._draws_of(epoch)
        return apply_draws(exact, Draws(*(values[chosen] for values in draws)))

    def _draws_of(self, epoch: int) -> Draws:
        """Draw all samples of an epoch at once: faster than a generator each."""
        if self._epoch != epoch:
            assert self.augmentation is not None
            self._draws = sample_draws(self.augmentation, (self.seed, epoch), len(self))
            self._epoch = epoch
        assert self._draws is not None
        return self._draws


class Draws(NamedTuple):
    """Random augmentation of each sample, for :func:`apply_draws`."""

    flip_B: Tensor
    angle_B: Tensor
    scale_B: Tensor
    noise_BJ3_m: Tensor


def sample_draws(config: AugmentationConfig, key: tuple[int, int], count: int) -> Draws:
    """Draw the augmentation of ``count`` samples from a key such as (seed, epoch)."""
    rng = np.random.default_rng(key)
    limit = np.deg2rad(config.rotation_deg)
    strength_N11 = config.joint_noise_m * rng.random((count, 1, 1)) ** 2
    share_NJ1 = rng.uniform(*_JOINT_SHARE, (count, N_JOINTS, 1))
    values = (
        rng.uniform(-limit, limit, count),
        rng.uniform(config.scale_min, config.scale_max, count),
        strength_N11 * share_NJ1 * rng.standard_normal((count, N_JOINTS, 3), np.float32),
    )
    flip = torch.from_numpy(rng.random(count) < config.flip)
    return Draws(flip, *(torch.from_numpy(v.astype(np.float32)) for v in values))


def apply_draws(batch: ShapeBatch, draws: Draws) -> ShapeBatch:
    """Mirror, rotate in the image plane, scale in it, and add noise."""
    flip_B, angle_B, scale_B, noise_BJ3_m = draws
    joints, rotation = batch.joints_BJ3_m, batch.rotation_BR33
    mirrored = joints[:, list(FLIP_JOINTS)] * joints.new_tensor((-1.0, 1.0, 1.0))
    # The crop is turned first and mirrored then, so that a mirrored one turns the other way.
    angle_B = torch.where(flip_B, -angle_B, angle_B)
    joints = torch.where(flip_B[:, None, None], mirrored, joints)
    rotation = torch.where(flip_B[:, None, None, None], mirror_theta(rotation), rotation)
    axis = angle_B[:, None] * angle_B.new_tensor((0.0, 0.0, 1.0))
    turn_B33 = roma.rotvec_to_rotmat(axis).to(joints)
    joints = joints @ turn_B33.mT
    rotation = torch.cat([turn_B33[:, None] @ rotation[:, :1], rotation[:, 1:]], 1)
    plane = torch.stack([scale_B, scale_B, torch.ones_like(scale_B)], -1)
    joints = joints * plane[:, None].to(joints) + noise_BJ3_m
    return ShapeBatch(joints - joints[:, [Joint.PELVIS]], rotation, batch.betas_BS)
