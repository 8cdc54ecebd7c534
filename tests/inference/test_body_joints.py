"""Depths of the network's joints combined with those of its body, on cases worked by hand."""

from __future__ import annotations

import numpy as np

from hemlets.core.arrays import Float
from hemlets.inference.body_joints import with_depth_of_body

ROOT = np.array([[100.0, -50.0, 2000.0]])


def _one_joint(position_mm: tuple[float, float, float]) -> Float:
    """Eighteen joints at the pelvis but for the third."""
    joints = np.zeros((1, 18, 3))
    joints[0, 2] = position_mm
    return joints


def test_a_joint_keeps_its_ray_and_takes_three_quarters_of_the_bodys_depth() -> None:
    network, body = _one_joint((100, 250, 0)), _one_joint((320, 480, 400))
    joints, roots = with_depth_of_body(network, ROOT, body)
    # The ray (200, 200) / 2000 at a depth of 2000 + 0.75 · 400 is (230, 230), 130 and 280 from the
    # pelvis.
    np.testing.assert_allclose(joints[0, 2], [130, 280, 300])
    np.testing.assert_allclose(roots, ROOT)


def test_joints_stay_at_their_pixels() -> None:
    network, body = np.random.default_rng(3).normal(0, 300, (2, 1, 18, 3))
    network[:, 0], body[:, 0] = 0, 0
    joints, roots = with_depth_of_body(network, ROOT, body)
    before, after = network + ROOT[:, None], joints + roots[:, None]
    np.testing.assert_allclose(after[..., :2] / after[..., 2:], before[..., :2] / before[..., 2:])
    assert not joints[:, 0].any()


def test_a_joint_that_would_be_behind_the_camera_stays_in_front_of_it() -> None:
    joints, roots = with_depth_of_body(_one_joint((10, 10, -1900)), ROOT, _one_joint((0, 0, -9000)))
    assert (joints + roots[:, None])[..., 2].min() > 0
