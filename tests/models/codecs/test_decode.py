"""From image joints and relative depth to metric joints: exact on exact data, safe on garbage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemlets.core.skeleton import PARTS, Joint
from hemlets.models.codecs.bones import BoneLengths, part_lengths
from hemlets.models.codecs.decode import lengths_at_depth, metric_joints, root_depth

CAMERA = np.array([1100.0, 1150.0, 500.0, 480.0])
EQUAL = BoneLengths(mean_mm=(350.0,) * 14, spread_mm=(35.0,) * 14)


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


def _bones(joints: npt.NDArray[Any]) -> BoneLengths:
    """Of one skeleton."""
    return BoneLengths.measured(part_lengths(joints)[None])


def _cost(rays: npt.NDArray[Any], depth: npt.NDArray[Any], distance: float) -> float:
    """What the distance makes least, written out part by part."""
    z = distance + depth
    joints = np.concatenate([rays * z[:, None], z[:, None]], -1)
    total = 0.0
    for part, mean, spread in zip(PARTS, EQUAL.mean_mm, EQUAL.spread_mm, strict=True):
        length = float(np.linalg.norm(joints[part.child] - joints[part.parent]))
        total += ((length - mean) / spread) ** 2
    return total


def test_the_lengths_are_those_of_the_parts() -> None:
    joints = _people(3)
    for j, found in zip(joints, part_lengths(joints), strict=True):
        expected = [float(np.linalg.norm(j[part.child] - j[part.parent])) for part in PARTS]
        assert found.tolist() == pytest.approx(expected)


def test_lengths_that_never_vary_are_not_trusted_blindly() -> None:
    bones = BoneLengths.measured(np.tile(np.arange(100.0, 240.0, 10.0), (5, 1)))
    assert bones.spread_mm == pytest.approx([0.05 * mean for mean in bones.mean_mm])
    assert bones.sum_mm == pytest.approx(sum(range(100, 240, 10)))


@pytest.mark.parametrize("seed", range(5))
def test_exact_projections_and_depths_give_exact_joints(seed: int) -> None:
    for joints in _people(10, seed)[:, None]:
        depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
        relative, root = metric_joints(_project(joints), depth, CAMERA[None], _bones(joints[0]))
        np.testing.assert_allclose(root, joints[:, Joint.PELVIS], rtol=1e-6)
        np.testing.assert_allclose(relative, joints - joints[:, [Joint.PELVIS]], atol=0.01, rtol=0)


def test_a_part_that_is_drawn_short_spoils_little_where_its_length_is_known_to_vary() -> None:
    joints = _people(20)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    lengths = part_lengths(joints)
    wrist, elbow = PARTS[-1].child, PARTS[-1].parent
    drawn, drawn_depth = joints.copy(), depth.copy()
    drawn[:, wrist] = 0.5 * (joints[:, wrist] + joints[:, elbow])
    drawn_depth[:, wrist] = 0.5 * (depth[:, wrist] + depth[:, elbow])
    errors = []
    for spread in (1.0, 0.05):
        off = []
        for j, z, length, true in zip(drawn, drawn_depth, lengths, joints, strict=True):
            spreads = 0.05 * length
            spreads[-1] = spread * length[-1]
            bones = BoneLengths(mean_mm=tuple(length), spread_mm=tuple(spreads))
            _, root = metric_joints(_project(j)[None], z[None], CAMERA[None], bones)
            off.append(abs(root[0, 2] / true[Joint.PELVIS, 2] - 1))
        errors.append(np.mean(off))
    assert errors[0] < 0.2 * errors[1]


def test_only_relative_depth_matters() -> None:
    joints = _people(4)
    depth = joints[..., 2]
    a = metric_joints(_project(joints), depth, CAMERA[None], EQUAL)
    b = metric_joints(_project(joints), depth + 777.0, CAMERA[None], EQUAL)
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    np.testing.assert_allclose(a[1], b[1], atol=1e-6)


def test_a_person_twice_as_large_stands_twice_as_far() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    small = metric_joints(_project(joints), depth, CAMERA[None], EQUAL)
    large = metric_joints(_project(joints), 2 * depth, CAMERA[None], EQUAL.scaled(2))
    np.testing.assert_allclose(large[0], 2 * small[0], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(large[1], 2 * small[1], rtol=1e-6, atol=1e-3)


def test_a_larger_image_with_its_camera_changes_nothing() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    a = metric_joints(_project(joints), depth, CAMERA[None], EQUAL)
    b = metric_joints(2 * _project(joints), depth, 2 * CAMERA[None], EQUAL)
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)


def test_joints_stay_on_their_rays() -> None:
    joints = _people(4)
    depth = joints[..., 2] - joints[:, [Joint.PELVIS], 2]
    relative, root = metric_joints(_project(joints), depth, CAMERA[None], EQUAL)
    np.testing.assert_allclose(_project(relative + root[:, None]), _project(joints), atol=1e-6)


def test_no_distance_fits_the_parts_better() -> None:
    rng = np.random.default_rng(0)
    for size in (0.02, 0.1, 1.0):
        rays, depth = rng.normal(0, size, (10, 18, 2)), rng.normal(0, 500, (10, 18))
        found = root_depth(rays, depth, EQUAL)
        for a, z, distance in zip(rays, depth, found, strict=True):
            others = [_cost(a, z, at) for at in np.geomspace(300, 1e5, 3000)]
            assert _cost(a, z, distance) <= min(others) * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.0, 1e-9, 1e-3, 0.3, 10.0, 1e4]),
    depth=st.sampled_from([0.0, 1e-3, 500.0, 1e5, 1e9]),
    length=st.sampled_from([1e-3, 50.0, 350.0, 9e3]),
)
def test_garbage_gives_finite_joints_within_the_range(
    seed: int, spread: float, depth: float, length: float
) -> None:
    rng = np.random.default_rng(seed)
    rays, z = rng.normal(0, 1, (3, 18, 2)) * spread, rng.normal(0, 1, (3, 18)) * depth
    bones = BoneLengths(mean_mm=(length,) * 14, spread_mm=(length / 10,) * 14)
    with np.errstate(all="raise", under="ignore"):
        distance = root_depth(rays, z, bones)
        relative, root = metric_joints(rays * 1000, z, np.array([[1e3, 1e3, 0.0, 0.0]]), bones)
    assert np.isfinite(distance).all()
    assert (distance >= 300).all()
    assert (distance <= 1e5).all()
    assert np.isfinite(relative).all()
    assert (root[:, 2] > 0).all()


def test_the_lengths_of_skeletons_at_their_true_distance_bring_that_distance_back() -> None:
    rng = np.random.default_rng(5)
    joints = rng.normal(0, 250, (18, 3))
    joints -= joints[0]
    # A hedging network draws every limb shorter than it is.
    shrunk = 0.7 * joints + np.array([0.0, 0.0, 4000.0])
    image, depth = _project(shrunk)[None], shrunk[None, :, 2] - 4000.0
    lengths = lengths_at_depth(image, depth, CAMERA[None], np.array([4000.0]))
    np.testing.assert_allclose(lengths[0], 0.7 * part_lengths(joints))
    _, root = metric_joints(image, depth, CAMERA[None], BoneLengths.measured(lengths))
    assert np.isclose(root[0, 2], 4000.0)
    _, too_far = metric_joints(image, depth, CAMERA[None], _bones(joints))
    assert too_far[0, 2] > 5000.0
