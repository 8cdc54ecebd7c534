"""The network's joints corrected by its body, on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hemlets.core.arrays import Float
from hemlets.core.skeleton import Joint
from hemlets.inference.body_joints import with_depth_of_body, with_head_of_body

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


@pytest.mark.parametrize(
    ("across_mm", "expected_mm"),
    [
        # The body's head is 200 mm from nose to top: so far a head top is believed.
        (200.0, (200.0, 0.0, 500.0)),
        # Half of the way to 1.2 heads: half of each.
        (220.0, (110.0, -100.0, 250.0)),
        (240.0, (0.0, -200.0, 0.0)),
        (900.0, (0.0, -200.0, 0.0)),
    ],
)
def test_a_head_top_on_somebody_elses_head_is_put_where_the_body_has_it(
    across_mm: float, expected_mm: tuple[float, float, float]
) -> None:
    """Only the distance in the image counts: depth is seen badly, and corrected elsewhere."""
    network, body = np.zeros((2, 1, 18, 3))
    network[0, Joint.NOSE] = 30, -600, -80
    network[0, Joint.HEAD_TOP] = network[0, Joint.NOSE] + (across_mm, 0, 500)
    body[0, Joint.NOSE] = 0, -650, -100
    body[0, Joint.HEAD_TOP] = 0, -850, -100
    before = network.copy()
    found, moved = with_head_of_body(network, body)
    np.testing.assert_allclose(found[0, Joint.HEAD_TOP] - found[0, Joint.NOSE], expected_mm)
    assert moved.tolist() == [across_mm > 200]
    others = [joint for joint in Joint if joint is not Joint.HEAD_TOP]
    np.testing.assert_array_equal(found[:, others], before[:, others])
