"""Joint refinement: correct the independently decoded joints of a body together.

Each volume locates one joint independently; swapped legs, a forearm of wrong length or a foot below
the crop's edge are detectable only from all joints together. Attention layers over the 18 joints
read their decoded positions, spreads and local features, and predict corrections, which may move
joints out of the crop. With context they also attend to places of the whole crop, as the decoders
of HMR 2.0 (Goel et al. 2023) do: depth shows in what surrounds a joint.

Shape suffixes: B batch, J 18 joints, K keypoints, C channels, H W map, N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import N_JOINTS
from hemlets.models.attention import AttentionLayer
from hemlets.models.evidence import KEYPOINT_NAMES

CONTEXT_CHANNELS: Final = 256
_CHANNELS: Final = 128
_OPINIONS: Final = 3 + 3 + 3 + 2
"""Inputs per joint: positions from volume and keypoints, their spread, position from the volume
alone, score, and whether there is a score."""
_STAY: Final = 2
_STAY_IN_CONTEXT: Final = 6
"""Exponents of a keypoint's doubt in how far its joint may move in the image; above 1, correct
joints of photographs stay in place. With context corrections are larger, and of 2, 4 and 6 the last
was best on LSPET 1-250 (70.9, 72.6 and 72.9 % of the joints)."""
_UNSURE: Final = 0.1
"""Score up to which a keypoint's position says nothing."""


class CropContext(nn.Module):
    """Embeds all levels of a backbone at the resolution of the coarsest.

    Args:
        level_channels: From the finest level, each twice as fine as the next.
    """

    def __init__(self, level_channels: Sequence[int]) -> None:
        super().__init__()
        sides = [2**doubling for doubling in reversed(range(len(level_channels)))]
        self.patches = nn.ModuleList(
            nn.Conv2d(channels, CONTEXT_CHANNELS, side, side, bias=side == 1)
            for channels, side in zip(level_channels, sides, strict=True)
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Embed the levels: (B, C, H, W) of the coarsest. No gradient reaches the levels."""
        x: Tensor = self.patches[-1](levels[-1].detach())
        for patches, level in zip(self.patches[:-1], levels[:-1], strict=True):
            x = x + patches(level.detach())
        return x


class Evidence(NamedTuple):
    """Inputs of the refinement.

    Attributes:
        voxel_BJ3: Joints decoded from volume and keypoints.
        depth_BJD: Their distribution over depth.
        spread_BJ3: Standard deviations of their distributions, in voxels.
        alone_BJ3: Joints decoded from the volume alone.
        score_BJ: Scores of the joints' keypoints, NaN where there is none; None from a backbone
            without keypoints.
        map_BCHW: Features of the positions in the crop.
        feature_BC: Pooled features of the crop.
        context_BCHW: Result of `CropContext`; None without context.
        keypoints_BK3: All keypoints of the backbone, x and y as fractions of the crop, and score.
        lowest_BJ: Lowest score of the keypoints that each joint is expected by, also roughly; with
            context.
    """

    voxel_BJ3: Tensor
    depth_BJD: Tensor
    spread_BJ3: Tensor
    alone_BJ3: Tensor
    score_BJ: Tensor | None
    map_BCHW: Tensor
    feature_BC: Tensor
    context_BCHW: Tensor | None = None
    keypoints_BK3: Tensor | None = None
    lowest_BJ: Tensor | None = None


class JointRefinement(nn.Module):
    """Predicts corrections of decoded joints.

    Args:
        layers: Number of attention layers.
        map_channels: Channels of the map that is sampled at the joints.
        feature_channels: Channels of the crop's pooled features.
        cells_xyz: Cells of the volume.
        context_side: Side of the context's map; None without context.
    """

    def __init__(
        self,
        layers: int,
        map_channels: int,
        feature_channels: int,
        cells_xyz: tuple[int, int, int],
        context_side: int | None = None,
    ) -> None:
        super().__init__()
        channels = _CHANNELS if context_side is None else CONTEXT_CHANNELS
        self.opinions = nn.Linear(_OPINIONS, channels)
        self.seen = nn.Linear(map_channels, channels)
        self.joint_JC = nn.Parameter(0.02 * torch.randn(N_JOINTS, channels))
        self.context_side = context_side
        if context_side is None:
            self.crop = nn.Linear(feature_channels, channels)
            self.layers = nn.Sequential(*(AttentionLayer(channels) for _ in range(layers)))
        else:
            self.depth = nn.Linear(cells_xyz[2], channels)
            self.keypoints = nn.Linear(3 * len(KEYPOINT_NAMES), channels)
            self.place_CHW = nn.Parameter(0.02 * torch.randn(channels, context_side, context_side))
            self.layers = nn.Sequential(
                *(AttentionLayer(channels, head_channels=64, widening=2) for _ in range(layers))
            )
        self.norm = nn.LayerNorm(channels)
        self.correction = nn.Linear(channels, 3)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.register_buffer("cells_3", torch.tensor(cells_xyz).float(), persistent=False)
        self.cells_3: Tensor

    def forward(self, evidence: Evidence) -> Tensor:
        """Return corrected joints in voxels.

        A joint with a sure keypoint keeps its image position: the correction is trained on
        renderings, the keypoints on photographs.
        """
        voxel_BJ3, score_BJ = evidence.voxel_BJ3, evidence.score_BJ
        if score_BJ is None:
            score_BJ = torch.full_like(voxel_BJ3[..., 0], torch.nan)
        sure_BJ1 = score_BJ.nan_to_num(0.0)[..., None]
        # In the precision of the convolutions before; decoding itself runs in float32.
        reduced = evidence.map_BCHW.dtype == torch.bfloat16 and evidence.context_BCHW is not None
        with torch.autocast(voxel_BJ3.device.type, torch.bfloat16, enabled=reduced):
            tokens_BNC = self._joint_tokens(evidence, score_BJ, sure_BJ1)
            if evidence.context_BCHW is not None:
                tokens_BNC = torch.cat([tokens_BNC, self._context_tokens(evidence)], 1)
            tokens_BJC = self.norm(self.layers(tokens_BNC)[:, :N_JOINTS])
        moved_BJ3 = self.correction(tokens_BJC.float())
        stay = _STAY
        if evidence.lowest_BJ is not None:
            stay, sure_BJ1 = _STAY_IN_CONTEXT, evidence.lowest_BJ[..., None]
        free_BJ1 = (1 - sure_BJ1) ** stay
        free_BJ3 = torch.cat([free_BJ1, free_BJ1, torch.ones_like(free_BJ1)], -1)
        refined: Tensor = voxel_BJ3 + moved_BJ3 * free_BJ3
        return refined

    def _joint_tokens(self, evidence: Evidence, score_BJ: Tensor, sure_BJ1: Tensor) -> Tensor:
        voxel_BJ3 = evidence.voxel_BJ3
        place_BJ3 = 2 * voxel_BJ3 / self.cells_3 - 1
        opinions = torch.cat(
            [
                4 * place_BJ3,
                16 * evidence.spread_BJ3 / self.cells_3,
                16 * (evidence.alone_BJ3 - voxel_BJ3) / self.cells_3,
                sure_BJ1,
                score_BJ.isnan()[..., None].to(sure_BJ1.dtype),
            ],
            -1,
        )
        seen_BJC = nn.functional.grid_sample(
            evidence.map_BCHW.float(), place_BJ3[:, :, None, :2], align_corners=False
        )[..., 0].transpose(1, 2)
        tokens: Tensor = self.opinions(opinions) + self.seen(seen_BJC) + self.joint_JC
        if self.context_side is None:
            crop_BC: Tensor = self.crop(evidence.feature_BC.float())
            return tokens + crop_BC[:, None]
        deeper: Tensor = self.depth(8 * evidence.depth_BJD)
        return tokens + deeper

    def _context_tokens(self, evidence: Evidence) -> Tensor:
        """Return a token of the keypoints, and one of each position: (B, 1 + H·W, C)."""
        context_BCHW, keypoints_BK3 = evidence.context_BCHW, evidence.keypoints_BK3
        assert context_BCHW is not None
        assert keypoints_BK3 is not None
        place_CHW: Tensor = self.place_CHW
        if context_BCHW.shape[-2:] != place_CHW.shape[-2:]:
            place_CHW = nn.functional.interpolate(
                place_CHW[None], context_BCHW.shape[-2:], mode="bilinear"
            )[0]
        score_BK1 = keypoints_BK3[..., 2:].float()
        position_BK2 = (2 * keypoints_BK3[..., :2].float() - 1) * (score_BK1 > _UNSURE)
        keypoints_BC = self.keypoints(torch.cat([position_BK2, score_BK1], -1).flatten(1))
        places_BNC = (context_BCHW.float() + place_CHW).flatten(2).transpose(1, 2)
        return torch.cat([keypoints_BC[:, None], places_BNC], 1)
