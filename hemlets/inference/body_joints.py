"""Combine the network's joints with the joints of its body.

The volume gives joints independently, with depths that are seen badly; the shape network has
learnt which bodies there are. Where the volume is sure, its joints are right in the image, and the
body's depths have the smaller error: on the open data's gate split 83 mm in the mean, those of the
volume 90 mm, both combined 82 mm.

Shape suffixes: B people, J = 18 joints.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Float, Floating
from hemlets.models.codecs.decode import place_joints

DEPTH_SHARE: Final = 0.75
"""Share of the body's depth. Chosen with the next on the gate split and on LSPET 1-250."""
UNSURE: Final = 0.3
"""Confidence below which a joint moves towards the body's in the image, at 0 all the way."""


def combine_with_body(
    image_px_BJ2: Float,
    joints_BJ3_mm: Float,
    roots_B3_mm: Float,
    posed_BJ3_mm: Float,
    confidence_BJ: Floating,
    camera_B4: Float,
) -> tuple[Float, Float, Float]:
    """Return joints in the image, pelvis-relative joints, and pelvises, of network and body.

    The pelvis' distance stays. Joints in space project onto the joints in the image.

    Args:
        image_px_BJ2: The network's joints in the image.
        joints_BJ3_mm: The same in the camera frame, pelvis-relative.
        roots_B3_mm: The pelvises in the camera frame.
        posed_BJ3_mm: The body's joints in the camera frame, pelvis-relative.
        confidence_BJ: Of the network's joints, 0–1; NaN counts as sure.
        camera_B4: fx, fy, cx, cy in pixels.
    """
    focal_B12, centre_B12 = camera_B4[:, None, :2], camera_B4[:, None, 2:]
    body_BJ3 = posed_BJ3_mm + roots_B3_mm[:, None]
    body_px_BJ2 = body_BJ3[..., :2] / np.maximum(body_BJ3[..., 2:], 1.0) * focal_B12 + centre_B12
    share_BJ1 = np.clip(1 - np.nan_to_num(confidence_BJ, nan=1.0) / UNSURE, 0, 1)[..., None]
    px_BJ2 = image_px_BJ2 + share_BJ1 * (body_px_BJ2 - image_px_BJ2)
    depth_BJ = joints_BJ3_mm[..., 2] + DEPTH_SHARE * (posed_BJ3_mm - joints_BJ3_mm)[..., 2]
    return px_BJ2, *place_joints((px_BJ2 - centre_B12) / focal_B12, depth_BJ, roots_B3_mm[:, 2])
