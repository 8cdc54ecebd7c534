"""Derivatives of rotations by their axis-angles.

Shape suffix: B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["left_jacobian"]


def left_jacobian(theta_BJ3: Tensor) -> Tensor:
    """Q(θ) of the exponential map: exp(θ + dθ) = exp(Q dθ) exp(θ) to first order.

    Its inverse is the logarithm's: log(exp(dω) exp(θ)) = θ + Q⁻¹ dω.
    """
    angle = theta_BJ3.norm(dim=-1).clamp(min=1e-6)[..., None, None]
    x, y, z = theta_BJ3.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(*x.shape, 3, 3)
    identity = torch.eye(3).to(theta_BJ3)
    first = (1 - angle.cos()) / angle**2
    second = (angle - angle.sin()) / angle**3
    jacobian: Tensor = identity + first * cross + second * (cross @ cross)
    return jacobian
