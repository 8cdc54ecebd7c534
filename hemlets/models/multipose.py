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

from hemlets.models.backbones.movenet import (
    N_KEYPOINTS,
    PIXEL_SCALE,
    MoveNetHead,
    MoveNetPyramid,
    MoveNetTrunk,
)
from hemlets.models.initial_weights import without_initial_weights

STRIDE: Final = 4
"""Input pixels per cell of the heads' maps."""

MULTIPLE: Final = 32
"""Input sides are multiples of this."""

PEOPLE: Final = 6
"""People that the original graph decodes from an image."""

# Output channels of the trunk's blocks.
_BLOCKS: Final = (24, 40, 40, *[48] * 3, *[96] * 4, *[144] * 3, *[240] * 3, 480)

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
        centers_P: 0–1: the centre's value.
    """

    keypoints_PK2: Tensor
    keypoint_scores_PK: Tensor
    boxes_P4: Tensor
    scores_P: Tensor
    centers_P: Tensor


class MultiPose(nn.Module):
    """Image to the maps from which :func:`decode_people` reads the people."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MoveNetTrunk(48, _BLOCKS)
        self.pyramid = MoveNetPyramid(_BLOCKS)
        self.center = MoveNetHead(1)
        self.size = MoveNetHead(2)
        self.center_offset = MoveNetHead(2)
        self.heatmap = MoveNetHead(N_KEYPOINTS)
        self.regression = MoveNetHead(2 * N_KEYPOINTS)
        self.offset = MoveNetHead(2 * N_KEYPOINTS)

    def forward(self, image_B3HW: Tensor) -> Heads:
        """Run the network.

        Args:
            image_B3HW: RGB, 0–255, sides multiples of 32.
        """
        x: Tensor = self.pyramid(*self.trunk(image_B3HW * PIXEL_SCALE - 1.0))[-1]
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

    with without_initial_weights():
        network = MultiPose()
    state = {name: w.to(torch.float32, copy=True) for name, w in load_file(weights).items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def decode_people(
    heads: Heads, image: int, *, most: int = PEOPLE, least: float = 0.0
) -> MultiPosePeople:
    """The people of one image of a batch, as the original graph reads them.

    A keypoint lies at the peak of its heatmap inside the person's box, weighted by a Gaussian
    around the keypoint that is regressed from the person's centre.

    Args:
        heads: In float32.
        image: Its number in the batch.
        most: People to decode. Those that are nobody have scores near 0.
        least: Centres of lower values are left out.
    """
    center_HW = heads.center_B1HW[image, 0].sigmoid()
    height, width = center_HW.shape
    ys, xs, peaks = _peaks(center_HW, most, least)
    if not len(peaks):
        return _nobody(peaks)
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
        centers_P=peaks,
    )


def _nobody(empty: Tensor) -> MultiPosePeople:
    keypoints = empty.new_zeros(0, N_KEYPOINTS, 2)
    return MultiPosePeople(keypoints, keypoints[..., 0], empty.new_zeros(0, 4), empty, empty)


def _peaks(center_HW: Tensor, most: int, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of the highest local maxima; equal ones by their place."""
    around = nn.functional.max_pool2d(center_HW[None], _PEAK_WINDOW, 1, _PEAK_WINDOW // 2)[0]
    peaks = center_HW * ((center_HW - around).abs() < _SAME_PEAK)
    values, order = torch.sort(peaks.flatten(), descending=True, stable=True)
    count = min(most, int((values >= least).sum()))
    cells = order[:count]
    return cells // center_HW.shape[1], cells % center_HW.shape[1], values[:count]
