"""Joint refinement: correct the independently decoded joints of a body together.

Each volume locates one joint independently; swapped legs, a forearm of wrong length or a foot below
the crop's edge are detectable only from all joints together. Attention layers over the 18 joints
read their decoded positions, spreads and local features, and predict corrections, which may move
joints out of the crop.

Shape suffixes: B batch, J 18 joints, C channels, H W map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import N_JOINTS
from hemlets.models.attention import AttentionLayer

_CHANNELS = 128
_OPINIONS = 3 + 3 + 3 + 2
"""Inputs per joint: positions from volume and keypoints, their spread, position from the volume
alone, score, and whether there is a score."""


class JointRefinement(nn.Module):
    """Predicts corrections of decoded joints.

    Args:
        layers: Number of attention layers.
        map_channels: Channels of the map that is sampled at the joints.
        feature_channels: Channels of the crop's pooled features.
        cells_xyz: Cells of the volume.
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
        """Return corrected joints in voxels.

        A joint with a sure keypoint keeps its image position: the correction is trained on
        renderings, the keypoints on photographs.

        Args:
            voxel_BJ3: Decoded joints.
            spread_BJ3: Standard deviations of the decoded distributions.
            alone_BJ3: Joints decoded from the volume without keypoints.
            score_BJ: Keypoint scores, NaN where a joint has no keypoint; None from a network
                without keypoints.
            map_BCHW: Feature map of the crop.
            feature_BC: Pooled features of the crop.
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
        # Squaring the score keeps correct joints of photographs in place.
        free_BJ1 = (1 - sure_BJ1) ** 2
        free_BJ3 = torch.cat([free_BJ1, free_BJ1, torch.ones_like(free_BJ1)], -1)
        refined: Tensor = voxel_BJ3 + moved * free_BJ3
        return refined
