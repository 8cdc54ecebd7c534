"""Separate a body's error into pose and shape (the paper's Table 8).

Each row replaces a part of the prediction by something known. Errors are those of SURREAL's
protocol: mean distance over all vertices ("surface") and over the 18 joints, with aligned pelvises,
neither rotated nor scaled.

Shape suffixes: B bodies, J = 24 kinematic joints, K shape coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hemlets.body.model import BodyModel
from hemlets.body.smplify import FitConfig, Smplify
from hemlets.body.targets import FitTargets
from hemlets.core.skeleton import Joint

_CHUNK = 64
_SKELETON_FIT: Final = FitConfig(joint_mm=20.0, depth_mm=25.0, shape_weight=1e6)
"""Trusts joints like a network's, and fixes β."""


@dataclass(frozen=True, kw_only=True)
class BodyError:
    """Errors of a batch of bodies against the truth, millimetres.

    Attributes:
        surface_B_mm: Mean over the vertices.
        joints_B_mm: Mean over the 18 joints.
    """

    surface_B_mm: Tensor
    joints_B_mm: Tensor


def body_error(
    body: BodyModel,
    predicted: tuple[Tensor, Tensor],
    truth: tuple[Tensor, Tensor],
) -> BodyError:
    """Compute errors of bodies given by θ (B, 24, 3) or (B, 24, 3, 3) and β (B, K)."""
    surface, joints = [], []
    for start in range(0, len(truth[0]), _CHUNK):
        part = slice(start, start + _CHUNK)
        with torch.inference_mode():
            ours, theirs = (body(theta[part], betas[part]) for theta, betas in (predicted, truth))
        # Each relative to its own pelvis, the middle of the hips.
        skins, skeletons = (
            [getattr(b, name) - b.joints18_B183_mm[:, Joint.PELVIS, None] for b in (ours, theirs)]
            for name in ("vertices_BV3_mm", "joints18_B183_mm")
        )
        surface.append((skins[0] - skins[1]).norm(dim=-1).mean(1))
        joints.append((skeletons[0] - skeletons[1]).norm(dim=-1).mean(1))
    return BodyError(surface_B_mm=torch.cat(surface), joints_B_mm=torch.cat(joints))


def study_rows(
    body: BodyModel,
    predicted: tuple[Tensor, Tensor],
    truth: tuple[Tensor, Tensor],
) -> dict[str, BodyError]:
    """Build Table 8's rows and two baselines.

    Args:
        body: Body model of all θ and β.
        predicted: θ as axis-angles (B, 24, 3) with the root in the camera frame, and β (B, K).
        truth: The same.

    Returns:
        By name: ``predicted``; ``true shape`` and ``true pose`` in place of the predicted ones;
        ``mean shape`` with the predicted pose; ``mean pose and shape``, the body at rest with the
        true root rotation.
    """
    theta, betas = predicted
    true_theta, true_betas = truth
    rest = torch.zeros_like(true_theta)
    rest[:, 0] = true_theta[:, 0]
    mean = torch.zeros_like(true_betas)
    rows: Mapping[str, tuple[Tensor, Tensor]] = {
        "predicted": (theta, betas),
        "true shape": (theta, true_betas),
        "true pose": (true_theta, betas),
        "mean shape": (theta, mean),
        "mean pose and shape": (rest, mean),
    }
    return {name: body_error(body, row, truth) for name, row in rows.items()}


def mean_shape_on_skeletons(body: BodyModel, joints_BN3_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the mean-shape body to skeletons: the baseline of a shape network.

    Args:
        body: The body model.
        joints_BN3_mm: The 18 joints, at any position, in the frame that the root turns into.

    Returns:
        θ as axis-angles (B, 24, 3), from joints and pose prior alone, and β (B, K), all 0.
    """
    fit = Smplify(body, _SKELETON_FIT).fit(FitTargets(joints_BN3_mm=joints_BN3_mm))
    return fit.theta_BJ3, torch.zeros_like(fit.betas_BK)
