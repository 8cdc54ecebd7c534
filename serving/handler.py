"""TorchServe's handler: a thin shell over :class:`hemlets.inference.Predictor`.

This file is copied into the model archive and must not import its neighbours; ``hemlets``
comes from the environment that runs TorchServe.

A request has the fields ``image`` (bytes; a raw body or a field ``data`` will do), optionally
``box`` (``[left, top, right, bottom]`` in pixels) or ``boxes`` (a list of those), and
``camera`` (``{"fx", "fy", "cx", "cy"}`` in pixels). A request that can't be served gets its own
status and a JSON error; the others of its batch are answered all the same.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hemlets.core.errors import HemletsError, InputError

if TYPE_CHECKING:
    from hemlets.inference.types import BodyEstimate, Camera, PredictionRequest

MAX_PEOPLE = 32
"""Most boxes in one request."""

THREADS_VARIABLE = "HEMLETS_SERVING_THREADS"
"""Environment variable with a worker's Torch threads; one when it is not set."""

BUDGET_VARIABLE = "HEMLETS_SERVING_BUDGET_S"
"""Environment variable with the seconds after which a batch's further requests are put off."""

_CHUNK = 8
_FIELDS = ("image", "box", "boxes", "camera")
_BOX_FORM = "[left, top, right, bottom] in pixels, left < right and top < bottom"
_CAMERA_FORM = '{"fx": …, "fy": …, "cx": …, "cy": …} in pixels'
_FOCAL_PX = (1.0, 1e6)
"""Shorter ones overflow float32 on the way to metres; no lens is near either end."""

_log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]


class _Predictor(Protocol):
    def predict(self, requests: Sequence[PredictionRequest]) -> list[BodyEstimate]: ...


class _Context(Protocol):
    """The part of TorchServe's context that is used here."""

    system_properties: dict[str, Any]
    manifest: dict[str, Any]

    def get_request_id(self, idx: int) -> str | None: ...

    def set_response_content_type(self, idx: int, value: str) -> None: ...

    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One HTTP request after decoding.

    Attributes:
        people: One prediction each.
        several: Whether ``boxes`` was given, so that the answer is a list.
    """

    people: tuple[PredictionRequest, ...]
    several: bool


class PutOffError(HemletsError):
    """The batch took too long, so this request was not begun."""

    def __init__(self) -> None:
        super().__init__(
            "the server is busy: the requests before this one took all the time that a batch has",
            where="request",
            remedy="send it again; send fewer people or pixels at once if that does not help",
        )


class PoseHandler:
    """Decodes requests, predicts, and encodes answers, each apart from the others."""

    def __init__(
        self, predictor: _Predictor, *, name: str, version: str, budget_s: float = math.inf
    ) -> None:
        self.predictor = predictor
        self.model = {"name": name, "version": version}
        self.budget_s = budget_s

    @classmethod
    def load(cls, context: _Context) -> PoseHandler:
        """Load the model that TorchServe has unpacked, and predict once to warm it up."""
        import numpy as np
        import torch

        from hemlets.inference.predictor import Predictor
        from hemlets.inference.types import PredictionRequest

        properties = context.system_properties
        torch.set_num_threads(max(1, int(os.environ.get(THREADS_VARIABLE, "1"))))
        gpu = properties.get("gpu_id")
        device = "cpu" if gpu is None or not torch.cuda.is_available() else f"cuda:{gpu}"
        predictor = Predictor.load(Path(properties["model_dir"]), device=device)
        predictor.predict([PredictionRequest(image_HW3=np.full((64, 64, 3), 127, np.uint8))])
        model = context.manifest["model"]
        return cls(
            predictor,
            name=model["modelName"],
            version=model["modelVersion"],
            budget_s=float(os.environ.get(BUDGET_VARIABLE, "inf")),
        )

    def decode(self, fields: Mapping[str, Any]) -> Decoded:
        """Turn a request's fields, which strangers wrote, into prediction requests.

        Args:
            fields: Field names with bytes, text or parsed JSON.

        Raises:
            InputError: What is wrong with which field.
        """
        from hemlets.data.table import decode_image
        from hemlets.inference.types import PredictionRequest

        fields = {_ALIASES.get(name, name): value for name, value in fields.items()}
        _refuse_unknown(fields)
        image_HW3 = decode_image(_image_bytes(fields))
        height, width = image_HW3.shape[:2]
        boxes, several = _boxes(fields)
        for where, box in boxes:
            if box is not None:
                _require_overlap(box, width, height, where)
        camera = _camera(fields)
        return Decoded(
            people=tuple(
                PredictionRequest(image_HW3=image_HW3, box_xyxy=box, camera=camera)
                for _, box in boxes
            ),
            several=several,
        )

    def predict(
        self,
        requests: Sequence[PredictionRequest],
        *,
        deadline: float = math.inf,
        at_least: int = 0,
    ) -> list[BodyEstimate | Exception]:
        """Predict all, and where that fails each alone, so that the good ones are answered.

        Args:
            requests: One a person.
            deadline: By ``time.monotonic()``; after it nothing more is begun.
            at_least: So many of the first are predicted all the same.
        """
        answers: list[BodyEstimate | Exception] = []
        for start in range(0, len(requests), _CHUNK):
            if start >= at_least and time.monotonic() > deadline:
                answers += [PutOffError()] * (len(requests) - start)
                break
            chunk = requests[start : start + _CHUNK]
            try:
                answers += self.predictor.predict(chunk)
            except Exception as error:
                if len(chunk) == 1:
                    answers.append(error)
                else:
                    for request in chunk:
                        answers += self.predict([request])
        return answers

    def encode(self, decoded: Decoded, estimates: Sequence[BodyEstimate]) -> str:
        """Write the answer to one request as JSON.

        Raises:
            ValueError: A predicted number is not finite.
        """
        people = [{**estimate.to_json(), "model": self.model} for estimate in estimates]
        answer = {"people": people, "model": self.model} if decoded.several else people[0]
        return json.dumps(answer, allow_nan=False)

    def handle(self, data: Sequence[Mapping[str, Any]], context: _Context) -> list[str]:
        """Answer a batch; item i of the result belongs to request i."""
        deadline = time.monotonic() + self.budget_s
        decoded: list[Decoded | Exception] = []
        for i, fields in enumerate(data):
            try:
                if i and time.monotonic() > deadline:
                    raise PutOffError
                decoded.append(self.decode(fields))
            except Exception as error:
                decoded.append(error)
        good = [item for item in decoded if isinstance(item, Decoded)]
        people = [person for item in good for person in item.people]
        first = len(good[0].people) if good else 0
        predicted = iter(self.predict(people, deadline=deadline, at_least=first))
        return [self._answer(i, item, predicted, context) for i, item in enumerate(decoded)]

    def _answer(
        self,
        i: int,
        item: Decoded | Exception,
        predicted: Iterator[BodyEstimate | Exception],
        context: _Context,
    ) -> str:
        context.set_response_content_type(i, "application/json")
        try:
            if isinstance(item, Exception):
                raise item
            mine = list(islice(predicted, len(item.people)))
            for j, answer in enumerate(mine):
                if isinstance(answer, InputError):
                    raise _of_this_request(answer, f"boxes[{j}]" if item.several else None)
                if isinstance(answer, Exception):
                    raise answer
            return self.encode(item, [a for a in mine if not isinstance(a, Exception)])
        except InputError as error:
            context.set_response_status(400, "Bad Request", i)
            return _error_json(error)
        except PutOffError as error:
            context.set_response_status(503, "Service Unavailable", i)
            return _error_json(error)
        except Exception:
            request = context.get_request_id(i)
            _log.exception("request %s failed", request)
            context.set_response_status(500, "Internal Server Error", i)
            return _error_json(
                InputError(
                    "the prediction failed inside the server",
                    where=f"request {request}",
                    expected="an answer",
                    remedy="try again; if it fails again, give the request's id to the operator, "
                    "whose model_log.log says why",
                )
            )


_ALIASES = {"data": "image", "body": "image"}
_handler: PoseHandler | None = None


def handle(data: Sequence[Mapping[str, Any]] | None, context: _Context) -> list[str] | None:
    """Entry point for TorchServe, which calls it without data to load the model."""
    global _handler
    if _handler is None:
        _handler = PoseHandler.load(context)
    return None if data is None else _handler.handle(data, context)


def _of_this_request(error: InputError, person: str | None) -> InputError:
    """The predictor's complaint without its place in a batch, which is no caller's business."""
    where = re.sub(r"^request \d+(: )?", "", error.where or "")
    return InputError(
        error.what,
        where=": ".join(filter(None, (person, where))) or None,
        expected=error.expected,
        remedy=error.remedy,
    )


def _error_json(error: HemletsError) -> str:
    body = {
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "remedy": error.remedy,
    }
    return json.dumps({"error": body})


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    for name in fields:
        if name not in _FIELDS:
            raise InputError(
                f"unknown field {name[:40]!r}",
                where="request",
                expected=f"a multipart form with the fields {', '.join(_FIELDS)}, or the image "
                "as the body with a content type such as image/jpeg",
            )


def _image_bytes(fields: Mapping[str, Any]) -> bytes:
    value = fields.get("image", b"")
    if not isinstance(value, bytes | bytearray):
        raise InputError(
            "the image field holds text or JSON", where="image", expected="the bytes of an image"
        )
    if not value:
        raise InputError(
            "the request has no image",
            where="image",
            expected="the bytes of an image",
            remedy="send it as a form field, for example with: curl -F image=@photo.jpg",
        )
    return bytes(value)


def _boxes(fields: Mapping[str, Any]) -> tuple[list[tuple[str, Box | None]], bool]:
    if "box" in fields and "boxes" in fields:
        raise InputError(
            "both box and boxes are given", where="boxes", expected="one of them, or none"
        )
    if "boxes" in fields:
        values = _json(fields["boxes"], "boxes", f"a list of {_BOX_FORM}")
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_PEOPLE:
            raise InputError(
                "boxes is not a list of boxes",
                where="boxes",
                expected=f"1 to {MAX_PEOPLE} of {_BOX_FORM}",
            )
        return [(f"boxes[{i}]", _box(item, f"boxes[{i}]")) for i, item in enumerate(values)], True
    if "box" in fields:
        return [("box", _box(_json(fields["box"], "box", _BOX_FORM), "box"))], False
    return [("box", None)], False


def _box(value: object, where: str) -> Box:
    if isinstance(value, list) and len(value) == 4:
        left, top, right, bottom = (_number(item) for item in value)
        # Comparisons with NaN are false.
        if left < right and top < bottom:
            return (left, top, right, bottom)
    raise InputError(f"not a box: {_short(value)}", where=where, expected=_BOX_FORM)


def _require_overlap(box: Box, width: int, height: int, where: str) -> None:
    left, top, right, bottom = box
    if min(right, width) - max(left, 0) < 1 or min(bottom, height) - max(top, 0) < 1:
        raise InputError(
            f"the box {list(box)} shows nothing of the image",
            where=where,
            expected=f"a box that covers a pixel or more of the {width}×{height} image",
        )


def _camera(fields: Mapping[str, Any]) -> Camera | None:
    from hemlets.inference.types import Camera

    if "camera" not in fields:
        return None
    value = _json(fields["camera"], "camera", _CAMERA_FORM)
    if not isinstance(value, dict) or set(value) != {"fx", "fy", "cx", "cy"}:
        raise InputError(f"not a camera: {_short(value)}", where="camera", expected=_CAMERA_FORM)
    numbers = {key: _number(item) for key, item in value.items()}
    for key in ("fx", "fy"):
        if not _FOCAL_PX[0] <= numbers[key] <= _FOCAL_PX[1]:
            raise InputError(
                f"not a focal length: {_short(value[key])}",
                where=f"camera.{key}",
                expected="a number from {:,.0f} to {:,.0f}, in pixels".format(*_FOCAL_PX),
            )
    return Camera(**numbers)


def _json(value: object, where: str, expected: str) -> object:
    """JSON of a field; the server's settings decide whether it was parsed before."""
    if isinstance(value, bytes | bytearray | str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(
                f"not JSON: {_short(bytes(value) if isinstance(value, bytearray) else value)}",
                where=where,
                expected=expected,
            ) from None
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if abs(number) <= 1e6 else math.nan


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
