"""Soft-argmax in one pass over the logits, as a Triton kernel. For GPUs; measured, not used yet.

Forward keeps a running maximum and four running sums for each joint; backward recomputes the
probabilities from the logits, so that nothing as large as the volume is kept beside them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["fused_soft_argmax"]

_BLOCK = 2048


@triton.jit
def _forward(
    logits, joints, stats, J, D, W, N, sb, sj, sd, sh, sw, BLOCK: tl.constexpr
):  # fmt: skip
    number = tl.program_id(0)
    base = logits + (number // J).to(tl.int64) * sb + (number % J).to(tl.int64) * sj
    lane = tl.arange(0, BLOCK)
    top = float("-inf")
    total = 0.0
    sum_x = 0.0
    sum_y = 0.0
    sum_z = 0.0
    for start in range(0, N, BLOCK):
        n = start + lane
        d = n % D
        w = (n // D) % W
        h = n // (D * W)
        value = tl.load(base + d * sd + h * sh + w * sw, mask=n < N, other=float("-inf"))
        value = value.to(tl.float32)
        higher = tl.maximum(top, tl.max(value, 0))
        fade = tl.exp(top - higher)
        e = tl.exp(value - higher)
        total = total * fade + tl.sum(e, 0)
        sum_x = sum_x * fade + tl.sum(e * (w + 0.5), 0)
        sum_y = sum_y * fade + tl.sum(e * (h + 0.5), 0)
        sum_z = sum_z * fade + tl.sum(e * (d + 0.5), 0)
        top = higher
    tl.store(joints + 3 * number, sum_x / total)
    tl.store(joints + 3 * number + 1, sum_y / total)
    tl.store(joints + 3 * number + 2, sum_z / total)
    tl.store(stats + 2 * number, top)
    tl.store(stats + 2 * number + 1, total)


@triton.jit
def _backward(
    logits, joints, stats, gradient, out, J, D, W, N, sb, sj, sd, sh, sw, BLOCK: tl.constexpr
):  # fmt: skip
    number = tl.program_id(0)
    offset = (number // J).to(tl.int64) * sb + (number % J).to(tl.int64) * sj
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d = n % D
    w = (n // D) % W
    h = n // (D * W)
    place = offset + d * sd + h * sh + w * sw
    value = tl.load(logits + place, mask=n < N, other=float("-inf")).to(tl.float32)
    p = tl.exp(value - tl.load(stats + 2 * number)) / tl.load(stats + 2 * number + 1)
    slope = tl.load(gradient + 3 * number) * (w + 0.5 - tl.load(joints + 3 * number))
    slope += tl.load(gradient + 3 * number + 1) * (h + 0.5 - tl.load(joints + 3 * number + 1))
    slope += tl.load(gradient + 3 * number + 2) * (d + 0.5 - tl.load(joints + 3 * number + 2))
    tl.store(out + place, (p * slope).to(out.dtype.element_ty), mask=n < N)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_BJDHW: Tensor) -> Tensor:
        B, J, D, H, W = logits_BJDHW.shape
        joints = logits_BJDHW.new_empty(B, J, 3, dtype=torch.float32)
        stats = logits_BJDHW.new_empty(B, J, 2, dtype=torch.float32)
        _forward[(B * J,)](
            logits_BJDHW, joints, stats, J, D, W, D * H * W, *logits_BJDHW.stride(), BLOCK=_BLOCK
        )
        ctx.save_for_backward(logits_BJDHW, joints, stats)
        return joints

    @staticmethod
    def backward(ctx: Any, gradient_BJ3: Tensor) -> Tensor:
        logits, joints, stats = ctx.saved_tensors
        B, J, D, H, W = logits.shape
        out = torch.empty_like(logits)
        assert out.stride() == logits.stride()
        _backward[(B * J, triton.cdiv(D * H * W, _BLOCK))](
            logits, joints, stats, gradient_BJ3.contiguous(), out, J, D, W, D * H * W,
            *logits.stride(), BLOCK=_BLOCK,
        )  # fmt: skip
        return out


def fused_soft_argmax(logits_BJDHW: Tensor) -> Tensor:
    """Expected position (B, J, 3), x y z in continuous voxels; any dense layout."""
    joints: Tensor = _Fused.apply(logits_BJDHW)
    return joints
