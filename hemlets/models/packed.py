"""Convolutions with fixed weights that lie in memory as oneDNN's kernels want them.

An ordinary convolution rearranges its weights at every call, and under autocast casts them
too; for one image that takes longer than the arithmetic. The operators are those that torch's
own compiler emits for processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["none", "relu", "relu6"]

_OPERATOR: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
_NO_DILATION = [1, 1]


class PackedConvolution(nn.Module):
    """A convolution, an addition and an activation in one call, without gradients."""

    def __init__(
        self,
        weight_OIHW: Tensor,
        bias_O: Tensor | None,
        *,
        stride: Sequence[int],
        padding: Sequence[int],
        groups: int,
        input_shape: Sequence[int],
        activation: Activation,
    ) -> None:
        """Pack the weights.

        Args:
            weight_OIHW: In the type of the arithmetic.
            bias_O: Of the same type.
            stride: Rows and columns.
            padding: Rows and columns, the same on both sides.
            groups: Of channels.
            input_shape: Of the images that the packing is best for; others will do.
            activation: Of the sum.
        """
        super().__init__()
        self.bias = bias_O
        self.stride, self.padding, self.groups = list(stride), list(padding), groups
        self.activation = activation
        # Not a buffer: packed tensors can't be moved, cast or saved.
        self.packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight_OIHW, self.padding, self.stride, _NO_DILATION, groups, list(input_shape)
        )

    def forward(self, x_BIHW: Tensor, added_BOHW: Tensor | None = None) -> Tensor:
        """Convolve, add and activate."""
        name, scalars = _OPERATOR[self.activation]
        where = (self.padding, self.stride, _NO_DILATION, self.groups)
        run = torch.ops.mkldnn._convolution_pointwise
        if added_BOHW is None:
            y: Tensor = run.default(x_BIHW, self.packed, self.bias, *where, name, scalars, "")
            return y
        y = run.binary(
            x_BIHW, added_BOHW, self.packed, self.bias, *where, "add", 1.0,
            None if name == "none" else name, scalars, "",
        )  # fmt: skip
        return y


class PackedUpsampling(nn.Module):
    """A transposed convolution with kernel 4, stride 2 and padding 1, and an activation.

    Each of its outputs sees two by two inputs through every other weight of the kernel, so that
    one ordinary convolution gives the four outputs around every corner between inputs, which are
    then sorted into rows and columns. With many channels this is ten times as fast as oneDNN's
    transposed convolution.
    """

    def __init__(
        self,
        weight_IOHW: Tensor,
        bias_O: Tensor | None,
        *,
        input_shape: Sequence[int],
        activation: Activation,
    ) -> None:
        """Pack the weights; see :class:`PackedConvolution`."""
        super().__init__()
        self.channels = weight_IOHW.shape[1]
        # An even output sees the input before it by the kernel's last row and the one at its
        # place by the second; an odd one its place by the third and the next by the first.
        weight_OIHW = weight_IOHW.transpose(0, 1).flip(2, 3)
        quarters = [weight_OIHW[:, :, down::2, across::2] for down in (0, 1) for across in (0, 1)]
        self.corners = PackedConvolution(
            torch.cat(quarters),
            None if bias_O is None else bias_O.repeat(4),
            stride=(1, 1),
            padding=(1, 1),
            groups=1,
            input_shape=input_shape,
            activation=activation,
        )

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Double the resolution."""
        height, width = x_BIHW.shape[-2:]
        corner_BCHW: Tensor = self.corners(x_BIHW)
        out = torch.empty(
            (len(x_BIHW), self.channels, 2 * height, 2 * width),
            dtype=x_BIHW.dtype,
            memory_format=torch.channels_last,
        )
        for number, quarter in enumerate(torch.split(corner_BCHW, self.channels, 1)):
            down, across = divmod(number, 2)
            out[:, :, down::2, across::2] = quarter[
                :, :, down : down + height, across : across + width
            ]
        return out
