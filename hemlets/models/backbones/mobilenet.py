"""MobileNetV2 (Sandler et al. 2018) with batch normalisation folded into its convolutions."""

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor, nn

from hemlets.models.backbones.efficientnet import PaddedConvolution

Activation = Literal["none", "relu", "relu6"]

EXPANSION: Final = 6
"""Channels inside a block over the channels that enter it; 1 in the first block."""


class FoldedConvolution(nn.Module):
    """A convolution with bias and an activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        activation: Activation = "none",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = PaddedConvolution(inputs, outputs, kernel, stride, groups, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and activate."""
        y: Tensor = self.conv(x)
        if self.activation == "relu6":
            return nn.functional.relu6(y)
        return nn.functional.relu(y) if self.activation == "relu" else y


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; added to the input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = EXPANSION) -> None:
        super().__init__()
        width = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self.expand = (
            FoldedConvolution(inputs, width, activation="relu6") if expansion > 1 else nn.Identity()
        )
        self.depthwise = FoldedConvolution(width, width, 3, stride, width, activation="relu6")
        self.project = FoldedConvolution(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the block."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skips else y


class SeparableConvolution(nn.Module):
    """A 3×3 convolution of each channel, then one over the channels with bias and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = FoldedConvolution(inputs, inputs, 3, groups=inputs, bias=False)
        self.pointwise = FoldedConvolution(inputs, outputs, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y
