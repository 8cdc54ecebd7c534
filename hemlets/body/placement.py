"""Where in front of the camera a predicted body stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import Joint

if TYPE_CHECKING:
    from hemlets.body import BodyModel

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PlacedBody:
    """A posed body in the camera frame: x right, y down, z forward, millimetres.

    Attributes:
        vertices_V3_mm: The skin.
        joints_J3_mm: The project's 18 joints, regressed from the skin.
        faces_F3: Vertex indices of the triangles.
        transl_mm: (3,) what was added to the body model's own output.
    """

    vertices_V3_mm: Float
    joints_J3_mm: Float
    faces_F3: npt.NDArray[np.int32]
    transl_mm: Float


def place_body(
    model: BodyModel,
    theta_J3: npt.NDArray[np.floating[Any]],
    betas_K: npt.NDArray[np.floating[Any]],
    root_mm: npt.NDArray[np.floating[Any]],
) -> PlacedBody:
    """Pose a body and move it so that its pelvis, joint 0 of the 18, lies at a point.

    The middle of the hips is meant, as predictions give it, not SMPL's kinematic pelvis.

    Args:
        model: The body that θ and β belong to.
        theta_J3: (24, 3) axis-angles in radians; the root turns into the camera frame.
        betas_K: (10,) shape.
        root_mm: (3,) where the pelvis goes, camera frame.
    """
    import torch

    with torch.inference_mode():
        body = model(
            torch.from_numpy(np.array(theta_J3, np.float32))[None],
            torch.from_numpy(np.array(betas_K, np.float32))[None],
        )
    vertices = body.vertices_BV3_mm[0].contiguous().numpy()
    joints = body.joints18_B183_mm[0].numpy()
    transl = np.asarray(np.asarray(root_mm, np.float32) - joints[Joint.PELVIS], np.float32)
    return PlacedBody(
        vertices_V3_mm=vertices + transl,
        joints_J3_mm=joints + transl,
        faces_F3=model.faces_F3.numpy().astype(np.int32),
        transl_mm=transl,
    )
