"""MoveNet MultiPose Lightning: several people's boxes and 17 COCO keypoints from one image.

Google's network (2021): MobileNetV2 × 1.5 with a feature pyramid and the heads of CenterNet (Zhou
et al. 2019), at a quarter of the resolution: a heatmap of people's centres, a box and 17
keypoints regressed at each centre, and a heatmap with offsets for each keypoint. The weights are
converted from the TensorFlow.js graph (``hemlets/assets/movenet_multipose``), whose decoding is
reproduced here; only the number of people, six there, is free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from hemlets.models.backbones.mobilenet import (
    FoldedConvolution,
    InvertedResidual,
    SeparableConvolution,
)

N_KEYPOINTS: Final = 17
STRIDE: Final = 4
"""Input pixels per cell of the heads' maps."""

MULTIPLE: Final = 32
"""Input sides are multiples of this."""

PEOPLE: Final = 6
"""People that the original graph decodes from an image."""

# Output channels and stride of the blocks after the first.
_BLOCKS: Final = (
    (40, 2), (40, 1),
    (48, 2), (48, 1), (48, 1),
    (96, 2), (96, 1), (96, 1), (96, 1), (144, 1), (144, 1), (144, 1),
    (240, 2), (240, 1), (240, 1), (480, 1),
)  # fmt: skip
_LAST_BLOCKS: Final = (1, 4, 8)
"""Blocks whose features enter the pyramid, at strides 4, 8 and 16."""

_PIXEL_SCALE: Final = 0.007843017578125
"""1 / 127.5 in float16, as it stands in the graph."""

_SAME_PEAK: Final = 1.0132789611816406e-06
_PEAK_WINDOW: Final = 5
_SPREAD: Final = 0.300048828125
"""Variance of the keypoints' window, in cells², over the shorter side of the map in cells."""

_KEYPOINT_SURE: Final = 0.126953125
"""Weighted keypoint score from which a keypoint counts in its person's score."""


class Heads(NamedTuple):
    """Maps at a quarter of the resolution; vectors are (y, x) in cells.

    Attributes:
        center_B1HW: Logits of people's centres.
        size_B2HW: Height and width of a person centred here.
        center_offset_B2HW: From the cell to the box's centre.
        heatmap_BKHW: Logits of keypoints.
        regression_BCHW: From a centre's cell to its person's keypoints; y, x of the first
            keypoint, then of the next.
        offset_BCHW: From a keypoint's cell to the keypoint, in the same order.
    """

    center_B1HW: Tensor
    size_B2HW: Tensor
    center_offset_B2HW: Tensor
    heatmap_BKHW: Tensor
    regression_BCHW: Tensor
    offset_BCHW: Tensor


class MultiPosePeople(NamedTuple):
    """People of one image, the highest centres first; coordinates in input pixels.

    Attributes:
        keypoints_PK2: x, y.
        keypoint_scores_PK: 0–1.
        boxes_P4: Left, top, right, bottom, inside of the image.
        scores_P: 0–1: the centre's value times the mean score of its sure keypoints.
    """

    keypoints_PK2: Tensor
    keypoint_scores_PK: Tensor
    boxes_P4: Tensor
    scores_P: Tensor


class _Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConvolution(3, 48, 3, 2, activation="relu6")
        self.first = InvertedResidual(48, 24, 1, expansion=1)
        blocks: list[nn.Module] = []
        inputs = 24
        for outputs, stride in _BLOCKS:
            blocks.append(InvertedResidual(inputs, outputs, stride))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = FoldedConvolution(inputs, 1280, activation="relu6")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at strides 4, 8, 16 and 32."""
        x = self.first(self.stem(x))
        levels = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _LAST_BLOCKS:
                levels.append(x)
        return [*levels, self.last(x)]


class _Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.top = FoldedConvolution(1280, 64)
        self.laterals = nn.ModuleList(
            FoldedConvolution(inputs, outputs) for inputs, outputs in ((96, 64), (48, 32), (40, 24))
        )
        self.merges = nn.ModuleList(
            SeparableConvolution(inputs, outputs)
            for inputs, outputs in ((64, 32), (32, 24), (24, 24))
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Features at stride 4 from those at 4, 8, 16 and 32."""
        x: Tensor = self.top(levels[-1])
        for lateral, merge, level in zip(self.laterals, self.merges, levels[-2::-1], strict=True):
            doubled = nn.functional.interpolate(
                x, scale_factor=2, mode="bilinear", align_corners=False
            )
            x = merge(doubled + lateral(level))
        return x


class _Head(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.separable = SeparableConvolution(24, 96)
        self.out = FoldedConvolution(96, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.separable(x))
        return y


class MultiPose(nn.Module):
    """Image to the maps from which :func:`decode_people` reads the people."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _Trunk()
        self.pyramid = _Pyramid()
        self.center = _Head(1)
        self.size = _Head(2)
        self.center_offset = _Head(2)
        self.heatmap = _Head(N_KEYPOINTS)
        self.regression = _Head(2 * N_KEYPOINTS)
        self.offset = _Head(2 * N_KEYPOINTS)

    def forward(self, image_B3HW: Tensor) -> Heads:
        """Run the network.

        Args:
            image_B3HW: RGB, 0–255, sides multiples of 32.
        """
        x: Tensor = self.pyramid(self.trunk(image_B3HW * _PIXEL_SCALE - 1.0))
        return Heads(
            center_B1HW=self.center(x),
            size_B2HW=self.size(x),
            center_offset_B2HW=self.center_offset(x),
            heatmap_BKHW=self.heatmap(x),
            regression_BCHW=self.regression(x),
            offset_BCHW=self.offset(x),
        )


def load_multipose(weights: Path) -> MultiPose:
    """The network with its weights, in float32 and evaluation mode.

    Raises:
        RuntimeError: The file holds other weights.
    """
    from safetensors.torch import load_file

    network = MultiPose()
    network.load_state_dict({name: w.float() for name, w in load_file(weights).items()})
    return network.eval()


def decode_people(heads: Heads, image: int, *, most: int = PEOPLE) -> MultiPosePeople:
    """The people of one image of a batch, as the original graph reads them.

    A keypoint lies at the peak of its heatmap inside the person's box, weighted by a Gaussian
    around the keypoint that is regressed from the person's centre.

    Args:
        heads: In float32.
        image: Its number in the batch.
        most: People to decode. Those that are nobody have scores near 0.
    """
    center_HW = heads.center_B1HW[image, 0].sigmoid()
    height, width = center_HW.shape
    ys, xs, peaks = _peaks(center_HW, min(most, height * width))
    rows = torch.arange(height, dtype=torch.float32, device=ys.device)
    columns = torch.arange(width, dtype=torch.float32, device=ys.device)

    size_P2 = heads.size_B2HW[image, :, ys, xs].T.clamp(min=0)
    middle_P2 = torch.stack([ys, xs], 1) + heads.center_offset_B2HW[image, :, ys, xs].T
    limit_2 = torch.tensor([height, width], dtype=torch.float32, device=ys.device)
    low_P2 = torch.minimum(middle_P2 - size_P2 / 2, limit_2).clamp(min=0)
    high_P2 = torch.minimum(middle_P2 + size_P2 / 2, limit_2).clamp(min=0)
    down_PH = (rows >= low_P2[:, :1]) & (rows < high_P2[:, :1])
    across_PW = (columns >= low_P2[:, 1:]) & (columns < high_P2[:, 1:])

    # Regressed keypoints, then the best cell of each one's heatmap.
    guess_PK2 = heads.regression_BCHW[image, :, ys, xs].T.reshape(-1, N_KEYPOINTS, 2)
    guess_PK2 = guess_PK2 + torch.stack([ys, xs], 1)[:, None]
    variance = min(height, width) * _SPREAD
    near_PKH = torch.exp(-((rows - guess_PK2[..., :1]) ** 2) / variance) * down_PH[:, None]
    near_PKW = torch.exp(-((columns - guess_PK2[..., 1:]) ** 2) / variance) * across_PW[:, None]
    heatmap_KHW = heads.heatmap_BKHW[image].sigmoid()
    weighted_PKHW = heatmap_KHW * near_PKH[..., None] * near_PKW[..., None, :]
    cell_PK = weighted_PKHW.flatten(2).argmax(-1)
    y_PK, x_PK = cell_PK // width, cell_PK % width
    k_K = torch.arange(N_KEYPOINTS, device=ys.device)
    offset_K2HW = heads.offset_BCHW[image].reshape(N_KEYPOINTS, 2, height, width)
    offset_PK2 = offset_K2HW.permute(0, 2, 3, 1)[k_K, y_PK, x_PK]
    # Where people overlap, a keypoint scores as the best placed of them would.
    score_PK = weighted_PKHW.amax(0)[k_K, y_PK, x_PK]

    sure_PK = score_PK > _KEYPOINT_SURE
    total_P = (score_PK * sure_PK).sum(1)
    keypoints_PK2 = torch.stack([y_PK, x_PK], -1) + offset_PK2
    return MultiPosePeople(
        keypoints_PK2=keypoints_PK2.flip(-1) * STRIDE,
        keypoint_scores_PK=score_PK,
        boxes_P4=torch.cat([low_P2.flip(-1), high_P2.flip(-1)], 1) * STRIDE,
        scores_P=peaks * total_P / sure_PK.sum(1).clamp(min=1),
    )


def _peaks(center_HW: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of the highest local maxima; equal ones by their place."""
    around = nn.functional.max_pool2d(center_HW[None], _PEAK_WINDOW, 1, _PEAK_WINDOW // 2)[0]
    peaks = center_HW * ((center_HW - around).abs() < _SAME_PEAK)
    values, order = torch.sort(peaks.flatten(), descending=True, stable=True)
    cells = order[:count]
    return cells // center_HW.shape[1], cells % center_HW.shape[1], values[:count]
