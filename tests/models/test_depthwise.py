"""Depthwise convolutions in bfloat16: their gradients are those of float32 but for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hemlets.models.backbones.depthwise import depthwise


def _image(*shape: int, seed: int) -> Tensor:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return image.bfloat16().contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(3, 1, 1, 6), (3, 2, 0, 13), (5, 1, 2, 4), (5, 1, 2, 12), (5, 2, 0, 11), (5, 2, 0, 35)],
)
def test_it_and_its_gradients_are_the_slow_ones(
    kernel: int, stride: int, padding: int, side: int
) -> None:
    x = _image(3, 16, side, side, seed=0).requires_grad_()
    weight = _image(16, 1, kernel, kernel, seed=1).float().requires_grad_()
    y = depthwise(x, weight, stride, padding)
    gradient = _image(*y.shape, seed=2)
    torch.autograd.backward(y, gradient)

    slow_x, slow_weight = (t.detach().double().requires_grad_() for t in (x, weight))
    slow = nn.functional.conv2d(slow_x, slow_weight, None, stride, padding, groups=16)
    torch.autograd.backward(slow, gradient.double())

    pairs = ((y, slow), (x.grad, slow_x.grad), (weight.grad, slow_weight.grad))
    for fast, exact in pairs:
        assert fast is not None
        assert exact is not None
        error = (fast.double() - exact).detach().norm() / exact.detach().norm()
        assert float(error) < 0.01
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_a_frozen_one_passes_gradients_on() -> None:
    x = _image(1, 4, 6, 6, seed=0).requires_grad_()
    weight = torch.ones(4, 1, 5, 5)
    torch.autograd.backward(depthwise(x, weight, 1, 2).sum())
    assert x.grad is not None
    assert weight.grad is None
