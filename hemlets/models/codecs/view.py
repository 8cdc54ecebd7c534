"""The root's rotation as a crop shows it.

A network sees a person's crop and not where in the image it was cut from. The same person with the
same turn against the camera looks turned otherwise at the image's edge, by the angle between the
optical axis and the ray through the crop; what the crop shows is the turn against that ray. So a
network learns the root's rotation in the frame of a camera that looks at the crop's middle
("the crop's view"), and whoever knows the camera turns it back, as Li et al. 2022 (CLIFF) and
Kissos et al. 2020 argue.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def crop_views(
    centre_px_B2: npt.NDArray[np.floating],
    camera_B4: npt.NDArray[np.floating],
    known_B: npt.NDArray[np.bool_] | None = None,
) -> Tensor:
    """The least rotations that turn a crop's view into its camera's frame.

    Args:
        centre_px_B2: The crops' middles in their images.
        camera_B4: fx, fy, cx, cy.
        known_B: Whose camera is known; all when omitted. The others are taken to be seen along
            the optical axis.

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
    """θ with the root's rotation taken from the camera's frame into the crop's view."""
    return from_view(rotation_BR33, view_B33.mT)


def from_view(rotation_BR33: Tensor, view_B33: Tensor) -> Tensor:
    """θ with the root's rotation taken from the crop's view into the camera's frame."""
    view = view_B33[:, None].to(rotation_BR33)
    return torch.cat([view @ rotation_BR33[:, :1], rotation_BR33[:, 1:]], 1)
