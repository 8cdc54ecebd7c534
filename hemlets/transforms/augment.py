"""Training-time variation of a sample, drawn from (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hemlets.config import Config

__all__ = ["Augmentation", "AugmentationConfig", "draw_augmentation"]


class AugmentationConfig(Config):
    """The paper's: rotation ±30°, scale 0.75–1.25, flip 0.5 and colour; and some shift."""

    rotation_deg: float = Field(30.0, ge=0, le=180)
    scale_min: float = Field(0.75, gt=0, le=1)
    scale_max: float = Field(1.25, ge=1)
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.2, ge=0, lt=1)
    shift: float = Field(0.05, ge=0, le=0.3)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One draw: turn, scale, mirror, shift (fractions of the crop) and a gain a channel."""

    angle_rad: float
    scale: float
    flip: bool
    shift: tuple[float, float]
    gain_3: npt.NDArray[np.float32]

    def colour(self, crop_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Apply the gains."""
        table = np.arange(256, dtype=np.float32)[:, None] * self.gain_3
        lookup = np.clip(table, 0, 255).astype(np.uint8)
        import cv2

        return np.asarray(cv2.LUT(crop_HW3, lookup[None]), np.uint8)


def draw_augmentation(config: AugmentationConfig, key: tuple[int, ...]) -> Augmentation:
    """Draw the augmentation of the sample that ``key`` (seed, epoch, index) names."""
    rng = np.random.default_rng(key)
    limit = np.deg2rad(config.rotation_deg)
    low, high = 1 - config.colour, 1 + config.colour
    return Augmentation(
        angle_rad=float(rng.uniform(-limit, limit)),
        scale=float(rng.uniform(config.scale_min, config.scale_max)),
        flip=bool(rng.random() < config.flip),
        shift=(
            float(rng.uniform(-config.shift, config.shift)),
            float(rng.uniform(-config.shift, config.shift)),
        ),
        gain_3=rng.uniform(low, high, 3).astype(np.float32),
    )
