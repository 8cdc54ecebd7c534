"""Augment training samples, drawn from (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from hemlets.core.arrays import Float32, Image
from hemlets.core.config import Config


class AugmentationConfig(Config):
    """The paper's augmentation: rotation ±30°, scale 0.75–1.25, flip 0.5, colour; and some shift.

    Attributes:
        occlusion: Probability of a noise patch over a part of the crop, for photographs without
            occluders; rendered people have their own.
        truncation: Probability of a crop so close that limbs leave it.
        joint_noise_m: Largest standard deviation of the noise on joints in the shape stage; each
            sample's is this times the square of a uniform number.
    """

    rotation_deg: float = Field(30.0, ge=0, le=180)
    scale_min: float = Field(0.75, gt=0, le=1)
    scale_max: float = Field(1.25, ge=1)
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.2, ge=0, lt=1)
    shift: float = Field(0.05, ge=0, le=0.3)
    occlusion: float = Field(0.0, ge=0, le=1)
    truncation: float = Field(0.0, ge=0, le=1)
    joint_noise_m: float = Field(0.12, ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of one sample.

    Attributes:
        angle_rad: Rotation of the content.
        scale: Enlargement of the content.
        flip: Mirrored.
        shift: Shift of the crop's centre, in fractions of its side.
        gain_3: Factor per channel.
        patch: Left, top, width and height of the noise patch, in fractions of the crop.
        patch_seed: Seed of its noise.
    """

    angle_rad: float
    scale: float
    flip: bool
    shift: tuple[float, float]
    gain_3: Float32
    patch: tuple[float, float, float, float] | None = None
    patch_seed: int = 0

    def cover(self, crop_HW3: Image) -> Image:
        """Draw the patch, if any, over the crop: noise around one colour."""
        if self.patch is None:
            return crop_HW3
        size = crop_HW3.shape[0]
        left, top, width, height = (round(value * size) for value in self.patch)
        covered = crop_HW3.copy()
        window = covered[top : top + height, left : left + width]
        rng = np.random.default_rng(self.patch_seed)
        noise = rng.normal(rng.uniform(0, 255, 3), rng.uniform(0, 60), window.shape)
        window[:] = np.clip(noise, 0, 255)
        return covered

    def colour(self, crop_HW3: Image) -> Image:
        """Apply the gains."""
        table = np.arange(256, dtype=np.float32)[:, None] * self.gain_3
        lookup = np.clip(table, 0, 255).astype(np.uint8)
        import cv2

        return np.asarray(cv2.LUT(crop_HW3, lookup[None]), np.uint8)


def draw_augmentation(config: AugmentationConfig, key: tuple[int, ...]) -> Augmentation:
    """Draw the augmentation of the sample ``key`` (seed, epoch, index)."""
    rng = np.random.default_rng(key)
    limit = np.deg2rad(config.rotation_deg)
    low, high = 1 - config.colour, 1 + config.colour
    draw = Augmentation(
        angle_rad=float(rng.uniform(-limit, limit)),
        scale=float(rng.uniform(config.scale_min, config.scale_max)),
        flip=bool(rng.random() < config.flip),
        shift=(
            float(rng.uniform(-config.shift, config.shift)),
            float(rng.uniform(-config.shift, config.shift)),
        ),
        gain_3=rng.uniform(low, high, 3).astype(np.float32),
    )
    # Drawn last and always, so that switching one on leaves every other value as it was.
    covered, cut = rng.random(2)
    left, top, width, height = rng.uniform((0, 0, 0.15, 0.15), (0.7, 0.7, 0.5, 0.5))
    zoom, *aside = rng.uniform((1.2, -0.25, -0.25), (1.6, 0.25, 0.25))
    if covered < config.occlusion:
        seed = int(rng.integers(2**31))
        draw = replace(draw, patch=(left, top, width, height), patch_seed=seed)
    if cut < config.truncation:
        dx, dy = draw.shift[0] + aside[0], draw.shift[1] + aside[1]
        draw = replace(draw, scale=draw.scale * zoom, shift=(dx, dy))
    return draw
