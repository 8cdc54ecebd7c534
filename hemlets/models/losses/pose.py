"""Losses of the pose stage. Each returns the sum over the batch, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from hemlets.models.codecs.volume import axis_cells, cell_centres


def hemlets_loss(predicted_BKLHW: Tensor, target_BKLHW: Tensor, known_BKL: Tensor) -> Tensor:
    """L_HEM = ‖(T − T̂) ⊙ Λ‖², equation (3); Λ masks the layers that nobody annotated."""
    squared = (predicted_BKLHW.float() - target_BKLHW) ** 2
    return (squared.sum((3, 4)) * known_BKL).sum()


def heatmap_loss(predicted_BJHW: Tensor, target_BJHW: Tensor, known_BJ: Tensor) -> Tensor:
    """L_2D = Σ‖H − Ĥ‖² over annotated joints, equation (4)."""
    squared = (predicted_BJHW.float() - target_BJHW) ** 2
    return (squared.sum((2, 3)) * known_BJ).sum()


def joint_loss(
    voxel_BJ3: Tensor, target_BJ3: Tensor, known2d_BJ: Tensor, known3d_BJ: Tensor
) -> Tensor:
    """L_3D = Σ |Δx| + |Δy| + λ|Δz| in the joints' units, equation (6).

    λ is 1 for a joint with 3D annotation and 0 for one with 2D annotation only.
    """
    error = (voxel_BJ3.float() - target_BJ3).abs()
    in_plane = (error[..., :2].sum(-1) * known2d_BJ).sum()
    return in_plane + (error[..., 2] * known3d_BJ).sum()


def marginal_loss(
    marginals_xyz: tuple[Tensor, Tensor, Tensor],
    target_BJ3: Tensor,
    sigma: float,
    known2d_BJ: Tensor,
    known3d_BJ: Tensor,
    cells: int | tuple[int, int, int] | None = None,
) -> Tensor:
    """Cross-entropy of the volume's axis marginals against Gaussians. Not in the paper.

    The gradient of the soft-argmax through a nearly uniform softmax over tens of thousands of
    voxels is tiny, so that learning from random weights starts slowly; this term's gradient
    does not vanish there (compare the divergence term of DSNT, Nibali et al. 2018). Targets
    outside the volume are moved to its nearest cell. ``cells`` is the number of voxels that
    every axis spans, or each of them, where its marginal is coarser.
    """
    total = target_BJ3.new_zeros(())
    known = known2d_BJ, known2d_BJ, known3d_BJ
    for axis, (p_BJN, known_BJ, span) in enumerate(
        zip(marginals_xyz, known, axis_cells(cells), strict=True)
    ):
        centres_N = cell_centres(p_BJN.shape[-1], span, p_BJN)
        at_BJ1 = target_BJ3[..., axis, None].clamp(centres_N[0], centres_N[-1])
        target_BJN = torch.softmax(-0.5 * ((centres_N - at_BJ1) / sigma) ** 2, -1)
        entropy_BJ = -(target_BJN * torch.log(p_BJN.clamp_min(1e-9))).sum(-1)
        total = total + (entropy_BJ * known_BJ).sum()
    return total
