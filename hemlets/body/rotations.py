"""Rotation matrices from axis-angles and from the 6D form, and their derivatives.

Predictions use these few functions because importing roma takes two seconds; training and fitting
use roma.

Shape suffix: R rotations; leading dimensions are free.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Float, Floating


def rotation_matrices(axis_angle_R3: Tensor) -> Tensor:
    """Convert axis-angles (..., 3) in radians to matrices (..., 3, 3) by Rodrigues' formula.

    Differentiable everywhere, including 0.
    """
    # The norm has no derivative at 0: an offset far below what a body shows keeps away from it.
    angle_R1 = (axis_angle_R3 + 1e-8).norm(dim=-1, keepdim=True)
    cross_R33 = cross_matrices(axis_angle_R3 / angle_R1)
    sine, versine = angle_R1.sin()[..., None], 1 - angle_R1.cos()[..., None]
    identity = torch.eye(3, dtype=angle_R1.dtype, device=angle_R1.device)
    rotation: Tensor = identity + sine * cross_R33 + versine * (cross_R33 @ cross_R33)
    return rotation


def cross_matrices(vector_R3: Tensor) -> Tensor:
    """Return the matrices (..., 3, 3) of cross products with vectors."""
    x, y, z = vector_R3.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return rows.view(*vector_R3.shape, 3)


def gram_schmidt(columns_R32: Tensor) -> Tensor:
    """Convert the 6D form (..., 3, 2) to rotations (..., 3, 3) (Zhou et al. 2019).

    The form is a rotation's first two columns before orthonormalisation. It is continuous, which no
    form of three or four numbers is.
    """
    first, second = columns_R32.unbind(-1)
    x = first / first.norm(dim=-1, keepdim=True)
    y = second - (x * second).sum(-1, keepdim=True) * x
    y = y / y.norm(dim=-1, keepdim=True)
    return torch.stack([x, y, x.cross(y, dim=-1)], -1)


def nearest_rotations(matrix_R33: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) nearest to matrices (Kabsch 1976).

    For a sum of rotations this is their chordal mean. The derivative is undefined where two
    singular values are equal: for training use ``roma.special_procrustes``.
    """
    left, _, right = torch.linalg.svd(matrix_R33.double())
    # A reflection would be nearer where the determinant is negative: turn the least axis over.
    signs_R3 = torch.ones_like(left[..., 0])
    signs_R3[..., 2] = torch.linalg.det(left @ right)
    rotation: Tensor = (left * signs_R3[..., None, :]) @ right
    return rotation.to(matrix_R33.dtype)


def axis_angles(rotation_R33: Floating) -> Float:
    """Convert rotations (..., 3, 3) to axis-angles (..., 3), at most π radians long.

    Exact at every angle.
    """
    # Four times the outer product of the quaternion (x, y, z, w) with itself. Each row is a
    # multiple of the quaternion; the one of the largest diagonal element is the most precise.
    outer_R44 = _quaternion_form(rotation_R33) + np.eye(4)
    best = outer_R44.diagonal(axis1=-2, axis2=-1).argmax(-1)
    return _from_quaternions(np.take_along_axis(outer_R44, best[..., None, None], -2)[..., 0, :])


def nearest_axis_angles(matrix_R33: Floating) -> Float:
    """Return the axis-angles (..., 3) of :func:`nearest_rotations` (Davenport's q method)."""
    return _from_quaternions(np.linalg.eigh(_quaternion_form(matrix_R33))[1][..., -1])


def _quaternion_form(matrix_R33: Floating) -> Float:
    """Matrices (..., 4, 4) of the quadratic form tr(Rᵀ M) of R's quaternion (x, y, z, w)."""
    matrix = matrix_R33.astype(np.float64)
    form_R44 = np.empty((*matrix.shape[:-2], 4, 4))
    form_R44[..., 3, 3] = trace_R = matrix.trace(axis1=-2, axis2=-1)
    form_R44[..., :3, :3] = matrix + matrix.mT - trace_R[..., None, None] * np.eye(3)
    axis_R3 = (matrix - matrix.mT)[..., [2, 0, 1], [1, 2, 0]]
    form_R44[..., :3, 3] = form_R44[..., 3, :3] = axis_R3
    return form_R44


def _from_quaternions(quaternion_R4: Float) -> Float:
    """Convert quaternions (x, y, z, w) of any length to axis-angles."""
    imaginary_R3, real_R1 = quaternion_R4[..., :3], quaternion_R4[..., 3:]
    length_R1 = np.linalg.norm(imaginary_R3, axis=-1, keepdims=True)
    angle_R1 = 2 * np.arctan2(length_R1, np.abs(real_R1))
    shares_R1 = np.copysign(angle_R1, real_R1) / np.maximum(length_R1, np.finfo(np.float64).tiny)
    turned: Float = imaginary_R3 * shares_R1
    return turned


def left_jacobian(theta_BJ3: Tensor) -> Tensor:
    """Q(θ) of the exponential map: exp(θ + dθ) = exp(Q dθ) exp(θ) to first order.

    Its inverse is the logarithm's: log(exp(dω) exp(θ)) = θ + Q⁻¹ dω.
    """
    angle = theta_BJ3.norm(dim=-1).clamp(min=1e-6)[..., None, None]
    cross = cross_matrices(theta_BJ3)
    identity = torch.eye(3).to(theta_BJ3)
    first = (1 - angle.cos()) / angle**2
    second = (angle - angle.sin()) / angle**3
    jacobian: Tensor = identity + first * cross + second * (cross @ cross)
    return jacobian
