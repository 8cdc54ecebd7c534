"""Predictions refined by fitting the body to their joints (the paper's "Ours*")."""

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
"""Errors in the image are told as if the box's longer side measured so much, that is in percent:
a network sees every person at one size, so that its errors grow with the person's."""

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
"""For joints of a network, as good as they are for people in motion that it has not seen.

Its image joints are worth most: half lie within 2.5 percent of the box, a tenth far off. Its joints
in space tell little that its θ doesn't: they are 100 mm off across and 130 mm in depth, whole limbs
together, hence the wider numbers. The θ holds a pose to half of what motion varies, and the turn of
the whole body nearly fast: image joints would tilt it in depth, where they know nothing. Box size
and distance disagree, hence the 400 mm. A network's start comes with its own idea of what is
likely, so that the general priors are left out. Chosen on the validation split, where most of these
may be halved or doubled; with twice the freedom of pose the image fits better and space no better.
"""

DETECTED_FIT = PREDICTION_FIT.model_copy(
    update={"joint_px": 1.5, "start": StartTrust(pose_share=0.5, root_rad=0.2, betas=0.5)}
)
"""For joints that another program found in the image: they overrule the network's there.

They don't share the network's errors, and so tell something of the whole body's turn, too.
"""


class Refiner:
    """Fits θ and β of predictions to the pose stage's joints, near to where they are.

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
    """Image joints to fit to, and their weights: the detector's alone where there is one."""
    if given_J2 is None:
        return estimate.joints2d_px, trust_J
    known = np.asarray(np.isfinite(given_J2).all(-1))
    pixels = np.where(known[:, None], given_J2, 0.0).astype(np.float32)
    return pixels, known.astype(np.float64)


def _side_px(box_xyxy: tuple[float, float, float, float]) -> float:
    """The box's longer side; a box without extent was never predicted from."""
    left, top, right, bottom = box_xyxy
    return max(right - left, bottom - top, 1.0)


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
