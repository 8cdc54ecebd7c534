"""Joints of the network combined with those of its body, on cases worked by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hemlets.inference.body_joints import combine_with_body

Array = npt.NDArray[np.float64]
CAMERA = np.array([[1000.0, 500.0, 320.0, 240.0]])
ROOT = np.array([[0.0, 0.0, 2000.0]])


def _one_joint(position_mm: tuple[float, float, float]) -> Array:
    """Eighteen joints at the pelvis but for the third."""
    joints = np.zeros((1, 18, 3))
    joints[0, 2] = position_mm
    return joints


def _pixels(joints_mm: Array) -> Array:
    place = joints_mm + ROOT[:, None]
    px: Array = place[..., :2] / place[..., 2:] * CAMERA[:, None, :2] + CAMERA[:, None, 2:]
    return px


def _combined(confidence: float) -> tuple[Array, Array, Array]:
    """The network has the joint at (100, 200, 0), the body at (320, 480, 400)."""
    network, body = _one_joint((100, 200, 0)), _one_joint((320, 480, 400))
    sure = np.full((1, 18), confidence)
    return combine_with_body(_pixels(network), network, ROOT, body, sure, CAMERA)


@pytest.mark.parametrize("confidence", [1.0, 0.3, np.nan])
def test_a_sure_joint_keeps_its_pixel_and_takes_three_quarters_of_the_bodys_depth(
    confidence: float,
) -> None:
    px, joints, _ = _combined(confidence)
    # 1000 · 100 / 2000 + 320, and 500 · 200 / 2000 + 240.
    np.testing.assert_allclose(px[0, 2], [370, 290])
    # Depth 0 + 0.75 · 400; the ray (0.05, 0.1) at 2300.
    np.testing.assert_allclose(joints[0, 2], [115, 230, 300])


def test_a_joint_that_the_network_has_not_seen_is_the_bodys_in_the_image() -> None:
    px, joints, _ = _combined(0.0)
    # 1000 · 320 / 2400 + 320, and 500 · 480 / 2400 + 240.
    np.testing.assert_allclose(px[0, 2], [320 + 400 / 3, 340])
    np.testing.assert_allclose(joints[0, 2], [0.4 / 3 * 2300, 0.2 * 2300, 300])


def test_an_unsure_joint_moves_by_its_share() -> None:
    (px, *_), (away, *_), (stays, *_) = _combined(0.15), _combined(0.0), _combined(1.0)
    np.testing.assert_allclose(px, (away + stays) / 2)


@pytest.mark.parametrize("confidence", [0.0, 0.2, 1.0])
def test_joints_in_space_project_onto_those_in_the_image(confidence: float) -> None:
    random = np.random.default_rng(3)
    network, body = random.normal(0, 300, (2, 1, 18, 3))
    network[:, 0], body[:, 0] = 0, 0
    px, joints, roots = combine_with_body(
        _pixels(network), network, ROOT, body, np.full((1, 18), confidence), CAMERA
    )
    np.testing.assert_allclose(_pixels(joints + roots[:, None] - ROOT[:, None]), px)
    assert not joints[:, 0].any()
    np.testing.assert_array_equal(roots[:, 2], ROOT[:, 2])
