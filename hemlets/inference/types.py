"""Inputs and outputs of prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import InputError
from hemlets.core.skeleton import JOINTS, SMPL_JOINTS

Float = npt.NDArray[np.float32]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class Flag(StrEnum):
    """Assumptions behind a prediction."""

    WHOLE_IMAGE_BOX = "whole-image-box"
    DEFAULT_FIELD_OF_VIEW = "default-field-of-view"
    MISSING_JOINTS = "missing-joints"
    NO_SECOND_LOOK = "no-second-look"


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pinhole intrinsics in pixels of the whole image; pixel centres are at +0.5."""

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"camera fx, fy, cx, cy = {values}",
                where="camera",
                expected="finite numbers in pixels, focal lengths above 0",
            )


@dataclass(frozen=True, kw_only=True)
class PredictionRequest:
    """One person in one image.

    Attributes:
        image_HW3: RGB, uint8.
        box_xyxy: The person's box in pixels: left, top, right, bottom. By default the whole image,
            which is flagged.
        camera: Intrinsics; by default an assumed field of view, which is flagged.
        second_look: Whether an unsure prediction may be repeated in better crops; one that is not
            repeated is flagged.
        name: Name for errors: the photo or the field of the person; by default the number of the
            request.
    """

    image_HW3: npt.NDArray[np.uint8]
    box_xyxy: Box | None = None
    camera: Camera | None = None
    second_look: bool = True
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class BodyEstimate:
    """Predicted person. Camera frame: x right, y down, z forward, millimetres.

    Attributes:
        joints3d_mm: (18, 3) joints of the pose stage, relative to the pelvis.
        root_mm: (3,) pelvis in the camera frame, at the distance where the skeleton has the mean
            bone length of predictions.
        joints2d_px: (18, 2) joints in the image.
        confidence: (18,) in 0–1, see `hemlets.models.pose.joint_confidence`, after a second look
            `hemlets.inference.looks`; NaN (null in JSON) where the network gives none.
        theta: (24, 3) SMPL θ as axis-angles; the root rotates the body into the camera frame.
        betas: (10,) SMPL β.
        box_xyxy: The box used.
        camera: The camera used.
        flags: Assumptions in place of missing input.
        model_version: Version of the model.
        person: Whether `person_confidence` reaches the threshold of the validation split; None if
            the model has none. Where False, the box probably contains nobody and the other fields
            have no meaning.
    """

    joints3d_mm: Float
    root_mm: Float
    joints2d_px: Float
    confidence: Float
    theta: Float
    betas: Float
    box_xyxy: Box
    camera: Camera
    flags: tuple[Flag, ...] = ()
    model_version: str = "unversioned"
    person: bool | None = None
    units: dict[str, str] = field(
        default_factory=lambda: {
            "joints3d": "mm, pelvis-relative, camera frame: x right, y down, z forward",
            "root": "mm, camera frame",
            "joints2d": "px, origin at the top-left corner of the top-left pixel",
            "theta": "rad, axis-angle, 24 joints",
            "betas": "standard deviations of the body model's shape space",
        }
    )

    @property
    def person_confidence(self) -> float:
        """Confidence that there is a person, 0–1: `hemlets.models.codecs.person_confidence`.

        NaN (null in JSON) from a network without heatmaps.
        """
        # Imported here: it imports torch, and the types must stay cheap to import.
        from hemlets.models.codecs import person_confidence

        return float(person_confidence(self.confidence))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with names, units, flags and model version."""
        camera, sure = self.camera, self.person_confidence
        return {
            "joint_names": list(JOINTS),
            "theta_names": list(SMPL_JOINTS),
            "joints3d_mm": self.joints3d_mm.astype(float).tolist(),
            "root_mm": self.root_mm.astype(float).tolist(),
            "joints2d_px": self.joints2d_px.astype(float).tolist(),
            "confidence": [None if np.isnan(c) else float(c) for c in self.confidence],
            "person_confidence": None if np.isnan(sure) else sure,
            "person": self.person,
            "theta_rad": self.theta.astype(float).tolist(),
            "betas": self.betas.astype(float).tolist(),
            "box_xyxy_px": [float(v) for v in self.box_xyxy],
            "camera_px": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
            "flags": [str(flag) for flag in self.flags],
            "units": self.units,
            "model_version": self.model_version,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BodyEstimate:
        """Inverse of :meth:`to_json`."""

        def array(key: str) -> Float:
            return np.asarray(value[key], np.float32)

        box = value["box_xyxy_px"]
        return cls(
            joints3d_mm=array("joints3d_mm"),
            root_mm=array("root_mm"),
            joints2d_px=array("joints2d_px"),
            confidence=array("confidence"),
            theta=array("theta_rad"),
            betas=array("betas"),
            box_xyxy=(box[0], box[1], box[2], box[3]),
            camera=Camera(**value["camera_px"]),
            flags=tuple(Flag(name) for name in value["flags"]),
            model_version=value["model_version"],
            person=value.get("person"),
            units=value["units"],
        )
