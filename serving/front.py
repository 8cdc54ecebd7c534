"""Front of the endpoint: an HTTP proxy that checks requests before they reach TorchServe.

TorchServe's own front end answers malformed forms with 500, a dead worker with 507 and a missing
token with 400, accepts repeated fields, and has tokens of 48 bits. The front checks the token (256
bits) and the form, limits size, time and number of requests, and sets the status codes. It starts
TorchServe and ends with it: ``python -m serving.front SETTINGS JAVA ARGUMENT…``.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import signal
import sys
import time
import zlib
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.http import HttpProcessingError

from hemlets.core.errors import HemletsError, InputError, ServingError
from hemlets.core.files import read_json
from hemlets.core.processes import die_with_parent
from hemlets.inference.request import MOST_BOXES, ImageRequest
from serving.settings import FrontSettings
from serving.tokens import KeyFile

HOW_TO_SEND: Final = "send the photo as a form field: curl -F image=@photo.jpg"

_MODEL: Final = r"/predictions/{model:\w[\w.-]*}"
_IMAGE_NAMES: Final = ("image", "data", "body")
_MOST_FIELDS: Final = 8
_LARGEST_TEXT: Final = 64 * 1024
_IDLE_S: Final = 30.0
"""Connections without a complete request header for this time are closed."""

_RENEW_EVERY_S: Final = 60.0
_UNZIP: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Window bits of zlib for the values of ``Content-Encoding``."""
_RETRY: Final = {"Retry-After": "1"}

Fields = dict[str, bytes]

_log = logging.getLogger(__name__)


def _is_own_failure(record: logging.LogRecord) -> bool:
    """Whether no client caused it, whose malformed or cut requests could fill a log."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, (HttpProcessingError, ConnectionError))


_log.addFilter(_is_own_failure)


class RefusedError(ServingError):
    """Request that the front answers with an error status.

    Args:
        status: HTTP status.
        what: Problem.
        expected: Valid input.
        remedy: What to do.
    """

    def __init__(
        self, status: int, what: str, *, expected: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what, where="request", expected=expected, remedy=remedy)
        self.status = status


class Front:
    """Web application of the front.

    Args:
        settings: Settings of the front.
    """

    def __init__(self, settings: FrontSettings) -> None:
        self.settings = settings
        self._token = (
            ""
            if settings.token_file is None
            else settings.token_file.read_text(encoding="utf-8").strip()
        )
        self._running = 0
        self._backend_token, self._renew_at = "", 0.0

    def runner(self, *, shutdown_timeout_s: float) -> web.AppRunner:
        """Runner of the routes ``/predictions/MODEL[/VERSION]`` and ``/ping``."""
        return web.AppRunner(
            self._application(),
            access_log=None,
            logger=_log,
            keepalive_timeout=_IDLE_S,
            shutdown_timeout=shutdown_timeout_s,
            # aiohttp resets the connection at a body that it can't decompress: see _whole_body.
            auto_decompress=False,
        )

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=[_errors_as_json], client_max_size=self.settings.max_request_bytes
        )
        app.router.add_get("/ping", self.ping)
        app.router.add_post(_MODEL, self.predict)
        app.router.add_post(_MODEL + r"/{version:\w[\w.-]*}", self.predict)
        app.cleanup_ctx.append(self._session_context)
        return app

    async def _session_context(self, _app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=self.settings.answer_timeout_s, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as self._session:
            yield

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer whether TorchServe runs and every model has ready workers; needs no token."""
        try:
            status, _ = await self._ask("GET", "/ping")
        except RefusedError:
            status = 503
        if status != 200:
            raise RefusedError(503, "no worker is ready", remedy="wait, and ask again")
        return web.json_response({"status": "healthy"})

    async def predict(self, request: web.Request) -> web.Response:
        """Check a request and forward it as a form of known fields."""
        self._require_token(request)
        if request.query_string:
            raise InputError(
                "the address has query parameters, which are not read",
                where="request",
                expected="box, boxes and camera as fields of the form",
                remedy=HOW_TO_SEND,
            )
        limit = self.settings.max_request_bytes
        if (request.content_length or 0) > limit:
            raise web.HTTPRequestEntityTooLarge(limit)
        with self._place():
            try:
                async with asyncio.timeout(self.settings.request_timeout_s):
                    fields = await read_fields(request, limit)
            except TimeoutError:
                raise RefusedError(
                    408,
                    "the request did not arrive in time",
                    expected=f"all of it within {self.settings.request_timeout_s:g} s",
                ) from None
            given = {name: text for name, text in fields.items() if name != "image"}
            ImageRequest.parse(given, most=MOST_BOXES)
            path = "/predictions/" + "/".join(request.match_info.values())
            status, body = await self._ask("POST", path, fields)
        return _translated(status, body)

    def _require_token(self, request: web.Request) -> None:
        if not self._token:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Compared in constant time, as bytes, since a header may hold any.
        right = hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), self._token.encode()
        )
        if scheme.lower() != "bearer" or not right:
            raise RefusedError(
                401,
                "the token is missing or wrong",
                expected="the header Authorization: Bearer TOKEN",
                remedy="take the token from the file that hemlets serve names",
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= self.settings.most_requests:
            raise RefusedError(
                503,
                f"{self._running} requests are being answered, and more can't wait",
                remedy="send it again later",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _ask(
        self, method: str, path: str, fields: Mapping[str, bytes] | None = None
    ) -> tuple[int, bytes]:
        """Forward a request to TorchServe; returns status and body.

        Raises:
            RefusedError: TorchServe does not answer.
        """
        headers, body = {}, None
        if fields is not None:
            boundary = secrets.token_hex(16)
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            body = _form(fields, boundary)
        if (token := await self._token_of_backend()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.request(
                method, f"{self.settings.backend}{path}", data=body, headers=headers
            ) as answer:
                return answer.status, await answer.read()
        except TimeoutError:
            raise RefusedError(504, "no answer in time", remedy="send it again later") from None
        except aiohttp.ClientError as error:
            raise RefusedError(
                503, f"TorchServe does not answer: {type(error).__name__}", remedy="try again later"
            ) from error

    async def _token_of_backend(self) -> str | None:
        settings = self.settings
        if settings.key_file is None:
            return None
        if time.monotonic() >= self._renew_at:
            keys = KeyFile(path=settings.key_file, management_url=settings.management)
            try:
                self._backend_token = await to_thread(keys.token, "inference")
            except ServingError as error:
                raise RefusedError(503, error.what, remedy="try again later") from error
            self._renew_at = time.monotonic() + _RENEW_EVERY_S
        return self._backend_token


async def read_fields(request: web.Request, limit: int) -> Fields:
    """Read the fields of a form, or of a request whose body is the image.

    Args:
        request: Request with an unread body.
        limit: Largest total size of the fields, bytes.

    Raises:
        InputError: Neither a form nor an image, or an invalid form.
        HTTPRequestEntityTooLarge: The fields exceed the limit.
    """
    kind = request.content_type if "Content-Type" in request.headers else "none"
    if kind.startswith("image/") or kind == "application/octet-stream":
        fields = {"image": await _whole_body(request, limit)}
    elif kind == "multipart/form-data":
        try:
            fields = await _read_form(request, limit)
        except (InputError, RefusedError, web.HTTPException, TimeoutError, ConnectionError):
            raise
        except Exception as error:  # The reader's exceptions vary by version.
            raise InputError(
                "the form can't be read: it is cut or malformed",
                where="request",
                expected="multipart/form-data as RFC 7578 has it",
                remedy=HOW_TO_SEND,
            ) from error
    else:
        raise InputError(
            f"the request holds neither a form nor an image: its content type is {kind[:80]}",
            where="Content-Type",
            expected="multipart/form-data with the field image, or the image as the body with its "
            "own type, such as image/jpeg",
            remedy=HOW_TO_SEND,
        )
    if not fields.get("image"):
        raise InputError(
            "the request has no image",
            where="image",
            expected="the bytes of an image",
            remedy=HOW_TO_SEND,
        )
    return fields


async def _whole_body(request: web.Request, limit: int) -> bytes:
    """Read the body and decompress it as its ``Content-Encoding`` says."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    if encoding not in {"identity", *_UNZIP}:
        raise RefusedError(
            415,
            f"the body's Content-Encoding is {encoding[:40]!r}, which is not read",
            expected="gzip, deflate or none",
            remedy=HOW_TO_SEND,
        )
    try:
        body = await request.read()
        return body if encoding == "identity" else await to_thread(_unzip, body, encoding, limit)
    except (zlib.error, web.RequestPayloadError) as error:
        raise InputError(
            "the body can't be read: it is cut, or not compressed as its header says",
            where="Content-Encoding",
            expected="the image's bytes, best without a Content-Encoding",
            remedy=HOW_TO_SEND,
        ) from error


def _unzip(body: bytes, encoding: str, limit: int) -> bytes:
    bits = _UNZIP[encoding]
    if encoding == "deflate" and body[:1] and body[0] & 15 != zlib.DEFLATED:
        bits = -bits  # Some clients send deflate without zlib's header.
    stream = zlib.decompressobj(bits)
    whole = stream.decompress(body, limit + 1)
    if len(whole) > limit:
        raise web.HTTPRequestEntityTooLarge(limit)
    if not stream.eof or stream.unused_data:
        raise zlib.error("cut, or followed by other bytes")
    return whole


async def _read_form(request: web.Request, limit: int) -> Fields:
    fields: Fields = {}
    size = 0
    content = request.content
    if "Content-Encoding" in request.headers:
        body = await _whole_body(request, limit)
        content = aiohttp.StreamReader(request.protocol, len(body))
        content.feed_data(body)
        content.feed_eof()
    async for part in aiohttp.MultipartReader(request.headers, content):
        if not isinstance(part, aiohttp.BodyPartReader) or not part.name:
            raise InputError("a part of the form has no name", where="request", remedy=HOW_TO_SEND)
        name = "image" if part.name in _IMAGE_NAMES else part.name
        if name in fields:
            raise InputError(
                f"the field {name[:40]!r} is given twice", where="request", expected="it once"
            )
        if len(fields) == _MOST_FIELDS:
            raise InputError("too many fields", where="request", expected=f"at most {_MOST_FIELDS}")
        value = bytearray()
        while chunk := await part.read_chunk(1 << 16):
            value += chunk
            if size + len(value) > limit:
                raise web.HTTPRequestEntityTooLarge(limit)
            if name != "image" and len(value) > _LARGEST_TEXT:
                raise InputError(
                    "the field is too long",
                    where=name[:40],
                    expected=f"at most {_LARGEST_TEXT} bytes",
                )
        size += len(value)
        fields[name] = bytes(value)
    return fields


def _form(fields: Mapping[str, bytes], boundary: str) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        + (b'; filename="image"' if name == "image" else b"")
        + b"\r\n\r\n"
        + value
        for name, value in fields.items()
    ]
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])


def _translated(status: int, body: bytes) -> web.Response:
    """Pass the handler's answers through, and translate TorchServe's own errors."""
    if status == 200 or body.startswith(b'{"error"'):
        headers = _RETRY if status == 503 else {}
        return web.Response(
            status=status, body=body, content_type="application/json", headers=headers
        )
    if status == 404:
        raise RefusedError(
            404, "the model or version is not served", remedy="ask for a model it serves"
        )
    what = "all workers are busy and the queue is full"
    if status != 503:
        what = f"the worker ended or did not answer in time (TorchServe's status {status})"
    raise RefusedError(503, what, remedy="send it again later")


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    headers: dict[str, str] = {}
    error: HemletsError
    try:
        return await handler(request)
    except InputError as wrong:
        status, error = 400, wrong
    except RefusedError as refused:
        status, error = refused.status, refused
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        elif status == 503:
            headers |= _RETRY
    except web.HTTPRequestEntityTooLarge:
        status = 413
        error = RefusedError(status, "the request is too large", remedy="send a smaller image")
    except web.HTTPException as other:
        status = other.status
        headers = {name: value for name, value in other.headers.items() if name == "Allow"}
        error = RefusedError(status, other.reason, expected="POST /predictions/MODEL or GET /ping")
    return web.json_response({"error": error.to_json()}, status=status, headers=headers)


async def run(settings: FrontSettings, command: Sequence[str]) -> int:
    """Start TorchServe and listen until it ends or SIGTERM arrives.

    Returns:
        Exit status of this process.
    """
    runner = Front(settings).runner(shutdown_timeout_s=settings.answer_timeout_s)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    tie = partial(die_with_parent, signal.SIGKILL, parent_pid=os.getpid())
    java = await asyncio.create_subprocess_exec(*command, preexec_fn=tie)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    ended = asyncio.ensure_future(java.wait())
    await asyncio.wait(
        {ended, asyncio.ensure_future(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    await runner.cleanup()
    if ended.done():
        return java.returncode or 1
    java.terminate()
    await ended
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the front: settings file, then TorchServe's command."""
    path = Path(arguments[0])
    return asyncio.run(run(FrontSettings.from_mapping(read_json(path), where=str(path)),
                           arguments[1:]))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
