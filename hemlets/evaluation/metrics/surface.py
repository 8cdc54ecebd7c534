"""Errors of whole bodies: their surface, and the joints regressed from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hemlets.core.skeleton import Joint
from hemlets.evaluation.metrics import joints as metrics

if TYPE_CHECKING:
    from hemlets.body import Body, BodyModel

BLOCK = 256
"""Bodies posed at a time: about 150 MB for a mesh of 13,718 vertices, whatever the sample count."""

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Shape = tuple[Array, Array]
"""θ (N, 24, 3) in radians and β (N, 10)."""


def mesh_errors_mm(
    body: BodyModel,
    predicted: Shape,
    true: Shape,
    *,
    block: int = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float, Float]:
    """Surface error and error of the 18 joints of posed bodies, pelvis at the origin.

    Args:
        body: poses both, so that vertices correspond.
        predicted: θ and β.
        true: θ and β.
        block: bodies posed at a time.
        progress: called with the bodies posed so far and their number.

    Returns:
        Mean over the vertices and mean over the 18 joints, (N,) millimetres each.
    """
    import torch

    def pose(shape: Shape, part: slice) -> Body:
        theta, betas = (torch.from_numpy(np.ascontiguousarray(x[part], np.float32)) for x in shape)
        posed: Body = body(theta, betas[:, : body.n_betas])
        return posed

    rows = len(predicted[0])
    surface, joints = np.empty(rows), np.empty(rows)
    with torch.inference_mode():
        for start in range(0, rows, block):
            part = slice(start, start + block)
            ours, truth = pose(predicted, part), pose(true, part)
            ours18, truth18 = ours.joints18_B183_mm.numpy(), truth.joints18_B183_mm.numpy()
            surface[part] = metrics.vertex_errors_mm(
                ours.vertices_BV3_mm.numpy(),
                truth.vertices_BV3_mm.numpy(),
                predicted_pelvis_N3=ours18[:, Joint.PELVIS],
                true_pelvis_N3=truth18[:, Joint.PELVIS],
            )
            joints[part] = metrics.mpjpe_mm(ours18, truth18)
            if progress is not None:
                progress(min(start + block, rows), rows)
    return surface, joints
