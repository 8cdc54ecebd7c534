"""Backbones: image to features of four levels, at strides 4 to 32."""

from typing import Literal

from hemlets.models.backbones.efficientnet import EfficientNetLite0
from hemlets.models.backbones.movenet import MoveNetThunder
from hemlets.models.backbones.resnet import ResNet, ResNetName

__all__ = [
    "Backbone",
    "BackboneName",
    "EfficientNetLite0",
    "MoveNetThunder",
    "ResNet",
    "build_backbone",
    "freeze_levels",
]

BackboneName = ResNetName | Literal["efficientnet_lite0", "movenet_thunder"]
Backbone = ResNet | EfficientNetLite0 | MoveNetThunder
"""A module from normalised images (B, 3, H, W) to features of four levels, at strides 4, 8, 16 and
32. It has ``level_channels``, their channels; ``channels``, those of the last; and
``first_levels(count)``, the modules of the stem and of the first levels, to be frozen."""


def build_backbone(name: BackboneName) -> Backbone:
    """A backbone with random weights."""
    if name == "efficientnet_lite0":
        return EfficientNetLite0()
    return MoveNetThunder() if name == "movenet_thunder" else ResNet(name)


def freeze_levels(backbone: Backbone, count: int) -> None:
    """Keep weights and statistics of the stem and the first levels as they are."""
    for module in backbone.first_levels(count):
        module.eval().requires_grad_(False)
