"""What 2D keypoints say of where joints lie in the image, as log-likelihoods over its cells.

The encoder is trained on photographs, the volume mostly on renderings. Their opinions are
multiplied (a product of experts, Hinton 2002), and nothing here is learnt: training on renderings
would adapt the weight of either to renderings.

Each joint is expected at an affine combination of keypoints, by a normal distribution with the
keypoints' score as the probability that they are right, and a uniform one otherwise.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import N_JOINTS, Joint

KEYPOINT_NAMES: Final = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

_HIPS: Final = {"left_hip": 0.5, "right_hip": 0.5}
_SHOULDERS: Final = {"left_shoulder": 0.5, "right_shoulder": 0.5}
_SPREAD: Final = 0.02
"""Standard deviation of a joint around its keypoints, as a fraction of the crop's side. Chosen on
photographs: LSPET 1-100 doesn't tell 0.01 to 0.03 apart, and with 0.03 fewer joints of the COCO and
MPII samples are right."""
_COMBINED: Final[dict[Joint, tuple[dict[str, float], float]]] = {
    Joint.PELVIS: (_HIPS, _SPREAD),
    Joint.THORAX: (_SHOULDERS, _SPREAD),
    Joint.SPINE: (dict.fromkeys((*_HIPS, *_SHOULDERS), 0.25), 0.05),
    Joint.NECK: ({"left_shoulder": 0.35, "right_shoulder": 0.35, "nose": 0.3}, 0.04),
    Joint.HEAD_TOP: ({"left_shoulder": -0.25, "right_shoulder": -0.25, "nose": 1.5}, 0.08),
}
"""Weights of keypoints and spread of joints that have no keypoint of their own. The last three are
rough: they tell whose neck it is where two people stand together, and have no score."""
_ROUGH: Final = [Joint.SPINE, Joint.NECK, Joint.HEAD_TOP]
_MOST_SURE: Final = 0.99
"""Never is a keypoint right with certainty."""


class KeypointEvidence(nn.Module):
    """Log-likelihood of each joint's cell, given keypoints."""

    def __init__(self) -> None:
        super().__init__()
        weights_JK = torch.zeros(N_JOINTS, len(KEYPOINT_NAMES))
        spread_J = torch.zeros(N_JOINTS)
        for joint in Joint:
            own = {joint.name.lower(): 1.0}, _SPREAD
            weights, spread_J[joint] = _COMBINED.get(joint, own)
            for name, weight in weights.items():
                weights_JK[joint, KEYPOINT_NAMES.index(name)] = weight
        self.register_buffer("weights_JK", weights_JK, persistent=False)
        self.register_buffer("spread_J", spread_J, persistent=False)
        self.weights_JK: Tensor
        self.spread_J: Tensor

    def lowest_scores(self, keypoints_BK3: Tensor) -> Tensor:
        """Return the lowest score (B, 18) of the keypoints that each joint is expected by."""
        scores_B1K = keypoints_BK3[:, None, :, 2].float()
        return torch.where(self.weights_JK != 0, scores_B1K, 1.0).amin(-1)

    def forward(self, keypoints_BK3: Tensor, maps_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods (B, 18, H, W) up to a constant, and scores (B, 18), in float32.

        A joint's score is that of the least sure of its keypoints; NaN where they place it roughly.

        Args:
            keypoints_BK3: x and y as fractions of the crop, and score.
            maps_BCHW: Anything of the size that is wanted.
        """
        H, W = maps_BCHW.shape[-2:]
        keypoints_BK3 = keypoints_BK3.float()
        place_BJ2 = torch.einsum("jk,bkc->bjc", self.weights_JK, keypoints_BK3[..., :2])
        lowest_BJ = self.lowest_scores(keypoints_BK3)
        x_W = (torch.arange(W, device=place_BJ2.device) + 0.5) / W
        y_H = (torch.arange(H, device=place_BJ2.device) + 0.5) / H
        scale_J1 = -0.5 / self.spread_J[:, None] ** 2
        near_BJHW = (
            torch.exp(scale_J1 * (y_H - place_BJ2[..., 1:]) ** 2)[..., None]
            * torch.exp(scale_J1 * (x_W - place_BJ2[..., :1]) ** 2)[..., None, :]
        )
        density_J11 = (1 / (2 * torch.pi * self.spread_J**2))[:, None, None]
        right_BJ11 = lowest_BJ.clamp(0.0, _MOST_SURE)[..., None, None]
        score_BJ = lowest_BJ.clone()
        score_BJ[:, _ROUGH] = torch.nan
        return torch.log(right_BJ11 * density_J11 * near_BJHW + (1 - right_BJ11)), score_BJ
