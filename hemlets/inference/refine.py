"""Predictions refined by fitting the body to their joints (the paper's "Ours*")."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from hemlets.body.model import BodyModel
from hemlets.body.smplify import FitConfig, Smplify
from hemlets.body.targets import FitTargets
from hemlets.inference.types import BodyEstimate

__all__ = ["DETECTED_FIT", "PREDICTION_FIT", "Refiner"]

PREDICTION_FIT = FitConfig(joint_mm=20.0, depth_mm=25.0, place_mm=400.0, joint_px=3.0)
"""For joints of a network: image positions are sure to pixels, depths to centimetres, and the
distance of the whole person, which rests on an average bone length, hardly at all."""

DETECTED_FIT = PREDICTION_FIT.model_copy(update={"joint_mm": 80.0, "depth_mm": 60.0})
"""For joints that another program found in the image: they overrule the network's there."""


class Refiner:
    """Fits θ and β of predictions to the pose stage's joints.

    Args:
        body: The body that θ and β belong to.
        config: How much joints in space and in the image are trusted.
        detected: The same where another program found joints in the image.
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
        """The same predictions with the fitted θ and β, and the fitted body's joints.

        ``joints3d_mm``, ``root_mm`` and ``joints2d_px`` become those of the fitted body, so that
        placing the body at ``root_mm`` shows it where it was fitted. Box, confidence, camera and
        flags stay.

        Args:
            estimates: Predictions, of one image or of many.
            masks: For each the mask (H, W) of its person, where one is known.
            joints2d_px: For each the joints (18, 2) that another program found, NaN where it did
                not, or None. They take the place of the network's image joints.
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
    """Image joints to fit to, and their weights: the detector's alone where there is one."""
    if given_J2 is None:
        return estimate.joints2d_px, trust_J
    known = np.asarray(np.isfinite(given_J2).all(-1))
    pixels = np.where(known[:, None], given_J2, 0.0).astype(np.float32)
    return pixels, known.astype(np.float64)


def _trust(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Weights from heatmap peaks; a network without heatmaps is trusted alike everywhere."""
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
