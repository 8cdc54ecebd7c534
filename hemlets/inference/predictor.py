"""Predictor: images and boxes in, body estimates out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hemlets.body.follow import turn_onto
from hemlets.body.model import BodyModel
from hemlets.body.posed_joints import PosedJoints
from hemlets.body.rotations import axis_angles
from hemlets.core.errors import InputError
from hemlets.core.intrinsics import intrinsics_fault
from hemlets.core.skeleton import Joint
from hemlets.data.transforms import Crop, square_crop
from hemlets.inference.body_joints import with_depth_of_body, with_head_of_body
from hemlets.inference.looks import NetworkAnswer, look_again, unsure, upright
from hemlets.inference.request import parse_box, require_overlap
from hemlets.inference.types import BodyEstimate, Box, Camera, Flag, PredictionRequest
from hemlets.models import HemletsPosh, PoshOutput
from hemlets.models.codecs import (
    PERSON_STATISTIC,
    crop_views,
    from_view,
    person_confidence,
)
from hemlets.models.codecs.decode import metric_joints
from hemlets.models.crops import joints_in_images, network_input
from hemlets.models.flip_tta import flip_tta
from hemlets.models.fused import FusedModel, Precision, can_prepare
from hemlets.models.model_folder import ModelCard, load_model
from hemlets.models.pose import joint_confidence

DEFAULT_FOV_DEG = 25.0
"""Field of view across the longer image side that is assumed without intrinsics, degrees.

People are mostly photographed with longer lenses, or are cut out of larger pictures. A field that
is too wide puts them too close and enlarges what is nearer the camera, the head of a person who
leans forward above all. At 25° most of LSPET 1-250 stand 3 to 7.5 m away; networks are trained on
2.5 to 7 m (`OpenDataConfig.distance_m`). At 40° a quarter stand nearer than 2.9 m, and people who
fill the photograph at 1.1 to 1.8 m.
"""


def default_camera(width: int, height: int) -> Camera:
    """Camera with the default field of view."""
    focal = max(width, height) / 2 / np.tan(np.deg2rad(DEFAULT_FOV_DEG) / 2)
    return Camera(fx=float(focal), fy=float(focal), cx=width / 2, cy=height / 2)


def read_out(out: PoshOutput) -> NetworkAnswer:
    """Extract the answer from a network's outputs."""
    voxel, confidence = out.decoded.voxel_BJ3, joint_confidence(out.pose)
    passes = out.passes_BHJ4
    if passes is None:
        passes = torch.cat([voxel, confidence[..., None]], -1)[:, None]
    return NetworkAnswer(voxel, out.shape.rotation_BR33, out.shape.betas_BS, confidence, passes)


def answer_of(network: Callable[[Tensor], PoshOutput], crop_B3HW: Tensor) -> NetworkAnswer:
    """Predict crops; on a CPU two at a time for each thread.

    That needs less memory than more at once, and no more time: on two cores 32 crops, with the flip
    test and in float32, take 83 ms each by fours, 84 ms at once and 98 ms one by one.
    """
    on_cpu = crop_B3HW.device.type == "cpu"
    size = 2 * torch.get_num_threads() if on_cpu else len(crop_B3HW)
    return NetworkAnswer.joined(read_out(network(part)) for part in torch.split(crop_B3HW, size))


class Predictor:
    """Runs a model on people in images."""

    def __init__(
        self,
        model: HemletsPosh,
        card: ModelCard,
        *,
        device: str | torch.device = "cpu",
        body: Path | None = None,
    ) -> None:
        """Prepare a model; it is moved to the device unless that is a CPU.

        Args:
            model: Model with its final weights.
            card: Model card. A CPU without arithmetic of the declared precision runs in float32.
            device: Device to run on.
            body: Body file; by default the bundled one that the card names.
        """
        self.device = torch.device(device)
        self.card = card
        self._body = body
        self.precision: Precision = card.precision
        self._model: HemletsPosh | FusedModel = model.eval()
        if self.device.type == "cpu":
            if not can_prepare(self.precision):
                self.precision = "float32"
            if can_prepare(self.precision):
                self._model = FusedModel(model.cpu(), self.precision)
        elif self.precision == "bfloat16" and not torch.cuda.is_bf16_supported():
            self.precision = "float32"
        self._model = self._model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str | torch.device = "cpu",
        flip_test: bool | None = None,
        precision: Precision | None = None,
        second_look: bool | None = None,
        follow_joints: bool | None = None,
        body: Path | None = None,
    ) -> Predictor:
        """Load a model folder.

        Args:
            folder: Model folder.
            device: Device to run on.
            flip_test: Whether to average with the prediction of the mirrored crop; by default as
                in the model card, like the next three.
            precision: Precision of the arithmetic.
            second_look: Whether to predict unsure people again (`hemlets.inference.looks`).
            follow_joints: Whether joints and bodies correct each other (`hemlets.body.follow`,
                `hemlets.inference.body_joints`).
            body: Body file; by default the bundled one that the card names.

        Raises:
            CheckpointError: The folder is incomplete or damaged.
        """
        model, card = load_model(folder)
        asked = {
            "flip_test": flip_test,
            "precision": precision,
            "second_look": second_look,
            "follow_joints": follow_joints,
        }
        card = card.model_copy(update={k: v for k, v in asked.items() if v is not None})
        return cls(model, card, device=device, body=body)

    @cached_property
    def _posed(self) -> PosedJoints:
        """Joints of the card's body."""
        return PosedJoints(BodyModel.named(self.card.body, self._body))

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.card.version

    def shows_person(self, person_confidence: float, *, looked_again: bool) -> bool | None:
        """Whether a confidence reaches the person threshold; None if the model has none."""
        known = self.card.person
        if known is None or known.statistic != PERSON_STATISTIC or np.isnan(person_confidence):
            return None
        one_look = known.threshold if known.one_look is None else known.one_look
        return person_confidence >= (known.threshold if looked_again else one_look)

    def predict(
        self, requests: Sequence[PredictionRequest], *, batch_size: int = 32
    ) -> list[BodyEstimate]:
        """Predict one body per request.

        Raises:
            InputError: An invalid image, box or camera; names the request.
        """
        results: list[BodyEstimate] = []
        for start in range(0, len(requests), batch_size):
            results += self._batch(requests[start : start + batch_size], start)
        return results

    def outputs(self, crop_B3HW: Tensor, *, flip_test: bool = False) -> PoshOutput:
        """Run the network on normalised crops."""
        # A model prepared for the CPU has its precision in its weights.
        cast = self.device.type != "cpu" and self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, cast):
            out: PoshOutput = (
                flip_tta(self._model, crop_B3HW) if flip_test else self._model(crop_B3HW)
            )
            return out

    def _infer(self, crop_B3HW: Tensor) -> NetworkAnswer:
        return answer_of(partial(self.outputs, flip_test=self.card.flip_test), crop_B3HW)

    def _look(
        self, requests: Sequence[PredictionRequest], crops: list[Crop]
    ) -> tuple[list[Crop], NetworkAnswer, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Predict crops, with second looks if the model card enables them and a request allows it.

        The masks (B,) mark second looks that were taken, and that were omitted.
        """

        def look(numbers: Sequence[int], crops: Sequence[Crop]) -> NetworkAnswer:
            images = (requests[number].image_HW3 for number in numbers)
            return self._infer(network_input(images, crops, self.device))

        first = look(range(len(crops)), crops)
        if not (self.card.second_look and self.card.pose.keypoints):
            nobody = np.zeros(len(crops), bool)
            return crops, first, nobody, nobody
        allowed = [request.second_look for request in requests]
        united = look_again(crops, first, self.card.pose.volume, look, allowed=allowed)
        asked = unsure(first)
        return *united, asked & np.array(allowed), asked & ~np.array(allowed)

    def _batch(self, requests: Sequence[PredictionRequest], first: int) -> list[BodyEstimate]:
        prepared = [
            _prepare(
                r, f"request {first + i}" if r.name is None else r.name, self.card.pose.crop_px
            )
            for i, r in enumerate(requests)
        ]
        crops = [crop for crop, _, _ in prepared]
        cameras = np.array([(c.fx, c.fy, c.cx, c.cy) for _, c, _ in prepared])
        with torch.inference_mode():
            crops, answer, looked_again, omitted = self._look(requests, crops)
            found = joints_in_images(answer.voxel_BJ3, self.card.pose.volume, crops)
            view_B33 = crop_views(np.array([crop.centre_px for crop in crops]), cameras)
            rotation = from_view(upright(answer, crops), view_B33).cpu()
            betas = answer.betas_BS.cpu()
        joints, roots = metric_joints(
            found.image_px_BJ2, found.depth_mm_BJ, cameras, self.card.bones
        )
        pixels = found.image_px_BJ2.copy()
        confidence = answer.confidence_BJ.cpu().numpy().astype(np.float32)
        if self.card.follow_joints:
            posed = 1000 * self._posed(rotation, betas).numpy().astype(np.float64)
            joints, moved = with_head_of_body(joints, posed)
            theta = turn_onto(rotation.numpy(), posed, joints, confidence)
            joints, roots = with_depth_of_body(joints, roots, posed)
            top = (joints[:, Joint.HEAD_TOP] + roots)[moved]
            pixels[moved, Joint.HEAD_TOP] = (
                cameras[moved, :2] * top[:, :2] / top[:, 2:] + cameras[moved, 2:]
            )
        else:
            theta = axis_angles(rotation.numpy())
        persons = [
            self.shows_person(float(sure), looked_again=bool(again))
            for sure, again in zip(person_confidence(confidence), looked_again, strict=True)
        ]
        return [
            BodyEstimate(
                joints3d_mm=joints[i].astype(np.float32),
                root_mm=roots[i].astype(np.float32),
                joints2d_px=pixels[i].astype(np.float32),
                confidence=confidence[i],
                theta=theta[i].astype(np.float32),
                betas=betas.numpy()[i],
                box_xyxy=_box(requests[i]),
                camera=camera,
                flags=(*flags, *([Flag.NO_SECOND_LOOK] if omitted[i] else [])),
                model_version=self.version,
                person=persons[i],
            )
            for i, (_, camera, flags) in enumerate(prepared)
        ]


def _box(request: PredictionRequest) -> Box:
    if request.box_xyxy is not None:
        return request.box_xyxy
    height, width = request.image_HW3.shape[:2]
    return (0.0, 0.0, float(width), float(height))


def _prepare(
    request: PredictionRequest, number: str, size_px: int
) -> tuple[Crop, Camera, tuple[Flag, ...]]:
    where = number if request.name is None else request.name
    image = request.image_HW3
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f"image of shape {image.shape} and type {image.dtype}",
            where=where or "image",
            expected="RGB (H, W, 3), uint8",
        )
    height, width = image.shape[:2]
    flags: list[Flag] = []
    if request.box_xyxy is None:
        flags.append(Flag.WHOLE_IMAGE_BOX)
    place = f"{where}: box" if where else "box"
    box = parse_box(_box(request), place)
    require_overlap(box, width, height, place)
    crop = square_crop(box, size_px)
    if crop.side_px < 8 or crop.side_px > 100 * max(width, height):
        raise InputError(
            f"the box {[round(v, 1) for v in box]} can't hold a person in {width}×{height} pixels",
            where=place,
        )
    camera = request.camera
    if camera is None:
        flags.append(Flag.DEFAULT_FIELD_OF_VIEW)
    elif fault := intrinsics_fault((camera.fx, camera.fy, camera.cx, camera.cy), (width, height)):
        raise InputError(
            fault,
            where=f"{where}: camera" if where else "camera",
            expected=f"fx, fy, cx, cy in pixels of the {width}×{height} image",
            remedy="multiply normalised values by the image's width and height; leave the camera "
            "out where it is not known",
        )
    return crop, request.camera or default_camera(width, height), tuple(flags)
