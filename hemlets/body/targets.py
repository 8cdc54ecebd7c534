"""Targets of a body fit: checked, in double precision, with a start derived from them.

Shape suffixes: B batch, N = 18 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import roma
import torch
from torch import Tensor

from hemlets.body.silhouette import Outline, outline_of
from hemlets.body.start import Start
from hemlets.core.arrays import Bool
from hemlets.core.errors import InputError
from hemlets.core.skeleton import N_JOINTS, Joint

_TORSO: Final = [Joint.RIGHT_HIP, Joint.LEFT_HIP, Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER]


@dataclass(frozen=True, kw_only=True)
class FitTargets:
    """Targets of a body fit; at least 3D joints, or 2D joints with cameras.

    An unknown joint has weight 0 and any coordinates.

    Attributes:
        joints_BN3_mm: The 18 joints in the frame of the result.
        weight_BN: Weight of each 3D joint; all 1 by default.
        joints2d_BN2_px: The 18 joints in the image.
        weight2d_BN: Their weights; all 1 by default.
        camera_B4: fx, fy, cx, cy in pixels, with any image target.
        masks: Mask (H, W) of the image for each body, or None.
        unit_B_px: Image pixels per unit of errors in pixels, which grow with the person's size;
            1 by default.
    """

    joints_BN3_mm: Tensor | None = None
    weight_BN: Tensor | None = None
    joints2d_BN2_px: Tensor | None = None
    weight2d_BN: Tensor | None = None
    camera_B4: Tensor | None = None
    masks: Sequence[Bool | None] | None = None
    unit_B_px: Tensor | None = None

    @property
    def n_bodies(self) -> int:
        """B."""
        given = self.joints_BN3_mm if self.joints_BN3_mm is not None else self.joints2d_BN2_px
        return 0 if given is None else len(given)


@dataclass(frozen=True, kw_only=True)
class NormalizedTargets:
    """Checked targets in double precision, with unknown joints set to 0.

    Attributes:
        n_bodies: B.
        joints_BN3: 3D joints, if any are given.
        weight_BN: Their weights.
        joints2d_BN2: Image joints, if any are given.
        weight2d_BN: Their weights.
        camera_B4: fx, fy, cx, cy, with any image target.
        outlines: Outlines of the masks; empty if no body has one.
        start: Starting bodies that the fit must stay near, if any.
        unit_B_px: Image pixels per unit.
    """

    n_bodies: int
    joints_BN3: Tensor | None
    weight_BN: Tensor
    joints2d_BN2: Tensor | None
    weight2d_BN: Tensor
    camera_B4: Tensor | None
    outlines: list[Outline | None]
    unit_B_px: Tensor
    start: Start | None = None

    @classmethod
    def of(cls, targets: FitTargets, device: torch.device) -> NormalizedTargets:
        """Check and convert.

        Raises:
            InputError: The targets can't be fitted to.
        """
        n_bodies = targets.n_bodies
        if not n_bodies:
            raise InputError("there is nothing to fit to", expected="3D or 2D joints")

        def points(given: Tensor | None, size: int, weight: Tensor | None, name: str) -> tuple[
            Tensor | None, Tensor
        ]:  # fmt: skip
            trust = torch.ones(n_bodies, N_JOINTS, dtype=torch.float64, device=device)
            if weight is not None:
                _require_shape(weight, (n_bodies, N_JOINTS), f"weight of {name}")
                trust = weight.to(trust)
            if given is None:
                return None, trust
            _require_shape(given, (n_bodies, N_JOINTS, size), name)
            if not bool(torch.isfinite(trust).all()) or bool((trust < 0).any()):
                raise InputError("weights below 0 or not finite", where=f"weight of {name}")
            values = given.to(trust)
            unknown = trust == 0
            if not bool(torch.isfinite(values[~unknown]).all()):
                raise InputError(
                    "a joint is not finite",
                    where=name,
                    expected="finite numbers, or weight 0 for a joint that is not known",
                )
            return torch.where(unknown[..., None], torch.zeros_like(values), values), trust

        joints, weight = points(targets.joints_BN3_mm, 3, targets.weight_BN, "joints_BN3_mm")
        joints2d, weight2d = points(
            targets.joints2d_BN2_px, 2, targets.weight2d_BN, "joints2d_BN2_px"
        )
        masks = list(targets.masks or ())
        if (joints2d is not None or masks) and targets.camera_B4 is None:
            raise InputError(
                "image joints or masks without a camera",
                where="camera_B4",
                expected="fx, fy, cx, cy in pixels",
            )
        if masks and len(masks) != n_bodies:
            raise InputError(f"{len(masks)} masks for {n_bodies} bodies", where="masks")
        camera = targets.camera_B4
        if camera is not None:
            _require_shape(camera, (n_bodies, 4), "camera_B4")
            camera = camera.to(weight)
        unit = torch.ones_like(weight[:, 0])
        if targets.unit_B_px is not None:
            _require_shape(targets.unit_B_px, (n_bodies,), "unit_B_px")
            unit = targets.unit_B_px.to(weight)
            if not bool((torch.isfinite(unit) & (unit > 0)).all()):
                raise InputError("a unit is not above 0", where="unit_B_px", expected="pixels")
        outlines = [
            None if mask is None else outline_of(np.asarray(mask), device) for mask in masks
        ]
        return cls(
            n_bodies=n_bodies,
            joints_BN3=joints,
            weight_BN=weight,
            joints2d_BN2=joints2d,
            weight2d_BN=weight2d,
            camera_B4=camera,
            outlines=outlines if any(outlines) else [],
            unit_B_px=unit,
        )

    def take(self, chosen_B: Tensor) -> NormalizedTargets:
        """Select the targets of some bodies."""

        def some(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[chosen_B]

        keep = chosen_B.tolist()
        return NormalizedTargets(
            n_bodies=sum(keep),
            joints_BN3=some(self.joints_BN3),
            weight_BN=self.weight_BN[chosen_B],
            joints2d_BN2=some(self.joints2d_BN2),
            weight2d_BN=self.weight2d_BN[chosen_B],
            camera_B4=some(self.camera_B4),
            outlines=[o for o, selected in zip(self.outlines, keep, strict=True) if selected]
            if self.outlines
            else [],
            unit_B_px=self.unit_B_px[chosen_B],
            start=None if self.start is None else self.start.take(chosen_B),
        )

    def facing(self, joints_BN3: Tensor) -> Tensor:
        """Return rotations (B, 3, 3) that turn bodies' joints towards the targets.

        By the torso in 3D; upright and facing the camera if only 2D is known.
        """
        if self.joints_BN3 is None:
            # The camera's y points down and its z away from it.
            upright = torch.diag(torch.tensor([1.0, -1.0, -1.0])).to(joints_BN3)
            return upright.expand(self.n_bodies, 3, 3)
        torso = torch.zeros_like(self.weight_BN)
        torso[:, _TORSO] = self.weight_BN[:, _TORSO]
        usable = (torso > 0).sum(1, keepdim=True) >= 3
        weight = torch.where(usable, torso, self.weight_BN)
        source = joints_BN3 - mean_point(joints_BN3, weight)
        target = self.joints_BN3 - mean_point(self.joints_BN3, weight)
        covariance = torch.einsum("bn,bni,bnj->bij", weight, target, source)
        rotation: Tensor = roma.special_procrustes(covariance)
        return rotation

    def way_to(self, joints_BN3: Tensor) -> Tensor:
        """Return translations (B, 3) that bring bodies' joints roughly to the targets.

        If only 2D is known: to the distance of equal size in the image.
        """
        if self.joints_BN3 is not None:
            weight = self.weight_BN
            return (mean_point(self.joints_BN3, weight) - mean_point(joints_BN3, weight))[:, 0]
        assert self.joints2d_BN2 is not None
        assert self.camera_B4 is not None
        weight = self.weight2d_BN
        rays = (self.joints2d_BN2 - self.camera_B4[:, None, 2:]) / self.camera_B4[:, None, :2]
        ray, middle = mean_point(rays, weight), mean_point(joints_BN3, weight)
        spread = _spread(rays - ray, weight).clamp(min=1e-6)
        depth = (_spread((joints_BN3 - middle)[..., :2], weight) / spread).clamp(500.0, 1e5)
        return torch.cat([ray[:, 0] * depth[:, None], depth[:, None]], -1) - middle[:, 0]


def mean_point(points_BNC: Tensor, weight_BN: Tensor) -> Tensor:
    """Compute the weighted mean (B, 1, C) of points."""
    total = weight_BN.sum(1, keepdim=True).clamp(min=1e-12)
    return ((weight_BN / total)[..., None] * points_BNC).sum(1, keepdim=True)


def _spread(points_BNC: Tensor, weight_BN: Tensor) -> Tensor:
    total = weight_BN.sum(1).clamp(min=1e-12)
    return ((weight_BN * points_BNC.square().sum(-1)).sum(1) / total).sqrt()


def _require_shape(values: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(values.shape) != shape:
        raise InputError(f"shape {tuple(values.shape)}", where=name, expected=str(shape))
