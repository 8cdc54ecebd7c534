"""Rotations against SciPy's and roma's, which are written differently."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from hemlets.body.rotations import (
    axis_angles,
    gram_schmidt,
    nearest_axis_angles,
    nearest_rotations,
    rotation_matrices,
)
from hemlets.core.arrays import Float, Floating

ANGLES_RAD = [0.0, 1e-9, 1e-6, 1e-4, 1e-2, 1.0, 3.0, *(math.pi - a for a in (1e-4, 1e-6, 1e-9, 0))]


def vectors(angle_rad: float, count: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    axis = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    return angle_rad * torch.nn.functional.normalize(axis, dim=-1)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_axis_angles_become_scipys_matrices(angle_rad: float) -> None:
    expected = Rotation.from_rotvec(vectors(angle_rad).numpy()).as_matrix()
    found = rotation_matrices(vectors(angle_rad).view(10, 5, 3)).view(50, 3, 3)
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-8)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
@pytest.mark.parametrize("convert", [axis_angles, nearest_axis_angles])
def test_matrices_become_axis_angles_of_the_same_rotation(
    angle_rad: float, convert: Callable[[Floating], Float]
) -> None:
    rotation = Rotation.from_rotvec(vectors(angle_rad).numpy())
    found = convert(rotation.as_matrix().reshape(10, 5, 3, 3)).reshape(50, 3)
    assert np.linalg.norm(found, axis=-1).max() <= math.pi + 1e-12
    assert (Rotation.from_rotvec(found) * rotation.inv()).magnitude().max() < 1e-14


def test_axis_angles_of_the_axes_half_turns_and_of_rest_are_exact() -> None:
    half_turns = np.array([np.diag(2.0 * axis - 1) for axis in np.eye(3)])
    np.testing.assert_allclose(np.abs(axis_angles(half_turns)), math.pi * np.eye(3))
    np.testing.assert_array_equal(axis_angles(np.eye(3)), np.zeros(3))


def test_the_derivative_at_rest_is_that_of_a_small_turn() -> None:
    jacobian = torch.autograd.functional.jacobian(
        rotation_matrices, torch.zeros(3, dtype=torch.float64)
    )
    generators = [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]]]
    expected = torch.tensor([*generators, [[0, -1, 0], [1, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    torch.testing.assert_close(jacobian.movedim(-1, 0), expected, atol=1e-7, rtol=0)


def test_the_6d_form_of_a_rotation_is_its_first_two_columns_at_any_length_and_lean() -> None:
    rotation = rotation_matrices(vectors(2.0))
    first, second = rotation[..., 0], rotation[..., 1]
    leaning = torch.stack([3.0 * first, 0.2 * second - 5.0 * first], -1)
    torch.testing.assert_close(gram_schmidt(leaning), rotation, atol=1e-7, rtol=0)


def test_the_nearest_rotations_are_those_of_roma_for_reflections_as_well() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(200, 3, 3, dtype=torch.float64, generator=generator)
    assert (torch.linalg.det(matrix) < 0).any()
    expected = roma.special_procrustes(matrix)
    torch.testing.assert_close(nearest_rotations(matrix), expected, atol=1e-6, rtol=0)
    found = Rotation.from_rotvec(nearest_axis_angles(matrix.numpy())).as_matrix()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
