"""Augmentation: drawn from its key alone, within its limits."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.config import Config
from hemlets.core.errors import ConfigError
from hemlets.data.transforms import Augmentation, AugmentationConfig, draw_augmentation


def test_the_key_alone_decides_the_draw() -> None:
    a, b, c = (
        draw_augmentation(AugmentationConfig(), key) for key in [(1, 2, 3), (1, 2, 3), (1, 3, 2)]
    )
    assert (a.angle_rad, a.scale, a.flip, a.shift) == (b.angle_rad, b.scale, b.flip, b.shift)
    assert np.array_equal(a.gain_3, b.gain_3)
    assert a.angle_rad != c.angle_rad


def test_draws_fill_their_range_and_stay_inside() -> None:
    draws = [draw_augmentation(AugmentationConfig(), (0, 0, i)) for i in range(500)]
    angles = np.rad2deg([d.angle_rad for d in draws])
    scales = np.array([d.scale for d in draws])
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30
    assert 0.75 <= scales.min() < 0.77
    assert 1.23 < scales.max() <= 1.25
    assert 0.4 < np.mean([d.flip for d in draws]) < 0.6
    assert np.abs([d.shift for d in draws]).max() <= 0.05


def test_a_configuration_of_zeros_changes_nothing() -> None:
    config = AugmentationConfig(rotation_deg=0, scale_min=1, scale_max=1, flip=0, colour=0, shift=0)
    draw = draw_augmentation(config, (1, 2, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert (draw.angle_rad, draw.scale, draw.flip, draw.shift) == (0, 1, False, (0, 0))
    assert np.array_equal(draw.colour(pixels), pixels)


def test_gains_multiply_each_channel_and_saturate() -> None:
    gains = np.array([0.5, 1.0, 2.0], np.float32)
    draw = Augmentation(angle_rad=0, scale=1, flip=False, shift=(0, 0), gain_3=gains)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    expected = np.clip(np.floor(pixels * gains), 0, 255)
    assert np.array_equal(draw.colour(pixels), expected)


@pytest.mark.parametrize("key", ["rotation", "scale_min"])
def test_wrong_settings_are_refused_by_name(key: str) -> None:
    assert issubclass(AugmentationConfig, Config)
    with pytest.raises(ConfigError, match=key):
        AugmentationConfig.from_mapping({key: -1.0})


def test_occlusion_and_truncation_leave_every_other_draw_as_it_was() -> None:
    plain = AugmentationConfig()
    both = plain.model_copy(update={"occlusion": 1.0, "truncation": 1.0})
    for index in range(20):
        a, b = (draw_augmentation(config, (4, 2, index)) for config in (plain, both))
        assert (a.angle_rad, a.flip, a.patch) == (b.angle_rad, b.flip, None)
        assert np.array_equal(a.gain_3, b.gain_3)
        assert b.patch is not None
        assert 1.2 <= b.scale / a.scale <= 1.6


def test_they_happen_as_often_as_they_are_asked_for() -> None:
    config = AugmentationConfig(occlusion=0.3, truncation=0.1, shift=0.0)
    draws = [draw_augmentation(config, (0, 0, index)) for index in range(2000)]
    assert np.mean([d.patch is not None for d in draws]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([d.shift != (0.0, 0.0) for d in draws]) == pytest.approx(0.1, abs=0.02)


def test_a_patch_covers_its_window_and_nothing_else() -> None:
    crop = np.full((64, 64, 3), 7, np.uint8)
    draw = draw_augmentation(AugmentationConfig(occlusion=1.0), (0, 0, 5))
    assert draw.patch is not None
    covered = draw.cover(crop)
    left, top, width, height = (round(v * 64) for v in draw.patch)
    inside = np.zeros((64, 64), bool)
    inside[top : top + height, left : left + width] = True
    assert not (covered[inside] == 7).all(-1).mean() > 0.2
    assert (covered[~inside] == 7).all()
    assert (crop == 7).all()
    assert np.array_equal(covered, draw.cover(crop))
    assert width * height < 0.3 * 64 * 64
