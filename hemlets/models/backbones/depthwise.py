"""Depthwise convolutions in bfloat16 that learn at a bearable speed on a CPU.

The forward pass is fast in bfloat16; of the gradients, oneDNN has fast kernels for some forms
only, and takes ten times as long and more for the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

_SMALL = 8
"""Largest output side at which a large kernel's gradient is computed by pairs of pixels."""


class _Context(FunctionCtx):
    """What the backward pass needs of the forward pass."""

    stride: int
    padding: int
    needs_input_grad: tuple[bool, bool, bool, bool]
    saved_tensors: tuple[Tensor, Tensor]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context, x_BCHW: Tensor, weight_C1KK: Tensor, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight_C1KK)
        ctx.stride, ctx.padding = stride, padding
        weight = weight_C1KK.to(x_BCHW.dtype)
        return nn.functional.conv2d(
            x_BCHW, weight, None, stride, padding, groups=weight_C1KK.shape[0]
        )

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, gradient_BCHW: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        of_x = of_weight = None
        if wants_weight and weight.shape[-1] > 3 and gradient_BCHW.shape[-1] <= _SMALL:
            of_weight = _by_pairs(gradient_BCHW, x, weight.shape[-1], ctx.stride, ctx.padding)
            wants_weight = False
        if wants_x and ctx.stride == 1:
            weight_low = weight.to(x.dtype)
            of_x = _gradients(ctx, gradient_BCHW, x, weight_low, (True, False, False))[0]
            wants_x = False
        if wants_x or wants_weight:
            wanted = (wants_x, wants_weight, False)
            exact = _gradients(ctx, gradient_BCHW.float(), x.float(), weight, wanted)
            of_x = exact[0].to(x.dtype) if wants_x else of_x
            of_weight = exact[1] if wants_weight else of_weight
        return of_x, None if of_weight is None else of_weight.to(weight.dtype), None, None


def _gradients(
    ctx: _Context, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> Any:
    stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
    return torch.ops.aten.convolution_backward.default(
        gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], len(weight), wanted
    )


def _by_pairs(gradient_BCHW: Tensor, x_BCHW: Tensor, kernel: int, stride: int, pad: int) -> Tensor:
    """The weights' gradient from the products of all pairs of an output's and an input's pixel.

    Of these, few are needed, but a matrix product gives them for all images at once.
    """
    x = nn.functional.pad(x_BCHW, (pad,) * 4)
    B, C, height, width = gradient_BCHW.shape
    gradient_CNB = gradient_BCHW.permute(1, 2, 3, 0).reshape(C, height * width, B)
    x_CBN = x.permute(1, 0, 2, 3).reshape(C, B, -1)
    products = torch.bmm(gradient_CNB, x_CBN).view(C, height, width, *x.shape[-2:])
    # A weight belongs to all pairs with the same offset: diagonals of the products.
    c, out_y, out_x, in_y, in_x = products.stride()
    diagonals = products.as_strided(
        (C, kernel, kernel, height, width),
        (c, in_y, in_x, out_y + stride * in_y, out_x + stride * in_x),
    )
    return diagonals.sum((3, 4), dtype=torch.float32)[:, None]


def depthwise(x_BCHW: Tensor, weight_C1KK: Tensor, stride: int, padding: int) -> Tensor:
    """Depthwise convolution of a bfloat16 image."""
    result: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        x_BCHW, weight_C1KK, stride, padding
    )
    return result
