"""A model's form for inference on processors: the same function in fewer and faster calls.

Trained weights are fixed, so that each normalisation becomes part of the convolution before it,
and additions and activations ride along (:mod:`hemlets.models.packed`). The network is traced,
so that this holds for every backbone and every setting. The weights on disk stay as they are.
"""

from __future__ import annotations

import operator
from typing import Any, Final, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hemlets.models.backbones.efficientnet import PaddedConvolution
from hemlets.models.backbones.movenet import KeypointDecoder
from hemlets.models.evidence import KeypointEvidence
from hemlets.models.packed import Activation, PackedConvolution, PackedUpsampling
from hemlets.models.posh import HemletsPosh, PoshOutput, with_body

Precision = Literal["float32", "bfloat16"]

_ADDITIONS: Final = (operator.add, torch.add)
_ACTIVATIONS: Final[dict[Any, Activation]] = {
    torch.relu: "relu",
    nn.functional.relu: "relu",
    nn.functional.relu6: "relu6",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
}
_DOUBLING: Final = ((4, 4), (2, 2), (1, 1), (0, 0))
"""Kernel, stride, padding and output padding of the transposed convolutions."""


def can_prepare(precision: Precision) -> bool:
    """Whether this processor and this torch have the kernels, and arithmetic of the precision."""
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return precision == "float32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class FusedModel(nn.Module):
    """Crop to joints and body on a CPU, without gradients.

    In float32 it gives what the model gives but for rounding. In bfloat16 convolutions run as
    under autocast; the softmax, the expectation and the shape network stay in float32.
    """

    def __init__(self, model: HemletsPosh, precision: Precision = "float32") -> None:
        """Prepare a model, which is unchanged.

        Args:
            model: On the CPU, in evaluation mode.
            precision: Of the convolutions; :func:`can_prepare` says whether it can be had.
        """
        super().__init__()
        self.dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self.volume = model.volume
        side = model.pose.config.crop_px
        self.pose = pack(model.pose, torch.zeros(1, 3, side, side), self.dtype)
        self.shape = model.shape
        self.refinement = model.pose.refinement

    def forward(self, image_B3HW: Tensor) -> PoshOutput:
        """Run both stages, see :class:`HemletsPosh`."""
        image = image_B3HW.to(self.dtype, memory_format=torch.channels_last)
        return with_body(self.pose(image), self.shape, self.volume, self.refinement)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.Conv2d | KeypointDecoder | KeypointEvidence)
        return whole or super().is_leaf_module(m, module_qualified_name)


class _ShapeRecorder(fx.Interpreter):
    """Note each result's shape in its node; torch's ShapeProp takes a second to import SymPy.

    Convolutions give one zero, expanded; normalisations and activations give their input: the
    arithmetic would cost as much as a prediction.
    """

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            return args[0].new_zeros(()).expand(_convolved_shape(module, args[0].shape))
        if isinstance(module, nn.BatchNorm2d) or type(module) in _ACTIVATIONS:
            return args[0]
        return super().call_module(target, args, kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _ACTIVATIONS:
            return args[0]
        return super().call_function(target, args, kwargs)

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if isinstance(value, Tensor):
            node.meta["shape"] = list(value.shape)
        return value


def _convolved_shape(module: nn.Conv2d | nn.ConvTranspose2d, shape: torch.Size) -> tuple[int, ...]:
    """Shape of a convolution's result from that of its input (B, C, H, W)."""
    if isinstance(module, nn.ConvTranspose2d):
        _require_doubling(module)
        return (shape[0], module.out_channels, 2 * shape[2], 2 * shape[3])
    assert not isinstance(module.padding, str)
    if isinstance(module, PaddedConvolution):
        border = [sum(module.border[:2])] * 2
    else:
        border = [2 * side for side in module.padding]
    sides = [
        (size + around - dilation * (kernel - 1) - 1) // stride + 1
        for size, around, kernel, stride, dilation in zip(
            shape[2:], border, module.kernel_size, module.stride, module.dilation, strict=True
        )
    ]
    return (shape[0], module.out_channels, *sides)


@torch.no_grad()
def pack(network: nn.Module, image_B3HW: Tensor, dtype: torch.dtype) -> fx.GraphModule:
    """The network with packed convolutions; the given network is unchanged.

    Args:
        network: On the CPU, in evaluation mode; its forward can be traced.
        image_B3HW: Of the size that the packing is best for; others will do.
        dtype: Of the convolutions.
    """
    traced = fx.GraphModule(network, _Tracer().trace(network))
    _ShapeRecorder(traced).run(image_B3HW)
    for node in list(traced.graph.nodes):
        module = _module(traced, node)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _replace(traced, node, module, dtype)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _replace(
    traced: fx.GraphModule,
    node: fx.Node,
    module: nn.Conv2d | nn.ConvTranspose2d,
    dtype: torch.dtype,
) -> None:
    """Put one packed convolution in the place of one and what follows it."""
    last, weight, bias = node, module.weight.data, module.bias
    transposed = isinstance(module, nn.ConvTranspose2d)
    norm = _module(traced, _only_user(last))
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            module.weight, bias, norm.running_mean, norm.running_var, norm.eps,
            norm.weight, norm.bias, transpose=transposed,
        )  # fmt: skip
        last = _required(_only_user(last))
    arguments = [node.args[0]]
    user = _only_user(last)
    if not transposed and user is not None and user.target in _ADDITIONS:
        others = [value for value in user.args if value is not last]
        if len(others) == 1 and isinstance(others[0], fx.Node):
            arguments, last = [*arguments, others[0]], user
    activation: Activation = "none"
    user = _only_user(last)
    if user is not None:
        kind = type(_module(traced, user)) if user.op == "call_module" else user.target
        if kind in _ACTIVATIONS:
            activation, last = _ACTIVATIONS[kind], user
    packed = _packed(
        module,
        weight.to(dtype),
        None if bias is None else bias.to(dtype),
        node.all_input_nodes[0].meta["shape"],
        activation,
    )
    name = f"packed_{node.name}"
    traced.add_submodule(name, packed)
    with traced.graph.inserting_after(last):
        new = traced.graph.call_module(name)
    last.replace_all_uses_with(new)
    new.args = tuple(arguments)
    new.meta = last.meta


def _packed(
    module: nn.Conv2d | nn.ConvTranspose2d,
    weight: Tensor,
    bias_O: Tensor | None,
    input_shape: list[int],
    activation: Activation,
) -> nn.Module:
    if isinstance(module, nn.ConvTranspose2d):
        _require_doubling(module)
        return PackedUpsampling(weight, bias_O, input_shape=input_shape, activation=activation)
    padding = module.padding
    if isinstance(module, PaddedConvolution):
        # A kernel that is wider by zeros where less is padded gives the same with even padding.
        before, after = module.border[:2]
        weight = nn.functional.pad(weight, (after - before, 0) * 2)
        padding = (after, after)
    assert not isinstance(padding, str)
    return PackedConvolution(
        weight,
        bias_O,
        stride=module.stride,
        padding=padding,
        groups=module.groups,
        input_shape=input_shape,
        activation=activation,
    )


def _require_doubling(module: nn.ConvTranspose2d) -> None:
    form = (module.kernel_size, module.stride, module.padding, module.output_padding)
    assert form == _DOUBLING
    assert module.groups == 1


def _module(traced: fx.GraphModule, node: fx.Node | None) -> nn.Module | None:
    if node is None or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _required(node: fx.Node | None) -> fx.Node:
    assert node is not None
    return node
