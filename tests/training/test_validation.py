"""Validation during training."""

from __future__ import annotations

import numpy as np

from hemlets.training.validation import _held_out_errors


def test_a_samples_own_true_distance_does_not_place_its_skeleton() -> None:
    rng = np.random.default_rng(0)
    image_px = rng.normal(128, 30, (6, 18, 2))
    depth_mm, truth = rng.normal(0, 200, (6, 18)), rng.normal(0, 300, (6, 18, 3))
    camera = np.tile([300.0, 300.0, 128.0, 128.0], (6, 1))
    lengths = rng.uniform(200, 400, (6, 14))

    def errors(of: np.ndarray) -> np.ndarray:
        return _held_out_errors(image_px, depth_mm, camera, of, truth)

    before = errors(lengths)
    for row in range(6):
        other = lengths.copy()
        other[row] *= 2
        changed = np.abs(errors(other) - before).max(1) > 1e-6
        assert not changed[row]
        assert changed[(row + 1) % 6]
