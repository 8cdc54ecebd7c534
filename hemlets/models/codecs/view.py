"""The root's rotation relative to the viewing ray of a crop.

A network sees a crop and not its position in the image. The same rotation against the camera looks
different at the image's edge, by the angle between optical axis and viewing ray. So networks learn
the root's rotation in the frame of a camera that looks at the crop's centre ("the crop's view"),
and known cameras convert it back (Li et al. 2022, CLIFF; Kissos et al. 2020).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from hemlets.core.arrays import Bool, Floating


def crop_views(
    centre_px_B2: Floating,
    camera_B4: Floating,
    known_B: Bool | None = None,
) -> Tensor:
    """Compute the smallest rotations from a crop's view to its camera's frame.

    Args:
        centre_px_B2: The crops' centres in their images.
        camera_B4: fx, fy, cx, cy.
        known_B: Which cameras are known, all by default; for the others the crop is assumed to be
            on the optical axis.

    Returns:
        Rotations (B, 3, 3), float32.
    """
    camera = np.asarray(camera_B4, np.float64)
    slope_B2 = np.zeros((len(camera), 2))
    known = np.ones(len(camera), bool) if known_B is None else known_B
    centre = np.asarray(centre_px_B2, np.float64)
    slope_B2[known] = (centre[known] - camera[known, 2:]) / camera[known, :2]
    tangent_B1 = np.linalg.norm(slope_B2, axis=-1, keepdims=True)
    # The angle over its tangent, which tends to 1 where the crop lies on the axis.
    share_B1 = np.arctan(tangent_B1) / np.maximum(tangent_B1, 1e-12)
    turned_B2 = slope_B2 * np.where(tangent_B1 > 0, share_B1, 1.0)
    rotvec_B3 = np.stack([-turned_B2[:, 1], turned_B2[:, 0], np.zeros(len(camera))], -1)
    view_B33 = np.array([cv2.Rodrigues(rotvec)[0] for rotvec in rotvec_B3]).reshape(-1, 3, 3)
    return torch.from_numpy(view_B33.astype(np.float32))


def into_view(rotation_BR33: Tensor, view_B33: Tensor) -> Tensor:
    """Convert θ's root rotation from the camera's frame to the crop's view."""
    return from_view(rotation_BR33, view_B33.mT)


def from_view(rotation_BR33: Tensor, view_B33: Tensor) -> Tensor:
    """Convert θ's root rotation from the crop's view to the camera's frame."""
    view = view_B33[:, None].to(rotation_BR33)
    return torch.cat([view @ rotation_BR33[:, :1], rotation_BR33[:, 1:]], 1)
