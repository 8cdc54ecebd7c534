"""MoveNet, Google's 2D pose networks (2021): trunk, pyramid and heads; Thunder as an encoder.

MobileNetV2 (Sandler et al. 2018) with a feature pyramid (Lin et al. 2017) down to a quarter of the
resolution and CenterNet's heads (Zhou et al. 2019). Layers follow the published graphs. Trained on
photographs of people; weights and licence: ``hemlets/assets/README.md``.

Shape suffixes: B batch, K 17 COCO keypoints, C channels, H W map.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from hemlets.models.backbones.mobilenet import (
    FoldedConvolution,
    InvertedResidual,
    SeparableConvolution,
)

N_KEYPOINTS: Final = 17
"""COCO's: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, left before right."""

PIXEL_SCALE: Final = 0.007843017578125
"""1 / 127.5 in float16, as it stands in the graphs."""

# Strides of the blocks after the first.
_STRIDES: Final = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_PYRAMID_BLOCKS: Final = (1, 4, 8)
"""Blocks whose features enter the pyramid, at strides 4, 8 and 16."""
_LEVEL_BLOCKS: Final = (1, 4, 11, 15)
"""The last blocks at strides 4, 8, 16 and 32."""

_THUNDER: Final = (32, 40, 40, *[56] * 3, *[112] * 4, *[168] * 3, *[280] * 3, 560)
_PYRAMID_CHANNELS: Final = (64, 32, 24, 24)
"""At strides 32, 16, 8 and 4."""
_CENTRE_SOFTENING: Final = 1.7998046875
"""Added to a distance in cells before a score is divided by it, as in the graph."""

# Of the normalisation that crops come with (`hemlets.data.transforms.normalise`), ImageNet's.
_MEAN_3, _DEVIATION_3 = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class MoveNetTrunk(nn.Module):
    """MobileNetV2.

    Args:
        stem: Channels of the first convolution.
        blocks: Output channels of the 17 inverted residuals.
    """

    def __init__(self, stem: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = FoldedConvolution(3, stem, 3, 2, activation="relu6")
        self.first = InvertedResidual(stem, blocks[0], 1, expansion=1)
        self.blocks = nn.ModuleList(
            InvertedResidual(inputs, outputs, stride)
            for (inputs, outputs), stride in zip(pairwise(blocks), _STRIDES, strict=True)
        )
        self.last = FoldedConvolution(blocks[-1], 1280, activation="relu6")

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of each block after the first, and the last features."""
        x = self.first(self.stem(x))
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features, self.last(x)


class MoveNetPyramid(nn.Module):
    """Coarse maps added to finer ones, from stride 32 to stride 4.

    Args:
        blocks: Output channels of the trunk's inverted residuals.
    """

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.top = FoldedConvolution(1280, _PYRAMID_CHANNELS[0])
        self.laterals = nn.ModuleList(
            FoldedConvolution(blocks[1 + block], channels)
            for block, channels in zip(reversed(_PYRAMID_BLOCKS), _PYRAMID_CHANNELS, strict=False)
        )
        self.merges = nn.ModuleList(
            SeparableConvolution(inputs, outputs) for inputs, outputs in pairwise(_PYRAMID_CHANNELS)
        )

    def forward(self, blocks: list[Tensor], last: Tensor) -> list[Tensor]:
        """Maps at strides 32, 16, 8 and 4 from what the trunk gives."""
        maps: list[Tensor] = [self.top(last)]
        sources = [blocks[block] for block in reversed(_PYRAMID_BLOCKS)]
        for lateral, merge, source in zip(self.laterals, self.merges, sources, strict=True):
            doubled = nn.functional.interpolate(
                maps[-1], scale_factor=2.0, mode="bilinear", align_corners=False
            )
            maps.append(merge(doubled + lateral(source)))
        return maps


class MoveNetHead(nn.Module):
    """One map of each output at stride 4."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.separable = SeparableConvolution(_PYRAMID_CHANNELS[-1], 96)
        self.out = FoldedConvolution(96, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The maps."""
        y: Tensor = self.out(self.separable(x))
        return y


class KeypointMaps(NamedTuple):
    """What Thunder's heads give at a quarter of the resolution; rows before columns.

    Attributes:
        heatmap_BKHW: Logit of each keypoint, of anybody in the crop.
        center_B1HW: Logit of a person's middle.
        regression_BCHW: From a person's middle to their keypoints, in cells: y and x of each
            keypoint in turn.
        offset_BCHW: From a keypoint's cell to the keypoint, in cells: likewise.
    """

    heatmap_BKHW: Tensor
    center_B1HW: Tensor
    regression_BCHW: Tensor
    offset_BCHW: Tensor


class MoveNetFeatures(NamedTuple):
    """What Thunder makes of crops.

    Attributes:
        levels: Trunk, pyramid and keypoint logits joined, at strides 4, 8, 16 and 32.
        keypoints_BK3: x and y as fractions of the crop, and score, of the keypoints of the
            person in the middle.
    """

    levels: list[Tensor]
    keypoints_BK3: Tensor


class KeypointDecoder(nn.Module):
    """Keypoints of the person in the middle, decoded as in the published graph.

    A keypoint is the cell with the highest score over distance from where the person's middle
    puts the keypoint; its offset is added.
    """

    def forward(self, maps: KeypointMaps) -> Tensor:
        """Find x and y as fractions of the crop, and the score: (B, 17, 3), in float32."""
        heatmap, center, regression, offset = (values.float() for values in maps)
        H, W = heatmap.shape[-2:]
        rows_H1 = torch.arange(H, device=heatmap.device, dtype=heatmap.dtype)[:, None]
        columns_W = torch.arange(W, device=heatmap.device, dtype=heatmap.dtype)
        middle_HW = ((rows_H1 - H / 2) ** 2 + (columns_W - W / 2) ** 2).sqrt()
        score_BHW = torch.sigmoid(center[:, 0]) / (middle_HW + _CENTRE_SOFTENING)
        cell_B = score_BHW.flatten(1).argmax(1)
        regressed_BK2 = _at(torch.unflatten(regression, 1, (N_KEYPOINTS, 2)), cell_B[:, None, None])
        row_BK = torch.div(cell_B, W, rounding_mode="floor")[:, None] + regressed_BK2[..., 0]
        column_BK = (cell_B % W)[:, None] + regressed_BK2[..., 1]
        squared = (rows_H1 - row_BK[..., None, None]) ** 2
        squared = squared + (columns_W - column_BK[..., None, None]) ** 2
        score_BKHW = torch.sigmoid(heatmap)
        near_BKN = (score_BKHW / (squared.sqrt() + _CENTRE_SOFTENING)).flatten(2)
        found_BK = near_BKN.argmax(2)
        offset_BK2 = _at(torch.unflatten(offset, 1, (N_KEYPOINTS, 2)), found_BK[..., None])
        y_BK = torch.div(found_BK, W, rounding_mode="floor") + offset_BK2[..., 0]
        x_BK = found_BK % W + offset_BK2[..., 1]
        peak_BK = score_BKHW.flatten(2).gather(2, found_BK[..., None])[..., 0]
        return torch.stack([x_BK / W, y_BK / H, peak_BK], -1)


def _at(maps_BK2HW: Tensor, cell_BK1: Tensor) -> Tensor:
    """Values (B, K, 2) of a pair of maps at a cell of each keypoint."""
    flat_BK2N = maps_BK2HW.flatten(3)
    index = cell_BK1[..., None].expand(*flat_BK2N.shape[:3], 1)
    return flat_BK2N.gather(3, index)[..., 0]


class MoveNetThunder(nn.Module):
    """Crop (B, 3, S, S), S a multiple of 32, to features of four levels and 2D keypoints.

    It was trained on crops of 256². ``forward`` gives the levels, as every backbone does;
    :meth:`features` gives the keypoints as well.
    """

    level_channels = (40 + 24 + N_KEYPOINTS, 56 + 24 + N_KEYPOINTS, 168 + 32, 560 + 64)
    channels = level_channels[-1]
    quarter_channels = _PYRAMID_CHANNELS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MoveNetTrunk(56, _THUNDER)
        self.pyramid = MoveNetPyramid(_THUNDER)
        self.heatmap = MoveNetHead(N_KEYPOINTS)
        self.center = MoveNetHead(1)
        self.regression = MoveNetHead(2 * N_KEYPOINTS)
        self.offset = MoveNetHead(2 * N_KEYPOINTS)
        self.decoder = KeypointDecoder()
        scale_3 = torch.tensor(_DEVIATION_3) * PIXEL_SCALE
        shift_3 = torch.tensor(_MEAN_3) * PIXEL_SCALE - 1
        self.register_buffer("input_scale", scale_3[:, None, None], persistent=False)
        self.register_buffer("input_shift", shift_3[:, None, None], persistent=False)
        self.input_scale: Tensor
        self.input_shift: Tensor
        # The decoder passes no gradient on to these.
        for head in (self.center, self.regression, self.offset):
            head.requires_grad_(False)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Features at a quarter to a thirty-second of the resolution, of normalised crops."""
        return self.run(self.scaled(image_B3HW))[0]

    def features(self, image_B3HW: Tensor) -> MoveNetFeatures:
        """Features and decoded keypoints of normalised crops."""
        levels, maps = self.run(self.scaled(image_B3HW))
        return MoveNetFeatures(levels, self.decoder(maps))

    def scaled(self, image_B3HW: Tensor) -> Tensor:
        """Normalised crops with their values scaled to -1…1, as in MoveNet's training."""
        return (image_B3HW * self.input_scale + self.input_shift).to(image_B3HW.dtype)

    def run(self, scaled_B3HW: Tensor) -> tuple[list[Tensor], KeypointMaps]:
        """Levels and the heads' maps, of crops with values of -1…1."""
        blocks, last = self.trunk(scaled_B3HW)
        at32, at16, at8, at4 = self.pyramid(blocks, last)
        maps = KeypointMaps(
            self.heatmap(at4), self.center(at4), self.regression(at4), self.offset(at4)
        )
        of4, of8, of16, of32 = (blocks[block] for block in _LEVEL_BLOCKS)
        pooled = nn.functional.max_pool2d(maps.heatmap_BKHW, 2)
        levels = [
            torch.cat([of4, at4, maps.heatmap_BKHW], 1),
            torch.cat([of8, at8, pooled], 1),
            torch.cat([of16, at16], 1),
            torch.cat([of32, at32], 1),
        ]
        return levels, maps

    @staticmethod
    def quarter_pyramid(level_BCHW: Tensor) -> Tensor:
        """The pyramid's part of the level at a quarter of the resolution."""
        return level_BCHW[:, -N_KEYPOINTS - _PYRAMID_CHANNELS[-1] : -N_KEYPOINTS]

    def first_levels(self, count: int) -> list[nn.Module]:
        """Modules of the stem and the first levels; none for 0, everything for 4."""
        if count == 0:
            return []
        if count == len(_LEVEL_BLOCKS):
            return [self]
        blocks = self.trunk.blocks[: _LEVEL_BLOCKS[count - 1] + 1]
        return [self.trunk.stem, self.trunk.first, *blocks]
