"""Joints of one body corrected together, after each was decoded from a volume of its own.

A volume says where one joint lies; that a left leg was taken for the right one, that a forearm is
too long or that a foot lies below the crop's edge shows only beside the other joints. Layers of
attention over the 18 joints read what the volumes say, how sure they are, and the features at each
joint, and move the joints, also out of the crop.

Shape suffixes: B batch, J 18 joints, C channels, H W map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import N_JOINTS
from hemlets.models.attention import AttentionLayer

_CHANNELS = 128
_OPINIONS = 3 + 3 + 3 + 2
"""Joints from volume and keypoints, their spread, joints from the volume alone, score and whether
there is one."""


class JointRefinement(nn.Module):
    """Corrections to decoded joints.

    Args:
        layers: Of attention.
        map_channels: Of the map that is read at the joints.
        feature_channels: Of the crop's pooled features.
        cells_xyz: Of the volume.
    """

    def __init__(
        self, layers: int, map_channels: int, feature_channels: int, cells_xyz: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.opinions = nn.Linear(_OPINIONS, _CHANNELS)
        self.seen = nn.Linear(map_channels, _CHANNELS)
        self.crop = nn.Linear(feature_channels, _CHANNELS)
        self.joint_JC = nn.Parameter(0.02 * torch.randn(N_JOINTS, _CHANNELS))
        self.layers = nn.Sequential(*(AttentionLayer(_CHANNELS) for _ in range(layers)))
        self.norm = nn.LayerNorm(_CHANNELS)
        self.correction = nn.Linear(_CHANNELS, 3)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.register_buffer("cells_3", torch.tensor(cells_xyz).float(), persistent=False)
        self.cells_3: Tensor

    def forward(
        self,
        voxel_BJ3: Tensor,
        spread_BJ3: Tensor,
        alone_BJ3: Tensor,
        score_BJ: Tensor | None,
        map_BCHW: Tensor,
        feature_BC: Tensor,
    ) -> Tensor:
        """Corrected joints in voxels.

        A joint whose keypoint is sure stays where it is in the image: what teaches the correction
        are renderings, and keypoints know photographs.

        Args:
            voxel_BJ3: Decoded joints.
            spread_BJ3: Standard deviations of what they are the means of.
            alone_BJ3: Joints decoded from the volume alone.
            score_BJ: Of the joints' keypoints, NaN where there is none; None from a network
                without.
            map_BCHW: Features of the places in the crop.
            feature_BC: Features of the crop.
        """
        if score_BJ is None:
            score_BJ = torch.full_like(voxel_BJ3[..., 0], torch.nan)
        sure_BJ1 = score_BJ.nan_to_num(0.0)[..., None]
        place_BJ3 = 2 * voxel_BJ3 / self.cells_3 - 1
        opinions = torch.cat(
            [
                4 * place_BJ3,
                16 * spread_BJ3 / self.cells_3,
                16 * (alone_BJ3 - voxel_BJ3) / self.cells_3,
                sure_BJ1,
                score_BJ.isnan()[..., None].to(sure_BJ1.dtype),
            ],
            -1,
        )
        seen_BJC = nn.functional.grid_sample(
            map_BCHW.float(), place_BJ3[:, :, None, :2], align_corners=False
        )[..., 0].transpose(1, 2)
        tokens = self.opinions(opinions) + self.seen(seen_BJC) + self.joint_JC
        tokens = tokens + self.crop(feature_BC.float())[:, None]
        moved = self.correction(self.norm(self.layers(tokens)))
        # Squared, few joints of photographs move that the keypoints have right.
        free_BJ1 = (1 - sure_BJ1) ** 2
        free_BJ3 = torch.cat([free_BJ1, free_BJ1, torch.ones_like(free_BJ1)], -1)
        refined: Tensor = voxel_BJ3 + moved * free_BJ3
        return refined
