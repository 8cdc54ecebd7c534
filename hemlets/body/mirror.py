"""Mirror a body's pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hemlets.core.skeleton import MIRROR_SMPL_JOINTS

if TYPE_CHECKING:
    from torch import Tensor


def mirror_theta(pose: Tensor) -> Tensor:
    """Mirror a pose for a body or an image that is mirrored by negating x.

    With the same β, the mesh is mirrored too if the body is mirror-symmetric, as the open body is.

    Args:
        pose: Axis-angle (B, 72) or (B, 24, 3), or rotation matrices (B, 24, 3, 3); the result
            has the same form.
    """
    order = list(MIRROR_SMPL_JOINTS)
    if pose.ndim == 4:
        # diag(-1, 1, 1) · R · diag(-1, 1, 1)
        sign_3 = pose.new_tensor((-1.0, 1.0, 1.0))
        return pose[:, order] * (sign_3[:, None] * sign_3)
    theta_BJ3 = pose.reshape(-1, len(order), 3)[:, order]
    return (theta_BJ3 * pose.new_tensor((1.0, -1.0, -1.0))).reshape(pose.shape)
