"""Light on a matt surface: a tinted sky, a key light and sometimes a second lamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hemlets.core.arrays import Float, Float32

MAX_LIGHT: Final = 2.0
"""Limit of the light: paper white saturates well below it."""


@dataclass(frozen=True, kw_only=True)
class Lights:
    """Lights in the camera frame.

    Attributes:
        sky_3: RGB of the light from above.
        ground_3: RGB of the light from below.
        towards_L3: Unit vectors from the body to each lamp, camera frame.
        lamps_L3: RGB of each lamp.
    """

    sky_3: Float32
    ground_3: Float32
    towards_L3: Float32
    lamps_L3: Float32

    def on(self, normals_V3: Float32) -> Float32:
        """Compute RGB light (V, 3) within 0–`MAX_LIGHT` on surfaces of unit normals (V, 3)."""
        upward = 0.5 - 0.5 * normals_V3[:, 1:2]  # the camera frame's y points down
        ambient = self.ground_3 + upward * (self.sky_3 - self.ground_3)
        # Light wraps a little around the edge, as from a lamp with some size.
        facing = np.maximum(normals_V3 @ self.towards_L3.T * 0.9 + 0.1, 0.0)
        return np.asarray(np.clip(ambient + facing @ self.lamps_L3, 0.0, MAX_LIGHT))


def _tint(rng: np.random.Generator, std: float) -> Float:
    warmth = rng.normal(0.0, std)
    return np.array([1.0 + warmth, 1.0, 1.0 - warmth])


def draw_lights(rng: np.random.Generator) -> Lights:
    """Draw lights; every person is lit."""
    exposure = rng.uniform(0.85, 1.2)
    key_share = rng.uniform(0.25, 0.75)
    sky = exposure * (1.0 - key_share) * _tint(rng, 0.06) * rng.uniform(0.9, 1.2)
    ground = sky * rng.uniform(0.45, 0.9)
    lamps = [exposure * key_share * rng.uniform(1.0, 1.5) * _tint(rng, 0.1)]
    towards = [_direction(rng, behind=rng.random() < 0.12)]
    if rng.random() < 0.35:
        lamps.append(exposure * rng.uniform(0.15, 0.45) * _tint(rng, 0.2))
        towards.append(_direction(rng, behind=rng.random() < 0.5))
    return Lights(
        sky_3=sky.astype(np.float32),
        ground_3=ground.astype(np.float32),
        towards_L3=np.array(towards, np.float32),
        lamps_L3=np.array(lamps, np.float32),
    )


def _direction(rng: np.random.Generator, *, behind: bool) -> Float:
    """Draw a direction from the body to a lamp: mostly above, on the camera's side or behind."""
    direction = rng.standard_normal(3)
    direction[1] -= 0.6
    direction[2] = abs(direction[2]) if behind else -abs(direction[2]) - 0.2
    return np.asarray(direction / np.linalg.norm(direction))
