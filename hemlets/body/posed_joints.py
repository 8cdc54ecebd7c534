"""The posed body's joints as a compact differentiable function of rotations and shape.

Everything but the world rotations W is linear in linear blend skinning and joint regression, so
that for each point n and kinematic joint k one vector c_nk remains:

    point_n = rest root(β) + Σ_k W_k c_nk(β)

with c linear in β, and in the pose blend features if the body has pose blend shapes. The table of
c is computed once, in double precision. No vertex is posed, as a loss on joints needs it.

Shape suffixes: B batch, N points, V vertices, J = 24 kinematic joints, K shape coefficients,
P pose blend features, C = 1 + K + P coefficients.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from hemlets.body.kinematics import world_rotations
from hemlets.body.model import BodyModel
from hemlets.core.skeleton import SMPL_JOINTS, SMPL_PARENTS, Joint

N_SMPL_JOINTS: Final = len(SMPL_JOINTS)


class PosedJoints(nn.Module):
    """The 18 joints of posed bodies relative to joint 0, in metres.

    Equal to the joints that `BodyModel` regresses, pose blend shapes included, in single precision
    and on any device, at a cost that does not depend on the mesh.
    """

    table_CX: Tensor

    def __init__(self, body: BodyModel) -> None:
        super().__init__()
        self.n_betas = body.n_betas
        self.pose_blends = body.pose_blend_shapes is not None
        table_CNJ3 = _table(body)
        relative = table_CNJ3 - table_CNJ3[:, Joint.PELVIS, None]
        self.n_points = relative.shape[1]
        # The body is a separate asset, not part of a network's weights.
        self.register_buffer("table_CX", relative.flatten(1).float(), persistent=False)

    def forward(self, rotation_BJ33: Tensor, betas_BK: Tensor) -> Tensor:
        """Pose bodies.

        Args:
            rotation_BJ33: Each kinematic joint's rotation against its parent; the root's against
                the frame of the result.
            betas_BK: Shape; coefficients that the body lacks are left out.

        Returns:
            Joints (B, 18, 3) in metres.
        """
        world_BJ33 = world_rotations(rotation_BJ33)
        count = len(rotation_BJ33)
        coefficients = [betas_BK.new_ones(count, 1), betas_BK[:, : self.n_betas]]
        if self.pose_blends:
            identity = torch.eye(3, dtype=rotation_BJ33.dtype, device=rotation_BJ33.device)
            coefficients.append((rotation_BJ33[:, 1:] - identity).flatten(1))
        offset_BNX = (torch.cat(coefficients, 1) @ self.table_CX).view(count, self.n_points, -1)
        return offset_BNX @ world_BJ33.mT.reshape(count, -1, 3)


def _table(body: BodyModel) -> Tensor:
    """Compute the vectors c (C, N, J, 3) of the 18 joints, metres, float64."""
    rows_NV, skin_VJ = body.joint_regressor_NV.double(), body.weights_VJ.double()
    shapes_CV3 = [body.v_template_V3[None], body.shapedirs_V3K.permute(2, 0, 1)]
    basis_CV3 = torch.cat(shapes_CV3).double()
    rest_CJ3 = body.J_regressor_JV.double() @ basis_CV3
    if body.pose_blend_shapes is not None:
        # They move the skin, not the kinematic joints.
        basis_CV3 = torch.cat([basis_CV3, body.pose_blend_shapes.double()])
        rest_CJ3 = torch.cat(
            [rest_CJ3, rest_CJ3.new_zeros(len(basis_CV3) - len(rest_CJ3), N_SMPL_JOINTS, 3)]
        )
    share_NJV = rows_NV[:, None] * skin_VJ.T
    table_CNJ3 = torch.stack([share_NJV @ vertices_V3 for vertices_V3 in basis_CV3])
    weight_NJ = rows_NV @ skin_VJ
    table_CNJ3 -= weight_NJ[..., None] * rest_CJ3[:, None]
    # A bone moves all that hangs below it, and turns with the joint above.
    below_NJ = weight_NJ.clone()
    for joint in range(N_SMPL_JOINTS - 1, 0, -1):
        parent = SMPL_PARENTS[joint]
        bone_C3 = rest_CJ3[:, joint] - rest_CJ3[:, parent]
        table_CNJ3[:, :, parent] += below_NJ[:, joint, None] * bone_C3[:, None]
        below_NJ[:, parent] += below_NJ[:, joint]
    return table_CNJ3
