"""What 2D keypoints say of where joints lie in the image, as log-likelihoods over its cells.

The keypoints come from an encoder that was trained on photographs; the volume's logits are learnt
from whatever a user trains on, rendered people by default. The two are opinions of different
origin, so they are multiplied (a product of experts, Hinton 2002), and nothing here is learnt:
training on renderings would adapt the weight of either to renderings.

Each of our joints is expected at an affine combination of keypoints, by a normal distribution;
with the keypoints' score as the probability that they are right, and a uniform distribution in
the other case, which leaves the joint to the volume. What comes out is in between: the keypoint
where the volume does not contradict strongly, moved towards what the volume says.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from hemlets.core.skeleton import N_JOINTS, Joint

_NAMES: Final = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

_MIDDLES: Final = {
    Joint.PELVIS: ("left_hip", "right_hip"),
    Joint.THORAX: ("left_shoulder", "right_shoulder"),
}
_SPREAD: Final = 0.02
"""Standard deviation of a joint around its keypoints, as a fraction of the crop's side. Chosen on
photographs: LSPET 1-100 doesn't tell 0.01 to 0.03 apart, and with 0.03 fewer joints of the COCO and
MPII samples are right."""
_MOST_SURE: Final = 0.99
"""Never is a keypoint right with certainty."""


class KeypointEvidence(nn.Module):
    """Log-likelihood of each joint's cell, given keypoints."""

    def __init__(self) -> None:
        super().__init__()
        weights_JK = torch.zeros(N_JOINTS, len(_NAMES))
        for joint in Joint:
            names = _MIDDLES.get(joint, (joint.name.lower(),))
            for name in names:
                if name in _NAMES:
                    weights_JK[joint, _NAMES.index(name)] = 1 / len(names)
        self.register_buffer("weights_JK", weights_JK, persistent=False)
        self.weights_JK: Tensor

    def forward(self, keypoints_BK3: Tensor, maps_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods (B, 18, H, W) up to a constant, and scores (B, 18), in float32.

        A joint's score is that of the least sure of its keypoints; NaN for a joint without.

        Args:
            keypoints_BK3: x and y as fractions of the crop, and score.
            maps_BCHW: Anything of the size that is wanted.
        """
        H, W = maps_BCHW.shape[-2:]
        keypoints_BK3 = keypoints_BK3.float()
        place_BJ2 = torch.einsum("jk,bkc->bjc", self.weights_JK, keypoints_BK3[..., :2])
        used_JK = self.weights_JK > 0
        lowest_BJ = torch.where(used_JK, keypoints_BK3[:, None, :, 2], 1.0).amin(-1)
        score_BJ = torch.where(used_JK.any(-1), lowest_BJ, torch.nan)
        x_W = (torch.arange(W, device=place_BJ2.device) + 0.5) / W
        y_H = (torch.arange(H, device=place_BJ2.device) + 0.5) / H
        scale = -0.5 / _SPREAD**2
        near_BJHW = (
            torch.exp(scale * (y_H - place_BJ2[..., 1:]) ** 2)[..., None]
            * torch.exp(scale * (x_W - place_BJ2[..., :1]) ** 2)[..., None, :]
        )
        density = 1 / (2 * torch.pi * _SPREAD**2)
        right_BJ11 = score_BJ.nan_to_num(0.0).clamp(0.0, _MOST_SURE)[..., None, None]
        return torch.log(right_BJ11 * density * near_BJHW + (1 - right_BJ11)), score_BJ
