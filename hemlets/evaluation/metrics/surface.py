"""Errors of whole bodies: surface, and joints regressed from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hemlets.core.arrays import Array, Float
from hemlets.core.errors import DataError
from hemlets.core.skeleton import N_JOINTS, Joint
from hemlets.evaluation.metrics import joints as metrics

if TYPE_CHECKING:
    from hemlets.body import Body, BodyModel

BLOCK = 256
"""Bodies per block: about 150 MB for a mesh of 13,718 vertices."""

Shape = tuple[Array, Array]
"""θ (N, 24, 3) in radians and β (N, 10)."""


class MeshErrors(NamedTuple):
    """Errors of posed bodies, (N,) millimetres each.

    Attributes:
        surface: Mean over the vertices, pelvises aligned.
        joints: Mean over the 18 regressed joints, pelvises aligned.
        aligned: Mean over a set of these joints after similarity alignment.
    """

    surface: Float
    joints: Float
    aligned: Float


def mesh_errors_mm(
    body: BodyModel,
    predicted: Shape,
    true: Shape,
    *,
    true_body: BodyModel | None = None,
    joints: Sequence[int] = range(N_JOINTS),
    block: int = BLOCK,
) -> MeshErrors:
    """Compute errors of the surface and of the joints regressed from it.

    Args:
        body: Body model of the predictions, and of the truth unless ``true_body`` is given.
        predicted: θ and β.
        true: θ and β.
        true_body: Another body of the same mesh, such as the female one of a gendered truth.
        joints: Joint set of the aligned error.
        block: Bodies per block.

    Raises:
        DataError: The two meshes differ in size.
    """
    import torch

    truly = true_body or body
    if truly.n_vertices != body.n_vertices:
        raise DataError(
            f"the true body has {truly.n_vertices} vertices, the predicted one {body.n_vertices}",
            expected="bodies of one mesh, whose vertices correspond",
        )

    def pose(model: BodyModel, shape: Shape, part: slice) -> Body:
        theta, betas = (torch.tensor(x[part], dtype=torch.float32) for x in shape)
        posed: Body = model(theta, betas[:, : model.n_betas])
        return posed

    rows, chosen = len(predicted[0]), list(joints)
    surface, all_joints, aligned = np.empty(rows), np.empty(rows), np.empty(rows)
    with torch.inference_mode():
        for start in range(0, rows, block):
            part = slice(start, start + block)
            ours, truth = pose(body, predicted, part), pose(truly, true, part)
            ours18, truth18 = ours.joints18_B183_mm.numpy(), truth.joints18_B183_mm.numpy()
            surface[part] = metrics.vertex_errors_mm(
                ours.vertices_BV3_mm.numpy(),
                truth.vertices_BV3_mm.numpy(),
                predicted_pelvis_N3=ours18[:, Joint.PELVIS],
                true_pelvis_N3=truth18[:, Joint.PELVIS],
            )
            all_joints[part] = metrics.mpjpe_mm(ours18, truth18)
            aligned[part] = metrics.pa_mpjpe_mm(ours18[:, chosen], truth18[:, chosen])
    return MeshErrors(surface, all_joints, aligned)
