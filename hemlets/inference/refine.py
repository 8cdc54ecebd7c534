"""Refine predictions by fitting the body to their joints (the paper's "Ours*")."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from hemlets.body.model import BodyModel
from hemlets.body.smplify import FitConfig, Smplify
from hemlets.body.start import StartTrust
from hemlets.body.targets import FitTargets
from hemlets.inference.types import BodyEstimate

_BOX_PX: Final = 100.0
"""Image errors are scaled to a box with this longer side, so that they are in percent: the network
sees all people at one size, and its errors in pixels grow with the box."""

PREDICTION_FIT = FitConfig(
    joint_mm=150.0,
    depth_mm=200.0,
    place_mm=400.0,
    joint_px=5.0,
    outlier_px=13.0,
    silhouette_px=2.0,
    pose_weight=0.0,
    shape_weight=0.0,
    start=StartTrust(pose_share=0.5, root_rad=0.05, betas=0.5),
)
"""Weights for joints predicted by a network for unseen people in motion.

Image joints are most accurate: half are within 2.5 % of the box, 10 % are outliers. 3D joints add
little to θ: their errors (100 mm laterally, 130 mm in depth) are correlated over whole limbs, hence
the larger values. The prior on θ allows half the variance of motion, and almost none for the root,
which image joints alone would tilt in depth. Box size and distance disagree, hence 400 mm. The
general priors are off, because the network's prediction already has one. Chosen on the validation
split, where most values may be halved or doubled; twice the freedom of pose improves the fit in the
image but not in 3D.
"""

DETECTED_FIT = PREDICTION_FIT.model_copy(
    update={"joint_px": 1.5, "start": StartTrust(pose_share=0.5, root_rad=0.2, betas=0.5)}
)
"""Weights for image joints of another program, which replace the network's.

Their errors are independent of the network's, so they also inform the root's rotation.
"""


class Refiner:
    """Fits θ and β to the pose stage's joints, starting from the prediction.

    Args:
        body: Body model of θ and β.
        config: Weights of joints in space and in the image.
        detected: Weights for image joints of another program.
    """

    def __init__(
        self,
        body: BodyModel,
        config: FitConfig = PREDICTION_FIT,
        *,
        detected: FitConfig = DETECTED_FIT,
    ) -> None:
        self._by_network = Smplify(body, config)
        self._by_detector = Smplify(body, detected)

    def refine(
        self,
        estimates: Sequence[BodyEstimate],
        *,
        masks: Sequence[npt.NDArray[np.bool_] | None] | None = None,
        joints2d_px: Sequence[npt.NDArray[np.float32] | None] | None = None,
    ) -> list[BodyEstimate]:
        """Return predictions with fitted θ and β, and the joints of the fitted body.

        θ, β, ``joints3d_mm``, ``root_mm`` and ``joints2d_px`` become those of the fitted body; the
        other fields are unchanged.

        Args:
            estimates: Predictions of any number of images.
            masks: Mask (H, W) of each person, or None.
            joints2d_px: Joints (18, 2) of each person from another program, NaN where not found,
                or None. They replace the network's image joints.
        """
        given = [None] * len(estimates) if joints2d_px is None else list(joints2d_px)
        found = [i for i, joints in enumerate(given) if joints is not None]
        others = [i for i, joints in enumerate(given) if joints is None]
        result = list(estimates)
        for smplify, chosen in ((self._by_network, others), (self._by_detector, found)):
            part = _fit(
                smplify,
                [estimates[i] for i in chosen],
                [given[i] for i in chosen],
                None if masks is None else [masks[i] for i in chosen],
            )
            for i, estimate in zip(chosen, part, strict=True):
                result[i] = estimate
        return result


def _fit(
    smplify: Smplify,
    estimates: Sequence[BodyEstimate],
    given: Sequence[npt.NDArray[np.float32] | None],
    masks: Sequence[npt.NDArray[np.bool_] | None] | None,
) -> list[BodyEstimate]:
    if not estimates:
        return []
    camera = np.array([[e.camera.fx, e.camera.fy, e.camera.cx, e.camera.cy] for e in estimates])
    joints = np.stack([e.joints3d_mm + e.root_mm for e in estimates])
    trust = np.stack([_trust(e.confidence) for e in estimates])
    seen = [_in_image(e, t, g) for e, t, g in zip(estimates, trust, given, strict=True)]
    fit = smplify.fit(
        FitTargets(
            joints_BN3_mm=torch.from_numpy(joints),
            weight_BN=torch.from_numpy(trust),
            joints2d_BN2_px=torch.from_numpy(np.stack([pixels for pixels, _ in seen])),
            weight2d_BN=torch.from_numpy(np.stack([weight for _, weight in seen])),
            camera_B4=torch.from_numpy(camera),
            masks=masks,
            unit_B_px=torch.tensor([_side_px(e.box_xyxy) / _BOX_PX for e in estimates]),
        ),
        theta_BJ3=torch.from_numpy(np.stack([e.theta for e in estimates])),
        betas_BK=torch.from_numpy(np.stack([e.betas for e in estimates])),
    )
    fitted = fit.joints_BN3_mm.cpu().numpy()
    theta, betas = fit.theta_BJ3.cpu().numpy(), fit.betas_BK.cpu().numpy()
    return [
        _with_fit(estimate, theta[i], betas[i], fitted[i]) for i, estimate in enumerate(estimates)
    ]


def _in_image(
    estimate: BodyEstimate,
    trust_J: npt.NDArray[np.float64],
    given_J2: npt.NDArray[np.float32] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Image joints and weights: another program's joints if given, else the network's."""
    if given_J2 is None:
        return estimate.joints2d_px, trust_J
    known = np.asarray(np.isfinite(given_J2).all(-1))
    pixels = np.where(known[:, None], given_J2, 0.0).astype(np.float32)
    return pixels, known.astype(np.float64)


def _side_px(box_xyxy: tuple[float, float, float, float]) -> float:
    """Longer side of the box."""
    left, top, right, bottom = box_xyxy
    return max(right - left, bottom - top, 1.0)


def _trust(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Weights from joint confidences; uniform for a network without heatmaps."""
    known = np.where(np.isfinite(confidence), confidence, 1.0).astype(np.float64)
    return np.clip(known, 0.05, 1.0)


def _with_fit(
    estimate: BodyEstimate,
    theta: npt.NDArray[np.float32],
    betas: npt.NDArray[np.float32],
    joints_J3_mm: npt.NDArray[np.float32],
) -> BodyEstimate:
    camera = estimate.camera
    slopes = joints_J3_mm[:, :2] / np.maximum(joints_J3_mm[:, 2:], 1.0)
    pixels = slopes * np.array([camera.fx, camera.fy]) + np.array([camera.cx, camera.cy])
    root = joints_J3_mm[0]
    return dataclasses.replace(
        estimate,
        joints3d_mm=joints_J3_mm - root,
        root_mm=root.copy(),
        joints2d_px=pixels.astype(np.float32),
        theta=theta,
        betas=betas,
    )
