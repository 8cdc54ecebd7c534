"""Client of the endpoint: image bytes in, a typed estimate or error out."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from hemlets.core.errors import InputError, ServingError
from hemlets.inference.types import BodyEstimate, Camera
from serving.archive import MODEL_NAME

Box = tuple[float, float, float, float]

_TRANSIENT = (408, 429, 502, 503, 504)
"""Statuses of transient failures."""

_RETRIES = 2


class RequestRefusedError(InputError):
    """The request is invalid; a retry fails as well."""


class TokenRefusedError(ServingError):
    """The token is missing, wrong or expired."""


class ModelNotServedError(ServingError):
    """The endpoint has no such model or version."""


class EndpointUnavailableError(ServingError):
    """No answer, a time-out or a full queue; a later retry may succeed."""


class PredictionFailedError(ServingError):
    """The endpoint failed on this request."""


class AnswerUnreadableError(ServingError):
    """The answer can't be parsed."""


class Client:
    """Client of one model of one endpoint. Not thread-safe.

    Args:
        url: Address of the inference API, such as ``http://127.0.0.1:8080``.
        token: Inference token; None if the server needs none.
        model: Name of the model.
        version: Version of the model; by default the server's default version.
        timeout_s: Longest wait for an answer.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        model: str = MODEL_NAME,
        version: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self.url = url.rstrip("/")
        self.endpoint = f"{self.url}/predictions/{model}" + (f"/{version}" if version else "")
        self.timeout_s = timeout_s
        self._session = requests.Session()
        # Predictions are idempotent, so retries are safe.
        retry = Retry(
            total=_RETRIES,
            status_forcelist=_TRANSIENT,
            allowed_methods=None,
            backoff_factor=0.2,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        # Loopback requests must bypass a proxy of the environment.
        self._session.trust_env = not _is_loopback(url)
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def predict(self, image: bytes, box: Box, camera: Camera | None = None) -> BodyEstimate:
        """Predict one person.

        Args:
            image: Bytes of an image file.
            box: Box in pixels: left, top, right, bottom.
            camera: Intrinsics; by default an assumed field of view.

        Raises:
            RequestRefusedError: Invalid image, box or camera.
            TokenRefusedError: The token is missing, wrong or expired.
            ModelNotServedError: No such model.
            EndpointUnavailableError: No answer.
            PredictionFailedError: The endpoint failed.
            AnswerUnreadableError: The answer can't be parsed.
        """
        fields = {"box": json.dumps(list(box))}
        return self._estimate(self._post(image, fields, camera))

    def predict_people(
        self,
        image: bytes,
        boxes: Sequence[Box] | None = None,
        camera: Camera | None = None,
    ) -> list[BodyEstimate]:
        """Predict several people of one image.

        Args:
            image: Bytes of an image file.
            boxes: People's boxes, in the order of the answer; by default the endpoint detects
                people and returns them largest first.
            camera: Intrinsics; by default an assumed field of view.

        Raises:
            HemletsError: As for :meth:`predict`.
        """
        fields = {} if boxes is None else {"boxes": json.dumps([list(box) for box in boxes])}
        people = self._post(image, fields, camera).get("people")
        if not isinstance(people, list) or (boxes is not None and len(people) != len(boxes)):
            raise AnswerUnreadableError(
                "the answer has another number of people than the request has boxes",
                where=self.endpoint,
                expected="a list" if boxes is None else str(len(boxes)),
            )
        return [self._estimate(person) for person in people]

    def _post(
        self, image: bytes, fields: Mapping[str, str], camera: Camera | None
    ) -> dict[str, Any]:
        import requests

        form: dict[str, tuple[str | None, str | bytes]] = {"image": ("image", image)}
        form |= {name: (None, text) for name, text in fields.items()}
        if camera is not None:
            values = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
            form["camera"] = (None, json.dumps(values))
        try:
            answer = self._session.post(self.endpoint, files=form, timeout=self.timeout_s)
        except requests.RequestException as error:
            raise EndpointUnavailableError(
                f"the endpoint does not answer: {type(error).__name__}",
                where=self.endpoint,
                remedy="see whether the server runs and the address is right",
            ) from error
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.status_code != 200:
            raise self._error(answer.status_code, value if isinstance(value, dict) else {})
        if not isinstance(value, dict):
            raise AnswerUnreadableError("the answer is not a JSON object", where=self.endpoint)
        return value

    def _estimate(self, value: Mapping[str, Any]) -> BodyEstimate:
        try:
            return BodyEstimate.from_json(dict(value))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, InputError) as error:
            raise AnswerUnreadableError(
                f"the answer is not an estimate: {error!r}",
                where=self.endpoint,
                expected="the fields of BodyEstimate.to_json()",
            ) from error

    def _error(self, status: int, value: Mapping[str, Any]) -> InputError | ServingError:
        details = value.get("error")
        parts: dict[str, Any] = dict(details) if isinstance(details, Mapping) else {}
        what = str(parts.pop("what", "") or f"status {status}")
        where = parts.get("where") or self.endpoint
        known = {"expected": parts.get("expected"), "remedy": parts.get("remedy")}
        if status == 401:
            return TokenRefusedError(
                "the endpoint refused the token",
                where=self.endpoint,
                expected="the token in the file that hemlets serve names",
                remedy="read the token again: a server that starts writes a new one",
            )
        if status == 404:
            return ModelNotServedError(
                what, where=self.endpoint, remedy="ask for a model it serves"
            )
        if status == 413:
            return RequestRefusedError(
                "the request is too large", where=self.endpoint, remedy="send a smaller image"
            )
        if status == 400:
            return RequestRefusedError(what, where=where, **known)
        if status in _TRANSIENT:
            return EndpointUnavailableError(
                f"status {status}: {what}", where=self.endpoint, remedy="try again later"
            )
        return PredictionFailedError(f"status {status}: {what}", where=where, **known)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
