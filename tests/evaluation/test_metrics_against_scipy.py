"""The vectorised alignment against SciPy's, one pose at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hemlets.evaluation.metrics import joints as metrics
from hemlets.evaluation.metrics.alignment import aligned_errors_mm


def scipy_errors_mm(predicted_J3: np.ndarray, true_J3: np.ndarray, *, scale: bool) -> np.ndarray:
    p, t = predicted_J3 - predicted_J3.mean(0), true_J3 - true_J3.mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rotation, _ = Rotation.align_vectors(t, p)
    turned = rotation.apply(p)
    factor = (turned * t).sum() / np.square(p).sum() if scale else 1.0
    return np.linalg.norm(factor * turned - t, axis=1)


@pytest.mark.parametrize("scale", [True, False])
def test_10_000_random_poses_agree_with_scipy_to_a_millionth_of_a_millimetre(scale):
    rng = np.random.default_rng(7)
    true = rng.normal(0, 300, (10_000, 18, 3))
    noise = rng.normal(0, 1, true.shape) * rng.uniform(0, 500, (10_000, 1, 1))
    turned = Rotation.random(10_000, rng=rng).as_matrix()
    factor = rng.uniform(0.2, 3, (10_000, 1, 1))
    predicted = factor * (true + noise) @ np.swapaxes(turned, 1, 2) + rng.normal(0, 500, 3)
    # Some must be such that the best orthogonal map is a reflection.
    predicted[::7, :, 0] *= -1
    ours = aligned_errors_mm(predicted, true)[0 if scale else 1]
    theirs = np.stack(
        [scipy_errors_mm(p, t, scale=scale) for p, t in zip(predicted, true, strict=True)]
    )
    assert np.abs(ours - theirs).max() < 1e-6


def test_mpjpe_agrees_with_a_plain_loop():
    rng = np.random.default_rng(3)
    predicted, true = rng.normal(0, 300, (2, 50, 18, 3))
    valid = rng.random((50, 18)) < 0.8
    valid[:, 0] = True
    plain = []
    for p, t, v in zip(predicted, true, valid, strict=True):
        errors = [np.linalg.norm((p[j] - p[0]) - (t[j] - t[0])) for j in range(18) if v[j]]
        plain.append(sum(errors) / len(errors))
    np.testing.assert_allclose(metrics.mpjpe_mm(predicted, true, valid), plain)
