"""TorchServe's handler: a thin shell over `hemlets.inference`.

This file is copied into the model archive and must not import other modules of ``serving``;
``hemlets`` comes from the environment that runs TorchServe.

A request has the field ``image`` (bytes; or a raw body, or a field ``data``) and the fields of
`hemlets.inference.request`: ``box`` for one person, ``boxes`` for several, and ``camera``. Without
boxes people are detected and returned largest first. A failed request gets its own status and a
JSON error; the other requests of its batch are still answered.
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
from hemlets.core.process_setup import paused_collection, prepare_process
from hemlets.inference.prediction_log import PredictionLog
from hemlets.inference.request import MOST_BOXES, ImageRequest, require_overlap

if TYPE_CHECKING:
    from hemlets.inference.people import Detection, PersonDetector
    from hemlets.inference.types import BodyEstimate, PredictionRequest

MOST_FOUND = 64
"""Largest number of detected people that are predicted if no boxes are given."""

MOST_LOOKED_AT_AGAIN = 8
"""Most people of an image, the first, whose unsure predictions are repeated: each costs up to five
times the work of a sure one. The others are flagged."""

THREADS_VARIABLE = "HEMLETS_SERVING_THREADS"
"""Environment variable with the Torch threads of a worker; one by default."""

BUDGET_VARIABLE = "HEMLETS_SERVING_BUDGET_S"
"""Environment variable with the seconds after which the remaining requests of a batch are
refused."""

_CHUNK = 8
"""Most people that are predicted together."""

_CHUNK_SHARE = 1 / 8
"""Share of the budget that people who are predicted together may take: they can't be stopped, and
take many times as long on a machine that becomes busy."""

_FIRST = 2.4
"""Times the budget that a batch's first request may take: its worker is killed after 3."""

_log = logging.getLogger(__name__)


class _Predictor(Protocol):
    def predict(self, requests: Sequence[PredictionRequest]) -> list[BodyEstimate]: ...


class _Context(Protocol):
    """The used part of TorchServe's context."""

    system_properties: dict[str, Any]
    manifest: dict[str, Any]

    def get_request_id(self, idx: int) -> str | None: ...

    def set_response_content_type(self, idx: int, value: str) -> None: ...

    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Decoded HTTP request.

    Attributes:
        people: Prediction request of each person.
        found: Detection of each person.
        alone: Whether ``box`` was given, so that the answer is one person, not a list.
    """

    people: tuple[PredictionRequest, ...]
    found: tuple[Detection, ...]
    alone: bool


class PutOffError(HemletsError):
    """The batch took too long; this request was not started."""

    def __init__(self) -> None:
        super().__init__(
            "the server is busy: the requests before this one took all the time that a batch has",
            where="request",
            remedy="send it again; send fewer people or pixels at once if that does not help",
        )


class PoseHandler:
    """Decodes requests, predicts, and encodes answers."""

    def __init__(
        self,
        predictor: _Predictor,
        detector: PersonDetector,
        *,
        name: str,
        version: str,
        budget_s: float = math.inf,
        log: PredictionLog | None = None,
    ) -> None:
        self.predictor = predictor
        self.detector = detector
        self.model = {"name": name, "version": version}
        self.budget_s = budget_s
        self.log = log
        self._person_s = 0.0
        """Longest time for a person in the last batch."""

    @classmethod
    def load(cls, context: _Context) -> PoseHandler:
        """Load the unpacked model, and predict once as a warm-up."""
        prepare_process()
        with paused_collection():
            import numpy as np
            import torch

            from hemlets.inference.detector import MultiPoseDetector
            from hemlets.inference.predictor import Predictor
            from hemlets.inference.types import PredictionRequest

        properties = context.system_properties
        torch.set_num_threads(max(1, int(os.environ.get(THREADS_VARIABLE, "1"))))
        gpu = properties.get("gpu_id")
        device = "cpu" if gpu is None or not torch.cuda.is_available() else f"cuda:{gpu}"
        predictor = Predictor.load(Path(properties["model_dir"]), device=device)
        detector = MultiPoseDetector.load(device=device)
        image_HW3 = np.full((64, 64, 3), 127, np.uint8)
        detector.detect(image_HW3)
        predictor.predict([PredictionRequest(image_HW3=image_HW3)])
        model = context.manifest["model"]
        return cls(
            predictor,
            detector,
            name=model["modelName"],
            version=model["modelVersion"],
            budget_s=float(os.environ.get(BUDGET_VARIABLE, "inf")),
            log=PredictionLog.from_env(),
        )

    def decode(self, fields: Mapping[str, Any]) -> Decoded:
        """Convert untrusted request fields into prediction requests.

        Args:
            fields: Bytes, text or parsed JSON by field name.

        Raises:
            InputError: An invalid field; names it.
        """
        from hemlets.data.images import decode_image
        from hemlets.inference.people import Detection
        from hemlets.inference.types import PredictionRequest

        fields = {_ALIASES.get(name, name): value for name, value in fields.items()}
        image = fields.pop("image", b"")
        asked = ImageRequest.parse(fields, most=MOST_BOXES)
        image_HW3 = decode_image(_image_bytes(image))
        height, width = image_HW3.shape[:2]
        if asked.boxes is None:
            found = tuple(self.detector.detect(image_HW3))[:MOST_FOUND]
            names = [f"person {i}" for i in range(len(found))]
        else:
            found = tuple(Detection(box_xyxy=box) for box in asked.boxes)
            names = [f"boxes[{i}]" for i in range(len(found))]
            for name, box in zip(names, asked.boxes, strict=True):
                require_overlap(box, width, height, "box" if asked.alone else name)
        people = tuple(
            PredictionRequest(
                image_HW3=image_HW3,
                box_xyxy=person.box_xyxy,
                camera=asked.camera,
                second_look=number < MOST_LOOKED_AT_AGAIN,
                name="" if asked.alone else name,
            )
            for number, (person, name) in enumerate(zip(found, names, strict=True))
        )
        return Decoded(people=people, found=found, alone=asked.alone)

    def predict(
        self,
        requests: Sequence[PredictionRequest],
        *,
        deadline: float = math.inf,
        at_least: int = 0,
        last: float = math.inf,
    ) -> list[BodyEstimate | Exception]:
        """Predict all requests as a batch; if that fails, one by one.

        Args:
            requests: Request of each person.
            deadline: Time of ``time.monotonic()``. No prediction is started after it, nor one that
                would end after it if each person took as long as the slowest before.
            at_least: Number of first requests that have until ``last`` instead.
            last: Deadline of those.
        """
        answers: list[BodyEstimate | Exception] = []
        slowest_s, self._person_s = self._person_s, 0.0
        while (start := len(answers)) < len(requests):
            begun = time.monotonic()
            left_s, stop = deadline - begun, len(requests)
            if slowest_s > left_s and start < at_least:
                left_s, stop = last - begun, at_least
            if slowest_s > left_s:
                answers += [PutOffError()] * (len(requests) - start)
                break
            most_s = min(left_s, _CHUNK_SHARE * self.budget_s)
            size = max(1, int(min(_CHUNK, most_s / slowest_s))) if slowest_s else 1
            chunk = requests[start : min(start + size, stop)]
            try:
                answers += self.predictor.predict(chunk)
            except Exception as error:
                if len(chunk) == 1:
                    answers.append(error)
                else:
                    for request in chunk:
                        answers += self.predict([request])
            self._person_s = max(self._person_s, (time.monotonic() - begun) / len(chunk))
            slowest_s = max(slowest_s, self._person_s)
        return answers

    def encode(self, decoded: Decoded, estimates: Sequence[BodyEstimate]) -> str:
        """Encode the answer to one request as JSON.

        Raises:
            ValueError: A predicted number is not finite.
        """
        from hemlets.inference.people import flagged

        people = [
            {
                **flagged(estimate, found).to_json(),
                "detection_score": found.score,
                "model": self.model,
            }
            for estimate, found in zip(estimates, decoded.found, strict=True)
        ]
        answer = people[0] if decoded.alone else {"people": people, "model": self.model}
        return json.dumps(answer, allow_nan=False)

    def handle(self, data: Sequence[Mapping[str, Any]], context: _Context) -> list[str]:
        """Answer a batch; item i of the result belongs to request i."""
        begun = time.monotonic()
        deadline = begun + self.budget_s
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
        last = begun + _FIRST * self.budget_s
        predicted = iter(self.predict(people, deadline=deadline, at_least=first, last=last))
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
            for answer in mine:
                if isinstance(answer, Exception):
                    raise answer
            estimates = [a for a in mine if not isinstance(a, Exception)]
            encoded = self.encode(item, estimates)
            if self.log is not None and item.people:
                self.log.add(item.people[0].image_HW3, estimates, version=self.model["version"])
            return encoded
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
_BASE64 = re.compile(rb"(data:[\w/]+;base64,)?[A-Za-z0-9+/\s]+={0,2}\s*")
_SHORTEST_BASE64 = 32
_handler: PoseHandler | None = None


def handle(data: Sequence[Mapping[str, Any]] | None, context: _Context) -> list[str] | None:
    """Entry point for TorchServe, which calls it without data to load the model."""
    global _handler
    if _handler is None:
        _handler = PoseHandler.load(context)
    return None if data is None else _handler.handle(data, context)


def _error_json(error: HemletsError) -> str:
    return json.dumps({"error": error.to_json()})


def _image_bytes(value: object) -> bytes:
    what = None
    if not isinstance(value, bytes | bytearray) or value[:1] in (b"{", b"["):
        what = "the image field holds text or JSON"
    elif not value:
        what = "the request has no image"
    elif len(value) > _SHORTEST_BASE64 and _BASE64.fullmatch(value):
        what = "the image is text in base64"
    if what is not None:
        raise InputError(
            what,
            where="image",
            expected="the bytes of an image",
            remedy="send it as a form field, for example with: curl -F image=@photo.jpg",
        )
    assert isinstance(value, bytes | bytearray)
    return bytes(value)
