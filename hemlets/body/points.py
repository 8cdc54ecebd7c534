"""Points of the body as a compact function of pose and shape, with exact derivatives.

A regressed joint is a weighted sum of vertices, and each vertex a weighted sum of rigid transforms
(linear blend skinning). Exchanging the sums leaves one vector per point and kinematic joint. So 18
joints of any mesh need 18 × 24 vectors and no vertices, which makes fitting fast.

Shape suffixes: B batch, N points, V vertices, J = 24 kinematic joints, K shape coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from hemlets.body.model import MM_PER_M, BodyModel
from hemlets.core.skeleton import SMPL_JOINTS, SMPL_PARENTS

N_SMPL_JOINTS: Final = len(SMPL_JOINTS)


def _below() -> Tensor:
    """(J, J): 1 where the second joint is the first or its descendant."""
    below = torch.eye(N_SMPL_JOINTS, dtype=torch.float64)
    for joint in range(N_SMPL_JOINTS - 1, 0, -1):
        below[SMPL_PARENTS[joint]] += below[joint]
    return below


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The kinematic joints of posed bodies, millimetres.

    Attributes:
        rot_BJ33: Rotation of each joint against the model's axes.
        at_BJ3_mm: Position.
        rest_BJ3_mm: Position in the shaped body at rest.
        at_by_beta_BJ3K: Derivative of ``at_BJ3_mm`` by β.
        feature_BP: Pose blend features, nine for each joint but the root.
    """

    rot_BJ33: Tensor
    at_BJ3_mm: Tensor
    rest_BJ3_mm: Tensor
    at_by_beta_BJ3K: Tensor
    feature_BP: Tensor


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points of posed bodies and their derivatives, millimetres.

    Attributes:
        at_BN3_mm: Positions in the model's axes and origin.
        by_turn_BN3J3: Derivative by a small rotation of each joint, with its descendants, about the
            model's axes; without the change of pose blend shapes, which is hundreds of times
            smaller.
        by_beta_BN3K: Derivative by β.
    """

    at_BN3_mm: Tensor
    by_turn_BN3J3: Tensor
    by_beta_BN3K: Tensor


class Skeleton:
    """The kinematic chain of a body, in double precision."""

    def __init__(self, body: BodyModel) -> None:
        regressor_JV = body.J_regressor_JV.double()
        self.n_betas = body.n_betas
        self._rest_J3_mm = MM_PER_M * regressor_JV @ body.v_template_V3.double()
        self._rest_by_beta_J3K = MM_PER_M * torch.einsum(
            "jv,vck->jck", regressor_JV, body.shapedirs_V3K.double()
        )

    def frames(self, rot_BJ33: Tensor, betas_BK: Tensor) -> Frames:
        """Pose the chain.

        Args:
            rot_BJ33: Each joint's rotation against its parent, float64.
            betas_BK: Shape, float64.
        """
        rest_BJ3 = self._rest_J3_mm + torch.einsum("jck,bk->bjc", self._rest_by_beta_J3K, betas_BK)
        world, at, slope = [rot_BJ33[:, 0]], [rest_BJ3[:, 0]], [self._rest_by_beta_J3K[0]]
        slope = [slope[0].expand(len(rot_BJ33), -1, -1)]
        for joint in range(1, N_SMPL_JOINTS):
            parent = SMPL_PARENTS[joint]
            turn = world[parent]
            bone = rest_BJ3[:, joint] - rest_BJ3[:, parent]
            bone_slope = self._rest_by_beta_J3K[joint] - self._rest_by_beta_J3K[parent]
            world.append(turn @ rot_BJ33[:, joint])
            at.append(at[parent] + (turn @ bone[..., None])[..., 0])
            slope.append(slope[parent] + turn @ bone_slope)
        identity = torch.eye(3, dtype=rot_BJ33.dtype, device=rot_BJ33.device)
        return Frames(
            rot_BJ33=torch.stack(world, 1),
            at_BJ3_mm=torch.stack(at, 1),
            rest_BJ3_mm=rest_BJ3,
            at_by_beta_BJ3K=torch.stack(slope, 1),
            feature_BP=(rot_BJ33[:, 1:] - identity).flatten(1),
        )

    def rest_by_beta(self) -> Tensor:
        """Derivative (J, 3, K) of the joints at rest by β, millimetres."""
        return self._rest_by_beta_J3K


class PointModel:
    """Points that are weighted sums of vertices. Build one with `regressed` or `vertices`.

    Args:
        skeleton: The kinematic chain.
        weight_NJ: Each joint's share in each point.
        mean_NJ3_mm: Weighted sums of template vertices.
        by_beta_NJ3K_mm: The same of shape blend shapes.
        by_feature_NJ3P_mm: The same of pose blend shapes; None if the body has none.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        weight_NJ: Tensor,
        mean_NJ3_mm: Tensor,
        by_beta_NJ3K_mm: Tensor,
        by_feature_NJ3P_mm: Tensor | None,
    ) -> None:
        self._skeleton = skeleton
        # The share of the joint's own place at rest, so that only turns of arms remain.
        self._weight_NJ = weight_NJ
        self._mean_NJ3 = mean_NJ3_mm
        self._by_beta_NJ3K = by_beta_NJ3K_mm - weight_NJ[..., None, None] * (
            skeleton.rest_by_beta()
        )
        self._shape_NJ3K = by_beta_NJ3K_mm
        self._by_feature_NJ3P = by_feature_NJ3P_mm
        self._below_JJ = _below().to(weight_NJ.device)
        self._weight_below_NJ = weight_NJ @ self._below_JJ.T

    @classmethod
    def regressed(cls, body: BodyModel, skeleton: Skeleton, regressor_NV: Tensor) -> Self:
        """Build points from rows of vertex weights (N, V)."""
        rows = regressor_NV.double()
        skin_VJ = body.weights_VJ.double()
        shares_NJV = rows[:, None, :] * skin_VJ.T
        posedirs = body.pose_blend_shapes
        by_feature = None
        if posedirs is not None:
            by_feature = MM_PER_M * torch.stack(
                [torch.einsum("jv,pvc->jcp", share, posedirs.double()) for share in shares_NJV]
            )
        return cls(
            skeleton,
            rows @ skin_VJ,
            MM_PER_M * shares_NJV @ body.v_template_V3.double(),
            MM_PER_M * torch.einsum("njv,vck->njck", shares_NJV, body.shapedirs_V3K.double()),
            by_feature,
        )

    @classmethod
    def vertices(cls, body: BodyModel, skeleton: Skeleton, indices: Sequence[int]) -> Self:
        """Build points from some vertices."""
        rows = torch.zeros(
            len(indices), body.n_vertices, dtype=torch.float64, device=body.v_template_V3.device
        )
        rows[torch.arange(len(indices)), torch.as_tensor(list(indices))] = 1.0
        return cls.regressed(body, skeleton, rows)

    def at(self, frames: Frames, betas_BK: Tensor) -> Tensor:
        """Compute positions (B, N, 3), millimetres, in the model's axes and origin."""
        return self._moved(frames, betas_BK).sum(2)

    def points(self, frames: Frames, betas_BK: Tensor) -> Points:
        """Compute positions and derivatives."""
        moved_BNJ3 = self._moved(frames, betas_BK)
        below_BNJ3 = torch.einsum("jk,bnkc->bnjc", self._below_JJ, moved_BNJ3)
        arm = below_BNJ3 - self._weight_below_NJ[..., None] * frames.at_BJ3_mm[:, None]
        x, y, z = arm.unbind(-1)
        zero = torch.zeros_like(x)
        # ω × arm, as a matrix that ω is multiplied with: rows are the point's x, y, z.
        turn = torch.stack(
            [
                torch.stack([zero, z, -y], -1),
                torch.stack([-z, zero, x], -1),
                torch.stack([y, -x, zero], -1),
            ],
            2,
        )
        by_beta = torch.einsum("bjcd,njdk->bnck", frames.rot_BJ33, self._by_beta_NJ3K)
        by_beta = by_beta + torch.einsum("nj,bjck->bnck", self._weight_NJ, frames.at_by_beta_BJ3K)
        return Points(at_BN3_mm=moved_BNJ3.sum(2), by_turn_BN3J3=turn, by_beta_BN3K=by_beta)

    def _moved(self, frames: Frames, betas_BK: Tensor) -> Tensor:
        """Compute each joint's contribution (B, N, J, 3) to each point."""
        share_BNJ3 = self._mean_NJ3 + torch.einsum("njck,bk->bnjc", self._shape_NJ3K, betas_BK)
        if self._by_feature_NJ3P is not None:
            share_BNJ3 = share_BNJ3 + torch.einsum(
                "njcp,bp->bnjc", self._by_feature_NJ3P, frames.feature_BP
            )
        weight_NJ1 = self._weight_NJ[..., None]
        share_BNJ3 = share_BNJ3 - weight_NJ1 * frames.rest_BJ3_mm[:, None]
        turned = torch.einsum("bjcd,bnjd->bnjc", frames.rot_BJ33, share_BNJ3)
        return turned + weight_NJ1 * frames.at_BJ3_mm[:, None]
