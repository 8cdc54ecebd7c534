"""The pose network: image to HEMlets, 2D heatmaps and a volume of each joint (section 3.2).

Shape suffixes: B batch, J 18 joints, K 14 parts, L layers a part, D H W volume, C channels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemlets.core.config import Config
from hemlets.core.skeleton import N_JOINTS, N_PARTS
from hemlets.models.backbones import BackboneName, build_backbone
from hemlets.models.codecs import States, VolumeSpec, expectation, layers, marginals

__all__ = ["DecodedVolume", "PoseNetwork", "PoseNetworkConfig", "PoseOutput", "decode_volume"]


class PoseNetworkConfig(Config):
    """Size of the pose network.

    The paper's is ResNet-50, 256² crops, 64³ volumes, branches of 256 and a fusion of 512
    channels: 47.7 M parameters; without the intermediate branch 34.3 M.

    Attributes:
        states: Of a part's depth in the HEMlets: the paper's 3, or its variants 2s and 5s.
        lateral: Add the backbone's finer levels to the upsampling branches (Lin et al. 2017).
            Not in the paper, whose backbone comes pre-trained; from random weights, where all
            detail would have to pass the coarsest level, it speeds learning up.
    """

    backbone: BackboneName = "resnet18"
    crop_px: int = Field(128, ge=64)
    volume_cells: int = Field(32, ge=16)
    branch_channels: int = Field(128, ge=16)
    fusion_channels: int = Field(256, ge=16)
    intermediate: Literal["hemlets", "none"] = "hemlets"
    states: States = 3
    lateral: bool = False

    @model_validator(mode="after")
    def _maps_are_a_quarter_of_the_crop(self) -> Self:
        # A thirty-second by the backbone, then doubled three times.
        if self.crop_px % 32 or self.volume_cells * 4 != self.crop_px:
            raise ValueError(
                f"crop_px = {self.crop_px} and volume_cells = {self.volume_cells} don't fit; "
                "crop_px must be a multiple of 32 and volume_cells a quarter of it"
            )
        return self

    @property
    def volume(self) -> VolumeSpec:
        """Geometry of the volume."""
        return VolumeSpec(crop_px=self.crop_px, cells=self.volume_cells)

    @property
    def sigma_cells(self) -> float:
        """Width of the target Gaussians: 2 cells at 64×64, in proportion elsewhere."""
        return 2.0 * self.volume_cells / 64


class PoseOutput(NamedTuple):
    """What the pose network gives.

    Attributes:
        volume_BJDHW: Logits of each joint's volume.
        heatmap_BJHW: 2D heatmaps, or None without the intermediate branch.
        triplet_BKLHW: HEMlets, or None without the intermediate branch.
        feature_BC: Pooled backbone features, for the shape network.
    """

    volume_BJDHW: Tensor
    heatmap_BJHW: Tensor | None
    triplet_BKLHW: Tensor | None
    feature_BC: Tensor


class DecodedVolume(NamedTuple):
    """What the volume says of the joints, in float32.

    Attributes:
        marginals_xyz: Softmax of each joint's volume, summed onto the axes.
        voxel_BJ3: Their means: joints in continuous voxels, equation (5).
    """

    marginals_xyz: tuple[Tensor, Tensor, Tensor]
    voxel_BJ3: Tensor


class _Upsampling(nn.Module):
    """Three transposed convolutions that double the resolution, with or without laterals."""

    def __init__(self, level_channels: tuple[int, ...], channels: int, *, lateral: bool) -> None:
        super().__init__()
        *finer, coarsest = level_channels
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for inputs in (coarsest, channels, channels)
        )
        self.lateral = nn.ModuleList(
            nn.Conv2d(inputs, channels, 1) for inputs in (reversed(finer) if lateral else ())
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for index, up in enumerate(self.up):
            x = up(x)
            if len(self.lateral):
                x = x + self.lateral[index](levels[-2 - index])
        return x


def _convolution(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class PoseNetwork(nn.Module):
    """ResNet, a feature branch and a HEMlets branch, fused into one volume a joint.

    Under autocast the last logits are bfloat16 like all maps before them; the softmax and the
    expectation take them in float32 (:func:`decode_volume`). On 64 rendered people with the
    starter weights, float32 being the truth, joints are 4.7 mm off in the mean and 63 mm at worst;
    with the last convolution in float32 it is the same to 0.1 mm, for a step that takes an eighth
    longer. Rounding nothing but the logits costs 0.1 mm, 1.4 mm at worst: what bfloat16 costs, it
    costs in the convolutions before.
    """

    def __init__(self, config: PoseNetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.branch_channels
        self.backbone = build_backbone(config.backbone)
        levels = self.backbone.level_channels
        self.feature_branch = _Upsampling(levels, width, lateral=config.lateral)
        volume_channels = N_JOINTS * config.volume_cells
        if config.intermediate == "hemlets":
            maps = layers(config.states) * N_PARTS + N_JOINTS
            self.heatmap_branch = _Upsampling(levels, width, lateral=config.lateral)
            self.heatmap_head = nn.Conv2d(width, maps, 3, 1, 1)
            self.heatmap_encoder = _convolution(maps, width)
            self.fusion = _convolution(2 * width, config.fusion_channels)
            self.volume_head = nn.Conv2d(config.fusion_channels, volume_channels, 1)
            nn.init.normal_(self.heatmap_head.weight, std=1e-3)
            nn.init.zeros_(self.heatmap_head.bias)  # type: ignore[arg-type]
        else:
            self.volume_head = nn.Conv2d(width, volume_channels, 1)
        nn.init.normal_(self.volume_head.weight, std=1e-2)
        nn.init.zeros_(self.volume_head.bias)  # type: ignore[arg-type]

    def forward(self, image_B3HW: Tensor) -> PoseOutput:
        """Run the network on normalised crops; see :class:`PoseOutput`."""
        levels = self.backbone(image_B3HW)
        up = self.feature_branch(levels)
        heatmap = triplet = None
        if self.config.intermediate == "hemlets":
            maps = self.heatmap_head(self.heatmap_branch(levels))
            of_parts = layers(self.config.states) * N_PARTS
            triplet = maps[:, :of_parts].unflatten(1, (N_PARTS, -1))
            heatmap = maps[:, of_parts:]
            up = self.fusion(torch.cat([up, self.heatmap_encoder(maps)], 1))
        volume = self.volume_head(up).unflatten(1, (N_JOINTS, self.config.volume_cells))
        return PoseOutput(volume, heatmap, triplet, levels[-1].float().mean((2, 3)))

    def decode(self, output: PoseOutput) -> DecodedVolume:
        """Joints in voxels of the configured volume, from crops of any size."""
        return decode_volume(output.volume_BJDHW, self.config.volume_cells)


def decode_volume(volume_BJDHW: Tensor, cells: int) -> DecodedVolume:
    """Joints in voxels of a volume of ``cells`` a side, which the logits may be coarser than."""
    with torch.autocast(volume_BJDHW.device.type, enabled=False):
        p_xyz = marginals(volume_BJDHW)
        return DecodedVolume(p_xyz, expectation(p_xyz, cells))
