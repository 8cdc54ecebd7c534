"""Runs a TensorFlow.js graph op by op: slow, and as plain as the twin of a fast network must be.

Tensors keep TensorFlow's layout (B, H, W, C). Only the ops of MoveNet's graphs are known.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int64, "DT_BOOL": torch.bool}

_SIMPLE: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "AddN": lambda *x: sum(x[1:], x[0]),
    "AddV2": torch.add,
    "Equal": torch.eq,
    "Exp": torch.exp,
    "ExpandDims": lambda x, axis: x.unsqueeze(int(axis)),
    "Fill": lambda shape, value: torch.full(shape.tolist(), float(value)),
    "FloorDiv": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "GatherNd": lambda x, index: x[tuple(index.unbind(-1))],
    "Greater": torch.gt,
    "GreaterEqual": torch.ge,
    "Identity": lambda x: x,
    "Less": torch.lt,
    "LogicalAnd": torch.logical_and,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Mul": torch.mul,
    "Range": lambda start, end, step: torch.arange(float(start), float(end), float(step)),
    "RealDiv": torch.div,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Select": torch.where,
    "Shape": lambda x: torch.tensor(x.shape),
    "Sigmoid": torch.sigmoid,
    "Size": lambda x: torch.tensor(x.numel()),
    "Sqrt": torch.sqrt,
    "SquaredDifference": lambda x, y: (x - y) ** 2,
    "Sub": torch.sub,
    "Tile": lambda x, times: x.repeat(times.tolist()),
}
_ACTIVATIONS = {"Relu": F.relu, "Relu6": F.relu6}


def read_constants(graph: Path) -> dict[str, Tensor]:
    """The constants; integers as int64."""
    constants: dict[str, Tensor] = {}
    for group in json.loads(graph.read_text())["weightsManifest"]:
        data = b"".join(graph.with_name(name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            dtype = np.dtype(entry.get("quantization", entry)["dtype"])
            array = np.frombuffer(data, dtype, math.prod(entry["shape"]), start)
            start += array.nbytes
            wide = np.float32 if dtype.kind == "f" else np.int64
            constants[entry["name"]] = torch.from_numpy(array.astype(wide)).reshape(entry["shape"])
    return constants


class Graph:
    """A graph and the values of its nodes for one input."""

    def __init__(self, graph: Path) -> None:
        content = json.loads(graph.read_text())
        self.nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
        self.constants = read_constants(graph)
        self.values: dict[str, Any] = {}

    def run(self, feeds: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        sys.setrecursionlimit(10_000)
        self.values = {**self.constants, **feeds}
        return [self._value(name) for name in outputs]

    def _value(self, reference: str) -> Any:
        name, _, output = reference.partition(":")
        if name not in self.values:
            node = self.nodes[name]
            inputs = [self._value(i) for i in node.get("input", []) if not i.startswith("^")]
            self.values[name] = self._evaluate(node, inputs)
        value = self.values[name]
        return value[int(output or 0)] if isinstance(value, list | tuple) else value

    def _evaluate(self, node: Mapping[str, Any], x: list[Any]) -> Any:
        op = node["op"]
        attributes = {name: _attribute(value) for name, value in node.get("attr", {}).items()}
        if op in _SIMPLE:
            return _SIMPLE[op](*x)
        return getattr(self, f"_{op.lstrip('_').lower()}")(attributes, *x)

    def _cast(self, attributes: Mapping[str, Any], x: Tensor) -> Tensor:
        return x.to(_TYPES[attributes["DstT"]])

    def _argmax(self, attributes: Mapping[str, Any], x: Tensor, axis: Tensor) -> Tensor:
        return x.argmax(int(axis))

    def _max(self, attributes: Mapping[str, Any], x: Tensor, axis: Tensor) -> Tensor:
        return x.amax(int(axis), keepdim=attributes["keep_dims"])

    def _sum(self, attributes: Mapping[str, Any], x: Tensor, axis: Tensor) -> Tensor:
        return x.sum(int(axis), keepdim=attributes["keep_dims"])

    def _pack(self, attributes: Mapping[str, Any], *x: Tensor) -> Tensor:
        return torch.stack(x, int(attributes["axis"]))

    def _unpack(self, attributes: Mapping[str, Any], x: Tensor) -> list[Tensor]:
        return list(x.unbind(int(attributes["axis"])))

    def _split(self, attributes: Mapping[str, Any], axis: Tensor, x: Tensor) -> list[Tensor]:
        return list(x.chunk(int(attributes["num_split"]), int(axis)))

    def _concatv2(self, attributes: Mapping[str, Any], *x: Tensor) -> Tensor:
        return torch.cat(x[:-1], int(x[-1]))

    def _squeeze(self, attributes: Mapping[str, Any], x: Tensor) -> Tensor:
        return x.squeeze([int(axis) for axis in attributes["squeeze_dims"]])

    def _topkv2(self, attributes: Mapping[str, Any], x: Tensor, count: Tensor) -> list[Tensor]:
        values, order = torch.sort(x, dim=-1, descending=True, stable=True)
        return [values[..., : int(count)], order[..., : int(count)]]

    def _stridedslice(
        self, attributes: Mapping[str, Any], x: Tensor, begin: Tensor, end: Tensor, step: Tensor
    ) -> Tensor:
        masks = {name: int(attributes[f"{name}_mask"])
                 for name in ("begin", "end", "new_axis", "shrink_axis")}  # fmt: skip
        index: list[Any] = []
        for i in range(len(begin)):
            if masks["new_axis"] >> i & 1:
                index.append(None)
            elif masks["shrink_axis"] >> i & 1:
                index.append(int(begin[i]))
            else:
                first = None if masks["begin"] >> i & 1 else int(begin[i])
                last = None if masks["end"] >> i & 1 else int(end[i])
                index.append(slice(first, last, int(step[i])))
        return x[tuple(index)]

    def _maxpool(self, attributes: Mapping[str, Any], x: Tensor) -> Tensor:
        kernel = int(attributes["ksize"][1])
        assert attributes["strides"][1] == "1"
        return F.max_pool2d(x.permute(0, 3, 1, 2), kernel, 1, kernel // 2).permute(0, 2, 3, 1)

    def _resizebilinear(self, attributes: Mapping[str, Any], x: Tensor, size: Tensor) -> Tensor:
        assert attributes["half_pixel_centers"]
        y = F.interpolate(x.permute(0, 3, 1, 2), size.tolist(), mode="bilinear")
        return y.permute(0, 2, 3, 1)

    def _fusedconv2d(
        self, attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        return _convolve(attributes, x, weight.permute(3, 2, 0, 1), bias, 1)

    def _fuseddepthwiseconv2dnative(
        self, attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        return _convolve(attributes, x, weight.permute(2, 3, 0, 1), bias, weight.shape[2])

    _conv2d = _fusedconv2d
    _depthwiseconv2dnative = _fuseddepthwiseconv2dnative


def _attribute(value: Mapping[str, Any]) -> Any:
    kind, content = next(iter(value.items()), ("none", None))
    if kind == "s":
        return base64.b64decode(content).decode(errors="replace")
    if kind == "list":
        if "s" in content:
            return [base64.b64decode(item).decode() for item in content["s"]]
        return content.get("i", [])
    return content


def _convolve(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    stride = int(attributes["strides"][1])
    y = x.permute(0, 3, 1, 2)
    if attributes["padding"] == "SAME":
        border: list[int] = []
        for side in y.shape[:1:-1]:
            total = max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0)
            border += [total // 2, total - total // 2]
        y = F.pad(y, border)
    y = F.conv2d(y, weight, bias, stride, groups=groups)
    for name in attributes.get("fused_ops", []):
        y = _ACTIVATIONS.get(name, lambda value: value)(y)
    return y.permute(0, 2, 3, 1)
