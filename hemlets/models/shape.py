"""The shape network: joints and image features to SMPL θ and β (section 4, Figure 5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from hemlets.body.rotations import gram_schmidt
from hemlets.core.config import Config
from hemlets.core.skeleton import N_JOINTS


class ShapeNetworkConfig(Config):
    """Size of the shape network."""

    hidden: int = Field(512, ge=32)
    blocks: int = Field(2, ge=0)


class ShapeOutput(NamedTuple):
    """SMPL parameters.

    Attributes:
        rotation_BR33: The 24 rotation matrices of θ; the root's is in the crop's view,
            see :mod:`hemlets.models.codecs.view`.
        betas_BS: β, 10.
    """

    rotation_BR33: Tensor
    betas_BS: Tensor


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x + self.body(x))


class ShapeNetwork(nn.Module):
    """A residual perceptron that regresses rotations in the continuous 6D form.

    The 6D form is that of Zhou et al. 2019; Gram–Schmidt turns it into rotation matrices.
    """

    def __init__(self, config: ShapeNetworkConfig, feature_channels: int) -> None:
        super().__init__()
        self.config = config
        self.feature_channels = feature_channels
        self.input = nn.Sequential(
            nn.Linear(feature_channels + 3 * N_JOINTS, config.hidden),
            nn.LayerNorm(config.hidden),
            nn.GELU(),
        )
        self.blocks = nn.Sequential(*[_Residual(config.hidden) for _ in range(config.blocks)])
        self.output = nn.Linear(config.hidden, 24 * 6 + 10)
        nn.init.normal_(self.output.weight, std=1e-2)
        with torch.no_grad():
            identity = torch.eye(3)[:, :2].reshape(-1).repeat(24)
            self.output.bias.copy_(torch.cat([identity, torch.zeros(10)]))

    @torch.no_grad()
    def forget_features(self) -> None:
        """Let the body follow from the joints alone, until training brings the features in.

        The features' weights become 0, where their gradient is not.
        """
        first = self.input[0]
        assert isinstance(first, nn.Linear)
        first.weight[:, 3 * N_JOINTS :] = 0

    def forward(self, joints_BJ3: Tensor, feature_BC: Tensor) -> ShapeOutput:
        """Regress the body.

        Args:
            joints_BJ3: Joints relative to the pelvis, in metres as the crop and the volume
                show them (x and y by a nominal scale: depth and perspective are unknown).
            feature_BC: Pooled image features.
        """
        x = self.input(torch.cat([joints_BJ3.flatten(1).float(), feature_BC.float()], 1))
        y = self.output(self.blocks(x)).float()
        rotation = gram_schmidt(y[:, : 24 * 6].reshape(-1, 24, 3, 2))
        return ShapeOutput(rotation, y[:, 24 * 6 :])
