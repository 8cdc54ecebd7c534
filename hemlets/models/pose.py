"""The pose network: image to HEMlets, 2D heatmaps and a volume of each joint (section 3.2).

Shape suffixes: B batch, J 18 joints, K 14 parts, L layers a part, D H W volume, C channels.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemlets.core.config import Config
from hemlets.core.skeleton import N_JOINTS, N_PARTS
from hemlets.models.backbones import BackboneName, MoveNetThunder, build_backbone
from hemlets.models.codecs import (
    States,
    VolumeSpec,
    expectation,
    layers,
    marginals,
)
from hemlets.models.codecs.volume import marginals_under, spreads
from hemlets.models.evidence import KeypointEvidence
from hemlets.models.refinement import CropContext, Evidence, JointRefinement

_LEVELS_FROM: Final = {4: 4, 8: 3}
"""Levels of a backbone from a stride on."""
COARSEST: Final = 32
"""Stride of a backbone's last level."""


class PoseNetworkConfig(Config):
    """Size of the pose network.

    The paper's is ResNet-50, 256² crops, 64³ volumes, branches of 256 and a fusion of 512
    channels: 47.7 M parameters; without the intermediate branch 34.3 M.

    Attributes:
        states: Of a part's depth in the HEMlets: the paper's 3, or its variants 2s and 5s.
        volume_cells: Cells of maps and volumes along x and y: a quarter of ``crop_px``, or an
            eighth, where the backbone's levels down to a quarter are not used.
        depth_cells: Of the volume along z; None means ``volume_cells``.
        lateral: Add the backbone's finer levels to the upsampling branches (Lin et al. 2017).
            Not in the paper, whose backbone comes pre-trained; from random weights, where all
            detail would have to pass the coarsest level, it speeds learning up.
        keypoints: Let the 2D keypoints of the backbone decide where joints lie in the image
            (`hemlets.models.evidence`). MoveNet's only.
        quarter_level: Join the backbone's pyramid at a quarter of the resolution, averaged, into
            the finest level. MoveNet's only, with maps of an eighth of the crop.
        refinement_layers: Of attention over the joints (`hemlets.models.refinement`).
        refinement_context: Let the refinement attend to the whole crop, too; needs ``keypoints``.
    """

    backbone: BackboneName = "resnet18"
    crop_px: int = Field(128, ge=64)
    volume_cells: int = Field(32, ge=16)
    depth_cells: int | None = Field(None, ge=16)
    branch_channels: int = Field(128, ge=16)
    fusion_channels: int = Field(256, ge=16)
    intermediate: Literal["hemlets", "none"] = "hemlets"
    states: States = 3
    lateral: bool = False
    keypoints: bool = False
    quarter_level: bool = False
    refinement_layers: int = Field(0, ge=0)
    refinement_context: bool = False

    @model_validator(mode="after")
    def _maps_fit_the_crop(self) -> Self:
        # A thirty-second by the backbone, then doubled three times or twice.
        if self.crop_px % 32 or self.crop_px not in (
            4 * self.volume_cells,
            8 * self.volume_cells,
        ):
            raise ValueError(
                f"crop_px = {self.crop_px} and volume_cells = {self.volume_cells} don't fit; "
                "crop_px must be a multiple of 32 and volume_cells a quarter or an eighth of it"
            )
        if self.keypoints and self.backbone != "movenet_thunder":
            raise ValueError(
                f"{self.backbone} gives no keypoints; set keypoints = false, or backbone to "
                "movenet_thunder"
            )
        if self.refinement_context and not (self.refinement_layers and self.keypoints):
            raise ValueError(
                "refinement_context needs refinement_layers and keypoints; set both, or "
                "refinement_context = false"
            )
        fits = self.backbone == "movenet_thunder" and self.crop_px == 8 * self.volume_cells
        if self.quarter_level and not fits:
            raise ValueError(
                "quarter_level needs backbone = movenet_thunder and volume_cells of an eighth of "
                "crop_px; set quarter_level = false"
            )
        return self

    @property
    def volume(self) -> VolumeSpec:
        """Geometry of the volume."""
        return VolumeSpec(
            crop_px=self.crop_px, cells=self.volume_cells, depth_cells=self.depth_cells
        )

    @property
    def stride(self) -> int:
        """Crop pixels a cell of maps and volumes."""
        return self.crop_px // self.volume_cells

    @property
    def sigma_cells(self) -> float:
        """Width of the target Gaussians: 2 cells at 64×64, in proportion elsewhere."""
        return 2.0 * self.volume_cells / 64


class Encoded(NamedTuple):
    """What the backbone makes of crops.

    Attributes:
        levels: Features from the stride of the maps to a thirty-second of the resolution.
        keypoints_BK3: 2D keypoints of the person in the middle, x and y as fractions of the crop,
            and score; None from a backbone that gives none.
    """

    levels: list[Tensor]
    keypoints_BK3: Tensor | None


class PoseOutput(NamedTuple):
    """What the pose network gives.

    Attributes:
        volume_BJDHW: Logits of each joint's volume.
        heatmap_BJHW: 2D heatmaps, or None without the intermediate branch.
        triplet_BKLHW: HEMlets, or None without the intermediate branch.
        feature_BC: Pooled backbone features, for the shape network.
        evidence_BJHW: Log-likelihood of each joint's place in the image from the backbone's
            keypoints; None without.
        score_BJ: How sure the backbone is of each joint's keypoints, 0-1; NaN for a joint without
            keypoints; None from a network without.
        map_BCHW: Features that the volume is made from, for the refinement; None without one.
        context_BCHW: Features of the whole crop for a refinement with context.
        keypoints_BK3: The backbone's keypoints for a refinement with context.
        lowest_BJ: Lowest score of the keypoints that each joint is expected by, likewise.
    """

    volume_BJDHW: Tensor
    heatmap_BJHW: Tensor | None
    triplet_BKLHW: Tensor | None
    feature_BC: Tensor
    evidence_BJHW: Tensor | None = None
    score_BJ: Tensor | None = None
    map_BCHW: Tensor | None = None
    context_BCHW: Tensor | None = None
    keypoints_BK3: Tensor | None = None
    lowest_BJ: Tensor | None = None


class DecodedVolume(NamedTuple):
    """What the volume says of the joints, in float32.

    Attributes:
        marginals_xyz: Softmax of each joint's volume, summed onto the axes.
        voxel_BJ3: Their means: joints in continuous voxels, equation (5); refined, where the
            network has a refinement.
    """

    marginals_xyz: tuple[Tensor, Tensor, Tensor]
    voxel_BJ3: Tensor


class _Upsampling(nn.Module):
    """Transposed convolutions from each level to the next finer one, with or without laterals."""

    def __init__(self, level_channels: tuple[int, ...], channels: int, *, lateral: bool) -> None:
        super().__init__()
        *finer, coarsest = level_channels
        doublings = len(finer)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for inputs in (coarsest, *[channels] * (doublings - 1))
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
    """Backbone, a feature branch and a HEMlets branch, fused into one volume a joint.

    Under autocast the last logits are bfloat16 like all maps before them; the softmax and the
    expectation take them in float32 (:func:`decode`). On 64 rendered people with the
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
        self.n_levels = _LEVELS_FROM[config.stride]
        levels = self.backbone.level_channels[-self.n_levels :]
        if config.quarter_level:
            levels = (levels[0] + MoveNetThunder.quarter_channels, *levels[1:])
        self.level_channels = levels
        # MoveNet's channels differ in scale by a hundred between its levels.
        normed = levels if isinstance(self.backbone, MoveNetThunder) else ()
        self.level_norm = nn.ModuleList(nn.BatchNorm2d(channels) for channels in normed)
        self.evidence = KeypointEvidence() if config.keypoints else None
        self.feature_branch = _Upsampling(levels, width, lateral=config.lateral)
        volume_channels = N_JOINTS * config.volume.shape_xyz[2]
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
        self.refinement: JointRefinement | None = None
        self.context = CropContext(levels) if config.refinement_context else None
        if config.refinement_layers:
            self.refinement = JointRefinement(
                config.refinement_layers,
                self.volume_head.in_channels,
                self.backbone.channels,
                config.volume.shape_xyz,
                config.crop_px // COARSEST if config.refinement_context else None,
            )
        nn.init.normal_(self.volume_head.weight, std=1e-2)
        nn.init.zeros_(self.volume_head.bias)  # type: ignore[arg-type]

    def forward(self, image_B3HW: Tensor) -> PoseOutput:
        """Run the network on normalised crops; see :class:`PoseOutput`."""
        return self.head(self.encode(image_B3HW))

    def encode(self, image_B3HW: Tensor) -> Encoded:
        """Run the backbone on normalised crops."""
        keypoints = None
        if isinstance(self.backbone, MoveNetThunder):
            levels, keypoints = self.backbone.features(image_B3HW)
        else:
            levels = self.backbone(image_B3HW)
        chosen = levels[-self.n_levels :]
        if self.config.quarter_level:
            quarter = MoveNetThunder.quarter_pyramid(levels[0])
            chosen[0] = torch.cat([chosen[0], nn.functional.avg_pool2d(quarter, 2)], 1)
        return Encoded(chosen, keypoints)

    def head(self, encoded: Encoded) -> PoseOutput:
        """Run everything after the backbone."""
        levels = encoded.levels
        if len(self.level_norm):
            levels = [norm(level) for norm, level in zip(self.level_norm, levels, strict=True)]
        up = self.feature_branch(levels)
        heatmap = triplet = evidence = score = None
        if self.config.intermediate == "hemlets":
            maps = self.heatmap_head(self.heatmap_branch(levels))
            of_parts = layers(self.config.states) * N_PARTS
            triplet = maps[:, :of_parts].unflatten(1, (N_PARTS, -1))
            heatmap = maps[:, of_parts:]
            up = self.fusion(torch.cat([up, self.heatmap_encoder(maps)], 1))
        if self.evidence is not None:
            found = self.evidence(encoded.keypoints_BK3, up)
            # Not unpacked, so that the network can be traced.
            evidence, score = found[0], found[1]
        volume = self.volume_head(up).unflatten(1, (N_JOINTS, self.config.volume.shape_xyz[2]))
        feature = levels[-1].float().mean((2, 3))
        seen = up if self.refinement is not None else None
        out = PoseOutput(volume, heatmap, triplet, feature, evidence, score, seen)
        if self.context is None:
            return out
        assert self.evidence is not None
        assert encoded.keypoints_BK3 is not None
        return out._replace(
            context_BCHW=self.context(levels),
            keypoints_BK3=encoded.keypoints_BK3,
            lowest_BJ=self.evidence.lowest_scores(encoded.keypoints_BK3),
        )

    def decode(self, output: PoseOutput) -> DecodedVolume:
        """Joints in voxels of the configured volume, from crops of any size."""
        return decode(output, self.config.volume, self.refinement)

    def decode_both(self, output: PoseOutput) -> tuple[DecodedVolume, DecodedVolume]:
        """What :meth:`decode_alone` and :meth:`decode` give, with one pass over the volume.

        No gradient of the second, of a network with a refinement, passes to what is before it.
        """
        assert self.refinement is not None
        return _decode_refined(output, self.config.volume, self.refinement)

    def decode_alone(self, output: PoseOutput) -> DecodedVolume:
        """Decode the volume alone, without the backbone's keypoints, for training."""
        return decode(output._replace(evidence_BJHW=None), self.config.volume)


def decode(
    output: PoseOutput, volume: VolumeSpec, refinement: JointRefinement | None = None
) -> DecodedVolume:
    """Joints in voxels of a volume, which the logits may be coarser than, in float32.

    Where the backbone's keypoints speak of the image, both opinions are multiplied. The marginals
    are those before the refinement.
    """
    if refinement is not None:
        return _decode_refined(output, volume, refinement)[1]
    logits = output.volume_BJDHW
    with torch.autocast(logits.device.type, enabled=False):
        return _located(marginals(logits, output.evidence_BJHW), volume)


def _decode_refined(
    output: PoseOutput, volume: VolumeSpec, refinement: JointRefinement
) -> tuple[DecodedVolume, DecodedVolume]:
    """Joints from the volume alone, and the refined ones of volume and keypoints."""
    assert output.map_BCHW is not None
    with torch.autocast(output.volume_BJDHW.device.type, enabled=False):
        p_xyz, both_xyz = marginals_under(output.volume_BJDHW, output.evidence_BJHW)
        alone = _located(p_xyz, volume)
        both = _located(both_xyz, volume)
        evidence = Evidence(
            both.voxel_BJ3,
            both_xyz[2],
            spreads(both_xyz, volume.shape_xyz),
            alone.voxel_BJ3.detach(),
            None if output.score_BJ is None else output.score_BJ.detach(),
            output.map_BCHW.detach(),
            output.feature_BC.detach(),
            output.context_BCHW,
            None if output.keypoints_BK3 is None else output.keypoints_BK3.detach(),
            None if output.lowest_BJ is None else output.lowest_BJ.detach(),
        )
        return alone, both._replace(voxel_BJ3=refinement(evidence))


def _located(p_xyz: tuple[Tensor, Tensor, Tensor], volume: VolumeSpec) -> DecodedVolume:
    return DecodedVolume(p_xyz, expectation(p_xyz, volume.shape_xyz))


def joint_confidence(output: PoseOutput) -> Tensor:
    """Confidence of each joint, 0–1: (B, 18); NaN of joints without heatmap and keypoint.

    The score of its keypoints where the backbone has some: learnt from photographs, it is the
    share of joints that are right there. Of other joints the height of the 2D heatmap's peak.
    """
    if output.heatmap_BJHW is None:
        if output.score_BJ is not None:
            return output.score_BJ
        return torch.full_like(output.volume_BJDHW[..., 0, 0, 0], torch.nan)
    peak_BJ = output.heatmap_BJHW.float().amax((2, 3)).clamp(0, 1)
    if output.score_BJ is None:
        return peak_BJ
    return torch.where(output.score_BJ.isnan(), peak_BJ, output.score_BJ)
