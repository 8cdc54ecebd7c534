"""The volume of each joint and its differentiable decoding, equation (5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


@dataclass(frozen=True, kw_only=True)
class VolumeSpec:
    """A volume over the crop and over depth relative to the pelvis.

    Attributes:
        crop_px: Side of the square crop.
        cells: Voxels along x and along y.
        depth_cells: Voxels along z; None means as many as along x: the paper's cubic volume.
        depth_range_mm: Depth spans ± this around the pelvis, independently of the crop's scale.
    """

    crop_px: int
    cells: int
    depth_cells: int | None = None
    depth_range_mm: float = 1000.0

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.cells, self.cells, self.depth_cells or self.cells

    @property
    def cell_px(self) -> float:
        """Crop pixels a voxel."""
        return self.crop_px / self.cells

    @property
    def cell_mm(self) -> float:
        """Depth of a voxel in millimetres."""
        return 2 * self.depth_range_mm / self.shape_xyz[2]

    def to_voxels(self, crop_px_BJ2: Tensor, depth_mm_BJ: Tensor) -> Tensor:
        """Convert crop coordinates and pelvis-relative depth to continuous voxels (B, J, 3)."""
        z_BJ = (depth_mm_BJ + self.depth_range_mm) / self.cell_mm
        return torch.cat([crop_px_BJ2 / self.cell_px, z_BJ[..., None]], -1)

    def from_voxels(self, voxels_BJ3: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse of :meth:`to_voxels`."""
        depth_mm = voxels_BJ3[..., 2] * self.cell_mm - self.depth_range_mm
        return voxels_BJ3[..., :2] * self.cell_px, depth_mm


class _Context(FunctionCtx):
    """What the backward pass needs of the forward pass."""

    dtype: torch.dtype
    saved_tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class _Marginals(torch.autograd.Function):
    """Axis marginals of the softmax over a volume.

    The gradient by a logit is p · (g − Σ p·g). Both directions only need the marginals and Σ p·g,
    so the normalised volume is never stored. Channels-last memory (B, H, W, J·D), the convolution's
    output layout, is traversed in place; on a CPU one cache-sized sample at a time.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        logits_BJDHW: Tensor,
        evidence_BHWJ: Tensor,
        further_BHWJ: Tensor | None,
    ) -> tuple[Tensor, ...]:
        B, J, D, H, W = logits_BJDHW.shape
        dtype = torch.promote_types(logits_BJDHW.dtype, torch.float32)
        e_BHWJD = torch.empty((B, H, W, J, D), dtype=dtype, device=logits_BJDHW.device)
        parts = [
            _exponentials(*part)
            for part in _parts(e_BHWJD, logits_BJDHW.permute(0, 3, 4, 1, 2), evidence_BHWJ)
        ]
        scale_BJ, px, py, pz = (torch.cat(same) for same in zip(*parts, strict=True))
        ctx.save_for_backward(e_BHWJD, scale_BJ, px, py, pz)
        ctx.dtype = logits_BJDHW.dtype
        if further_BHWJ is None:
            return px, py, pz
        others = [_weighted(*part) for part in _parts(e_BHWJD, further_BHWJ.exp())]
        under = tuple(torch.cat(same) for same in zip(*others, strict=True))
        ctx.mark_non_differentiable(*under)
        return px, py, pz, *under

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, gx_BJW: Tensor, gy_BJH: Tensor, gz_BJD: Tensor, *_under: Tensor
    ) -> tuple[Tensor, None, None]:
        e_BHWJD, scale_BJ, px, py, pz = ctx.saved_tensors
        mean_BJ = (px * gx_BJW).sum(-1) + (py * gy_BJH).sum(-1) + (pz * gz_BJD).sum(-1)
        gx = (gx_BJW * scale_BJ[..., None]).transpose(1, 2)[:, None]
        gy = (gy_BJH * scale_BJ[..., None]).transpose(1, 2)[:, :, None]
        gz = ((gz_BJD - mean_BJ[..., None]) * scale_BJ[..., None])[:, None, None]
        plane = (gx + gy)[..., None]
        gradient_BHWJD = torch.empty_like(e_BHWJD, dtype=ctx.dtype)
        for gradient, e, across, along in _parts(gradient_BHWJD, e_BHWJD, plane, gz):
            gradient.copy_((across + along).mul_(e))
        return gradient_BHWJD.permute(0, 3, 4, 1, 2), None, None


def _parts(*whole: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return the unit of work: a sample on a CPU, else the batch."""
    count = 1 if whole[0].device.type == "cpu" else len(whole[0])
    return zip(*(tensor.split(count) for tensor in whole), strict=True)  # type: ignore[no-untyped-call]


def _exponentials(
    e_BHWJD: Tensor, logits_BHWJD: Tensor, evidence_BHWJ: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fill in the exponentials; return the reciprocals of their sums, and the marginals."""
    B, H, W, J, D = e_BHWJD.shape
    # Operations on lower types than float32 are slow on a CPU, but for the copy.
    e_BNC = e_BHWJD.copy_(logits_BHWJD).view(B, H * W, J * D)
    top_BJ = e_BNC.amax(1).view(B, J, D).amax(-1)
    # Evidence spans few powers of e, so that the logits' own maximum keeps exponentials finite.
    e_BHWJD.sub_((top_BJ[:, None, None] - evidence_BHWJ)[..., None])
    e_BNC.exp_()
    z_BJD = e_BNC.sum(1).view(B, J, D)
    scale_BJ = 1 / z_BJD.sum(-1)
    plane_BHWJ = e_BHWJD.sum(-1) * scale_BJ[:, None, None]
    px = plane_BHWJ.sum(1).transpose(1, 2)
    py = plane_BHWJ.sum(2).transpose(1, 2)
    return scale_BJ, px, py, z_BJD * scale_BJ[..., None]


def _weighted(e_BHWJD: Tensor, weight_BHWJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute normalised marginals of exponentials times weights of image positions."""
    B, H, W, J, D = e_BHWJD.shape
    plane_BHWJ = e_BHWJD.sum(-1) * weight_BHWJ
    scale_BJ = 1 / plane_BHWJ.sum((1, 2)).clamp_min(torch.finfo(plane_BHWJ.dtype).tiny)
    px, py = ((plane_BHWJ.sum(side) * scale_BJ[:, None]).transpose(1, 2) for side in (1, 2))
    weight_BJ1N = weight_BHWJ.reshape(B, H * W, J).transpose(1, 2)[:, :, None]
    z_BJD = (weight_BJ1N @ e_BHWJD.view(B, H * W, J, D).transpose(1, 2))[:, :, 0]
    return px, py, z_BJD * scale_BJ[..., None]


def marginals(
    logits_BJDHW: Tensor, evidence_BJHW: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the softmax's marginals on x, y and z: (B, J, W), (B, J, H), (B, J, D).

    Runs in float32 for any logits: in bfloat16 the decoding is wrong by millimetres.

    Args:
        logits_BJDHW: Logits of the volume.
        evidence_BJHW: Added to the logits of all depths, without gradient.
    """
    if torch.compiler.is_exporting():
        if evidence_BJHW is not None:
            logits_BJDHW = logits_BJDHW.float() + evidence_BJHW[:, :, None]
        return _marginals_at_once(logits_BJDHW)
    if evidence_BJHW is None:
        evidence_BJHW = logits_BJDHW.new_zeros(()).expand(logits_BJDHW[:, :, 0].shape)
    result: tuple[Tensor, Tensor, Tensor] = _Marginals.apply(  # type: ignore[no-untyped-call]
        logits_BJDHW, evidence_BJHW.permute(0, 2, 3, 1), None
    )
    return result


def marginals_under(
    logits_BJDHW: Tensor, evidence_BJHW: Tensor | None
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Compute :func:`marginals` of the logits, and of the logits plus log-likelihoods of positions.

    One pass over the volume computes both; the second have no gradient.
    """
    if evidence_BJHW is None:
        alone = marginals(logits_BJDHW)
        px, py, pz = (p.detach() for p in alone)
        return alone, (px, py, pz)
    if torch.compiler.is_exporting():
        return marginals(logits_BJDHW), marginals(logits_BJDHW, evidence_BJHW)
    further_BHWJ = evidence_BJHW.detach().permute(0, 2, 3, 1)
    nothing = logits_BJDHW.new_zeros(()).expand(further_BHWJ.shape)
    px, py, pz, qx, qy, qz = _Marginals.apply(  # type: ignore[no-untyped-call]
        logits_BJDHW, nothing, further_BHWJ
    )
    return (px, py, pz), (qx, qy, qz)


def _marginals_at_once(logits_BJDHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in plain operations, whose graph is valid for every batch size."""
    whole = logits_BJDHW.float().flatten(2).softmax(-1).view_as(logits_BJDHW)
    return whole.sum((2, 3)), whole.sum((2, 4)), whole.sum((3, 4))


def expectation(
    marginals_xyz: tuple[Tensor, Tensor, Tensor], cells: int | tuple[int, int, int] | None = None
) -> Tensor:
    """Compute the mean position (B, J, 3), x y z in continuous voxels, of three axis marginals.

    For a volume's own :func:`marginals` it is the soft-argmax, equation (5).

    Args:
        marginals_xyz: Marginals along x, y and z.
        cells: Voxels spanned by every axis, or by each; an axis with fewer entries is coarser. By
            default an axis spans its entries.
    """
    means = [
        (p * cell_centres(p.shape[-1], span, p)).sum(-1)
        for p, span in zip(marginals_xyz, axis_cells(cells), strict=True)
    ]
    return torch.stack(means, -1)


def spreads(
    marginals_xyz: tuple[Tensor, Tensor, Tensor], cells: int | tuple[int, int, int] | None = None
) -> Tensor:
    """Compute standard deviations (B, J, 3) of three axis marginals."""
    deviations = []
    for p, span in zip(marginals_xyz, axis_cells(cells), strict=True):
        centres = cell_centres(p.shape[-1], span, p)
        mean = (p * centres).sum(-1, keepdim=True)
        deviations.append((p * (centres - mean) ** 2).sum(-1).sqrt())
    return torch.stack(deviations, -1)


def axis_cells(
    cells: int | tuple[int, int, int] | None,
) -> tuple[int, int, int] | tuple[None, None, None]:
    """Return the voxels along x, y and z; one number applies to all."""
    if cells is None:
        return None, None, None
    return (cells, cells, cells) if isinstance(cells, int) else cells


def cell_centres(entries: int, cells: int | None, like: Tensor) -> Tensor:
    """Return the centres of an axis's entries in voxels if it spans ``cells`` voxels."""
    centres = torch.arange(entries, device=like.device, dtype=like.dtype) + 0.5
    return centres * ((cells or entries) / entries)
