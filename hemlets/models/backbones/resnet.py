"""ResNet-18 and ResNet-50 (He et al. 2016) under torchvision's parameter names.

They are written here because torchvision's extension can't be imported with a CPU
build of torch; with the same names, ImageNet weights that a user has load strictly.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ResNetName = Literal["resnet18", "resnet50"]


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels_in, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
    )


class ResNet(nn.Module):
    """Image (B, 3, S, S) to features of four levels, the last (B, ``channels``, S/32, S/32)."""

    def __init__(self, name: ResNetName) -> None:
        super().__init__()
        layouts: dict[ResNetName, tuple[type[_Basic | _Bottleneck], tuple[int, ...]]] = {
            "resnet18": (_Basic, (2, 2, 2, 2)),
            "resnet50": (_Bottleneck, (3, 4, 6, 3)),
        }
        block, depths = layouts[name]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.channels = 64
        self.layer1 = self._layer(block, 64, depths[0], 1)
        self.layer2 = self._layer(block, 128, depths[1], 2)
        self.layer3 = self._layer(block, 256, depths[2], 2)
        self.layer4 = self._layer(block, 512, depths[3], 2)
        self.level_channels = tuple(c * block.expansion for c in (64, 128, 256, 512))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _layer(
        self, block: type[_Basic | _Bottleneck], channels: int, depth: int, stride: int
    ) -> nn.Sequential:
        blocks: list[nn.Module] = []
        for index in range(depth):
            blocks.append(block(self.channels, channels, stride if index == 0 else 1))
            self.channels = channels * block.expansion
        return nn.Sequential(*blocks)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Features of the four levels, at a quarter to a thirty-second of the resolution."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image_B3HW))))
        levels = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            levels.append(x)
        return levels

    def first_levels(self, count: int) -> list[nn.Module]:
        """Modules of the stem and the first levels; none for 0."""
        layers = [self.layer1, self.layer2, self.layer3, self.layer4]
        return [self.conv1, self.bn1, *layers[:count]] if count else []
