"""Draw backgrounds, clutter, occluders and camera effects, at the image's own size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from hemlets.core.arrays import Array, Float, Float32, Image, Int32
from hemlets.data.synthetic.appearance import random_colour

_BANK_SIDE: Final = 256
_SHIFT: Final = 3
"""Binary digits of OpenCV's fixed-point coordinates: eighths of a pixel."""


@lru_cache(maxsize=1)
def _texture_bank() -> Float32:
    """Eight fixed tiles (8, 256, 256) within 0–1, from clouds to fine grain."""
    rng = np.random.default_rng(20_190)
    tiles = []
    for roughness in np.linspace(0.35, 1.0, 8):
        tile = np.zeros((_BANK_SIDE, _BANK_SIDE), np.float32)
        for octave in range(1, 8):
            cells = rng.random((2**octave, 2**octave)).astype(np.float32)
            size = (_BANK_SIDE, _BANK_SIDE)
            tile += roughness**octave * cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)
        low, high = np.percentile(tile, [1, 99])
        tiles.append(np.clip((tile - low) / (high - low), 0.0, 1.0))
    return np.stack(tiles)


@lru_cache(maxsize=1)
def _grain_bank() -> Float32:
    """Fixed white noise (512, 512, 3) of unit deviation."""
    rng = np.random.default_rng(20_191)
    return rng.standard_normal((512, 512, 3)).astype(np.float32)


def _texture(rng: np.random.Generator, side: int) -> Float32:
    """Draw a random crop (side, side) of the bank, at a random magnification."""
    tile = _texture_bank()[rng.integers(8)]
    window = int(rng.integers(_BANK_SIDE // 6, _BANK_SIDE + 1))
    top, left = rng.integers(0, _BANK_SIDE - window + 1, 2)
    crop = tile[top : top + window, left : left + window]
    if rng.random() < 0.5:
        crop = crop.T
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]


def _mix(share_HW: Float32, first: Float32, second: Float32) -> Image:
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
    table = (255.0 * (first + ramp * (second - first))).astype(np.uint8)
    level = cv2.convertScaleAbs(share_HW, alpha=255.0)
    return cv2.LUT(cv2.merge([level] * 3), table[:, None])  # type: ignore[no-any-return]


def _gradient(rng: np.random.Generator, side: int) -> Float32:
    angle = rng.uniform(0.0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    ramp = np.float32(np.cos(angle)) * axis[:, None] + np.float32(np.sin(angle)) * axis
    steep = np.float32(rng.uniform(0.5, 1.6))
    return np.asarray(np.clip(ramp * steep + np.float32(0.5), 0.0, 1.0), np.float32)


def _blocks(rng: np.random.Generator, side: int) -> Image:
    cells = rng.integers(2, 12, 2)
    colours = rng.uniform(0.0, 255.0, (*cells, 3)).astype(np.float32)
    level = rng.uniform(0.2, 1.0)
    colours = level * colours + (1 - level) * 255.0 * random_colour(rng)
    how = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_CUBIC
    large = cv2.resize(colours, (side, side), interpolation=how)
    return np.asarray(np.clip(large, 0, 255), np.uint8)


def _stripes(rng: np.random.Generator, side: int) -> Image:
    axis = np.arange(side, dtype=np.float32)
    wave = rng.normal(0.0, 1.0, 2) * rng.uniform(0.03, 0.35)
    share = np.sin(np.float32(wave[0]) * axis[:, None] + np.float32(wave[1]) * axis)
    if rng.random() < 0.6:
        share = np.sign(share)
    return _mix(np.float32(0.5) * (share + np.float32(1.0)), random_colour(rng), random_colour(rng))


def _room(rng: np.random.Generator, side: int) -> Image:
    """Draw a wall and a floor, each with its own grain."""
    wall = _mix(_texture(rng, side), random_colour(rng), random_colour(rng))
    floor = _mix(_texture(rng, side), random_colour(rng), random_colour(rng))
    left, right = rng.uniform(0.35, 0.95) * side + rng.normal(0.0, 0.05 * side, 2)
    corners = np.array([[0, left], [side, right], [side, side], [0, side]])
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [_fixed(corners)], 255, cv2.LINE_AA, _SHIFT)
    return _blend(wall, floor, mask)


def _fixed(points: Array) -> Int32:
    """Convert image points to OpenCV's fixed point, whose pixel centres are whole numbers."""
    return np.round((points - 0.5) * 2**_SHIFT).astype(np.int32)


def _blend(below: Image, above: Image, mask_HW: Image) -> Image:
    alpha = cv2.merge([mask_HW, mask_HW, mask_HW])
    over = cv2.multiply(above, alpha, scale=1 / 255.0)
    under = cv2.multiply(below, 255 - alpha, scale=1 / 255.0)
    return cv2.add(over, under)  # type: ignore[no-any-return]


def draw_background(rng: np.random.Generator, side: int, clutter_probability: float) -> Image:
    """Draw a background (side, side, 3), RGB."""
    kind = rng.choice(6, p=(0.14, 0.24, 0.14, 0.08, 0.3, 0.1))
    if kind == 0:
        image = _mix(_gradient(rng, side), random_colour(rng), random_colour(rng))
    elif kind == 1:
        image = _mix(_texture(rng, side), random_colour(rng), random_colour(rng))
    elif kind == 2:
        image = _blocks(rng, side)
    elif kind == 3:
        image = _stripes(rng, side)
    elif kind == 4:
        image = _room(rng, side)
    else:
        channels = [_texture(rng, side) for _ in range(3)]
        image = np.asarray(255.0 * np.stack(channels, -1), np.uint8)
    image = np.ascontiguousarray(image)
    if rng.random() < clutter_probability:
        for _ in range(int(rng.integers(2, 18))):
            _draw_clutter(rng, image)
    if rng.random() < 0.25:  # out of focus
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.5))
    return image


def _draw_clutter(rng: np.random.Generator, image: Image) -> None:
    side = len(image)
    colour = [float(c) for c in 255.0 * random_colour(rng)]
    middle = rng.uniform(0.0, side, 2)
    size = side * rng.uniform(0.03, 0.3) * rng.uniform(0.3, 1.0, 2)
    kind = rng.integers(4)
    if kind == 0:
        ends = middle + rng.normal(0.0, 0.3 * side, (2, 2))
        first, second = (tuple(int(v) for v in end) for end in _fixed(ends))
        cv2.line(image, first, second, colour, int(rng.integers(1, 7)), cv2.LINE_AA, _SHIFT)
    elif kind == 1:
        centre = tuple(int(v) for v in _fixed(middle))
        axes = tuple(int(v) for v in size * 2**_SHIFT)
        thick = -1 if rng.random() < 0.7 else int(rng.integers(1, 5))
        turn = rng.uniform(0, 180)
        cv2.ellipse(image, centre, axes, turn, 0, 360, colour, thick, cv2.LINE_AA, _SHIFT)
    else:
        outline = _polygon(rng, middle, size, boxed=kind == 2)
        cv2.fillPoly(image, [_fixed(outline)], colour, cv2.LINE_AA, _SHIFT)


def _polygon(
    rng: np.random.Generator,
    middle: Float,
    half_size: Float,
    *,
    boxed: bool,
) -> Float:
    if boxed:
        outline = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
        angle = rng.normal(0.0, 0.5)
    else:
        turns = np.sort(rng.uniform(0.0, 2 * np.pi, int(rng.integers(3, 8))))
        radius = rng.uniform(0.5, 1.2, len(turns))
        outline = np.stack([radius * np.cos(turns), radius * np.sin(turns)], -1)
        angle = rng.uniform(0.0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(middle + (outline * half_size) @ rotation.T)


def draw_occluders(
    rng: np.random.Generator, image: Image, person_box_xyxy: Array
) -> tuple[Image, Image]:
    """Draw one to three objects in front of the person.

    Args:
        rng: The sample's random numbers.
        image: RGB (side, side, 3).
        person_box_xyxy: The person's box, pixels.

    Returns:
        The image, and the coverage of each pixel by the objects, 0–255.
    """
    side = len(image)
    low, high = person_box_xyxy[:2], person_box_xyxy[2:]
    size = float((high - low).max())
    cover = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros((side, side), np.uint8)
        middle = low + rng.uniform(0.0, 1.0, 2) * (high - low)
        half = size * rng.uniform(0.05, 0.2, 2)
        kind = rng.integers(5)
        if kind == 0:
            centre = tuple(int(v) for v in _fixed(middle))
            axes = tuple(int(v) for v in half * 2**_SHIFT)
            turn = rng.uniform(0, 180)
            cv2.ellipse(mask, centre, axes, turn, 0, 360, 255, -1, cv2.LINE_AA, _SHIFT)
        elif kind == 1:  # a bar, a pole, a rail
            slope = rng.normal(0.0, 0.15)
            along = np.array([slope, 1.0]) if rng.random() < 0.5 else np.array([1.0, slope])
            across = np.array([-along[1], along[0]]) * size * rng.uniform(0.015, 0.06)
            ends = np.stack([middle - 2 * side * along, middle + 2 * side * along])
            bar = np.concatenate([ends - across, ends[::-1] + across])
            cv2.fillPoly(mask, [_fixed(bar)], 255, cv2.LINE_AA, _SHIFT)
        elif kind == 2:  # furniture: rises from the lower edge
            top = high[1] - rng.uniform(0.1, 0.45) * (high[1] - low[1])
            wide = size * rng.uniform(0.15, 0.6)
            lean = rng.normal(0.0, 0.05 * size, 2)
            desk = np.array(
                [
                    [middle[0] - wide, side + 2.0], [middle[0] - wide + lean[0], top],
                    [middle[0] + wide + lean[1], top], [middle[0] + wide, side + 2.0],
                ]
            )  # fmt: skip
            cv2.fillPoly(mask, [_fixed(desk)], 255, cv2.LINE_AA, _SHIFT)
        else:
            outline = _polygon(rng, middle, half, boxed=kind == 3)
            cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        surface = _mix(_texture(rng, side), random_colour(rng), random_colour(rng))
        image = _blend(image, surface, mask)
        cover = cv2.max(cover, mask)
    return image, cover


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Effects of lens, sensor and storage on an image."""

    blur_px: float
    shrink: float
    gain: float
    offset: float
    gamma: float
    tint_3: Float32
    grain: float
    grain_at: tuple[int, int]
    jpeg_quality: int

    def apply(self, image: Image) -> Image:
        """Apply the effects to an image, before compression."""
        side = len(image)
        if self.shrink < 1.0:
            small = max(int(side * self.shrink), 16)
            image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        if self.blur_px > 0.0:
            image = cv2.GaussianBlur(image, (0, 0), self.blur_px)
        level = np.arange(256, dtype=np.float32)[:, None] / 255.0
        curve = self.gain * (level**self.gamma - 0.5) + 0.5 + self.offset
        table = np.clip(255.0 * curve * self.tint_3 + 0.5, 0.0, 255.0).astype(np.uint8)
        image = cv2.LUT(image, np.ascontiguousarray(table)[:, None])
        if self.grain > 0.0:
            bank = _grain_bank()
            rows = np.arange(self.grain_at[0], self.grain_at[0] + side) % len(bank)
            columns = np.arange(self.grain_at[1], self.grain_at[1] + side) % len(bank)
            noise = cv2.multiply(bank[rows[:, None], columns], (self.grain,) * 4)
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        return image


def draw_effects(rng: np.random.Generator, jpeg_quality: tuple[int, int]) -> Effects:
    """Draw an image's blur, exposure, white balance, grain and compression."""
    return Effects(
        blur_px=float(rng.uniform(0.3, 1.1)) if rng.random() < 0.25 else 0.0,
        shrink=float(rng.uniform(0.45, 0.9)) if rng.random() < 0.12 else 1.0,
        gain=float(rng.uniform(0.75, 1.2)),
        offset=float(rng.uniform(-0.08, 0.08)),
        gamma=float(np.exp(rng.uniform(-0.3, 0.3))),
        tint_3=np.asarray(1.0 + rng.normal(0.0, 0.04, 3), np.float32),
        grain=float(rng.uniform(1.0, 9.0)) if rng.random() < 0.5 else 0.0,
        grain_at=(int(rng.integers(512)), int(rng.integers(512))),
        jpeg_quality=int(rng.integers(jpeg_quality[0], jpeg_quality[1] + 1)),
    )
