"""From image joints and relative depth to metric joints: exact on exact data, safe on garbage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemlets.codecs.decode import (
    bone_length_sum,
    length_at_depth,
    metric_joints,
    root_depth,
)
from hemlets.skeleton import PARTS, Joint

CAMERA = np.array([1100.0, 1150.0, 500.0, 480.0])


def _people(count: int, seed: int = 0) -> npt.NDArray[Any]:
    """Random skeletons 2–8 m from the camera, (count, 18, 3) mm."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 300, (count, 18, 3))
    joints -= joints[:, [Joint.PELVIS]]
    root = np.stack(
        [
            rng.uniform(-800, 800, count),
            rng.uniform(-800, 800, count),
            rng.uniform(2e3, 8e3, count),
        ],
        -1,
    )
    return joints + root[:, None]


def _project(joints: npt.NDArray[Any], camera: npt.NDArray[Any] = CAMERA) -> npt.NDArray[Any]:
    return np.asarray(joints[..., :2] / joints[..., 2:] * camera[:2] + camera[2:])


def _length_at(rays: npt.NDArray[Any], depth: npt.NDArray[Any], distance: float) -> float:
    z = distance + depth
    joints = np.concatenate([rays * z[:, None], z[:, None]], -1)
    return sum(float(np.linalg.norm(joints[p.child] - joints[p.parent])) for p in PARTS)


def test_the_bone_length_is_the_sum_over_the_parts() -> None:
    joints = _people(3)
    for j, found in zip(joints, bone_length_sum(joints), strict=True):
        expected = sum(float(np.linalg.norm(j[part.child] - j[part.parent])) for part in PARTS)
        assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_exact_projections_and_depths_give_exact_joints(seed: int) -> None:
    for joints in _people(10, seed)[:, None]:
        depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
        length = float(bone_length_sum(joints)[0])
        relative, root = metric_joints(_project(joints), depth, CAMERA[None], length)
        # Where two distances fit the length, the farther one is meant.
        rays = ((_project(joints) - CAMERA[2:]) / CAMERA[:2])[0]
        if _length_at(rays, depth[0], float(joints[0, 0, 2]) + 1.0) < length:
            continue
        np.testing.assert_allclose(root, joints[:, Joint.PELVIS], rtol=1e-6)
        np.testing.assert_allclose(relative, joints - joints[:, [Joint.PELVIS]], atol=0.01, rtol=0)


def test_most_people_have_one_distance() -> None:
    joints = _people(200)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    found = [
        metric_joints(_project(j)[None], d[None], CAMERA[None], float(bone_length_sum(j)))[1][0, 2]
        for j, d in zip(joints, depth, strict=True)
    ]
    assert np.mean(np.isclose(found, joints[:, Joint.PELVIS, 2], rtol=1e-6)) > 0.95


def test_only_relative_depth_matters() -> None:
    joints = _people(4)
    depth = joints[..., 2]
    a = metric_joints(_project(joints), depth, CAMERA[None], 5000.0)
    b = metric_joints(_project(joints), depth + 777.0, CAMERA[None], 5000.0)
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    np.testing.assert_allclose(a[1], b[1], atol=1e-6)


def test_a_person_twice_as_large_stands_twice_as_far() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    small = metric_joints(_project(joints), depth, CAMERA[None], 12_000.0)
    large = metric_joints(_project(joints), 2 * depth, CAMERA[None], 24_000.0)
    np.testing.assert_allclose(large[0], 2 * small[0], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(large[1], 2 * small[1], rtol=1e-6, atol=1e-3)


def test_a_larger_image_with_its_camera_changes_nothing() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    a = metric_joints(_project(joints), depth, CAMERA[None], 5000.0)
    b = metric_joints(2 * _project(joints), depth, 2 * CAMERA[None], 5000.0)
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)


def test_joints_stay_on_their_rays() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    relative, root = metric_joints(_project(joints), depth, CAMERA[None], 4000.0)
    np.testing.assert_allclose(_project(relative + root[:, None]), _project(joints), atol=1e-6)


def test_where_depth_alone_exceeds_the_bones_the_shortest_skeleton_is_taken() -> None:
    rng = np.random.default_rng(0)
    rays, depth = rng.normal(0, 0.1, (5, 18, 2)), rng.normal(0, 800, (5, 18))
    found = root_depth(rays, depth, 1000.0)
    for a, z, distance in zip(rays, depth, found, strict=True):
        best = min(np.geomspace(300, 1e5, 800), key=lambda d: _length_at(a, z, d))
        assert _length_at(a, z, distance) <= _length_at(a, z, best) + 1e-3


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.0, 1e-9, 1e-3, 0.3, 10.0, 1e4]),
    depth=st.sampled_from([0.0, 1e-3, 500.0, 1e5, 1e9]),
    length=st.sampled_from([1e-3, 500.0, 5000.0, 1e8]),
)
def test_garbage_gives_finite_joints_within_the_range(
    seed: int, spread: float, depth: float, length: float
) -> None:
    rng = np.random.default_rng(seed)
    rays, z = rng.normal(0, 1, (3, 18, 2)) * spread, rng.normal(0, 1, (3, 18)) * depth
    with np.errstate(all="raise", under="ignore"):
        distance = root_depth(rays, z, length)
        relative, root = metric_joints(rays * 1000, z, np.array([[1e3, 1e3, 0.0, 0.0]]), length)
    assert np.isfinite(distance).all()
    assert (distance >= 300).all()
    assert (distance <= 1e5).all()
    assert np.isfinite(relative).all()
    assert (root[:, 2] > 0).all()


def test_the_length_of_skeletons_at_their_true_distance_brings_that_distance_back() -> None:
    rng = np.random.default_rng(5)
    joints = rng.normal(0, 250, (18, 3))
    joints -= joints[0]
    # A hedging network draws every limb shorter than it is.
    shrunk = 0.7 * joints + np.array([0.0, 0.0, 4000.0])
    image, depth = _project(shrunk)[None], shrunk[None, :, 2] - 4000.0
    length = length_at_depth(image, depth, CAMERA[None], np.array([4000.0]))
    assert np.isclose(length, 0.7 * bone_length_sum(joints))
    _, root = metric_joints(image, depth, CAMERA[None], float(length[0]))
    assert np.isclose(root[0, 2], 4000.0)
    _, too_far = metric_joints(image, depth, CAMERA[None], float(bone_length_sum(joints)))
    assert too_far[0, 2] > 5000.0
