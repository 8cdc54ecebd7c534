"""People in one image: detections, and their prediction in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError
from hemlets.core.skeleton import N_JOINTS
from hemlets.inference.types import BodyEstimate, Box, Camera, Flag, PredictionRequest

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """Detected person.

    Attributes:
        box_xyxy: Left, top, right, bottom in pixels; None for the whole image.
        score: Confidence of the detector, 0–1.
        joints2d_px: (18, 2), NaN where a joint was not found; None from a detector of boxes only.
        missing: Names of the joints that were not found.
    """

    box_xyxy: Box | None
    score: float = 1.0
    joints2d_px: npt.NDArray[np.float32] | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        box = self.box_xyxy
        if box is not None and not (
            len(box) == 4 and np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]
        ):
            raise InputError(
                f"the box {box} has no area",
                where="box",
                expected="left < right and top < bottom in pixels",
            )
        joints = self.joints2d_px
        if joints is not None and joints.shape != (N_JOINTS, 2):
            raise InputError(f"joints of shape {joints.shape}", expected=f"({N_JOINTS}, 2)")


class PersonDetector(Protocol):
    """Protocol of a person detector."""

    def detect(self, image_HW3: Image) -> Sequence[Detection]:
        """Detect the people in an RGB image, in any order."""


class PeoplePredictor(Protocol):
    """Protocol: the required part of `hemlets.inference.Predictor`."""

    def predict(
        self, requests: Sequence[PredictionRequest], *, batch_size: int = 32
    ) -> list[BodyEstimate]:
        """Predict one estimate per request."""


def predict_people(
    predictor: PeoplePredictor,
    image_HW3: Image,
    detections: Sequence[Detection],
    *,
    camera: Camera | None = None,
    batch_size: int = 32,
    where: str = "",
) -> list[BodyEstimate]:
    """Predict all people of an image, in the order of the detections.

    Predictions of people with missing joints are flagged.

    Args:
        predictor: The model.
        image_HW3: RGB.
        detections: Detected people.
        camera: Intrinsics; a default field of view by default.
        batch_size: People per batch of the network.
        where: Location of the image for errors.

    Raises:
        InputError: A box outside the image, or an invalid camera.
    """
    names = [where] if len(detections) == 1 else [
        ": ".join(filter(None, (where, f"person {i}"))) for i in range(len(detections))
    ]  # fmt: skip
    requests = [
        PredictionRequest(image_HW3=image_HW3, box_xyxy=d.box_xyxy, camera=camera, name=name)
        for d, name in zip(detections, names, strict=True)
    ]
    estimates = predictor.predict(requests, batch_size=batch_size)
    return [flagged(e, d) for e, d in zip(estimates, detections, strict=True)]


def flagged(estimate: BodyEstimate, detection: Detection) -> BodyEstimate:
    """Flag an estimate if its detection lacks joints."""
    if not detection.missing:
        return estimate
    return dataclasses.replace(estimate, flags=(*estimate.flags, Flag.MISSING_JOINTS))
