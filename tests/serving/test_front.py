"""The front alone, before a backend that answers what a test wants."""

import asyncio
import gzip
import json
import select
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from aiohttp import web

from serving.front import Front
from serving.settings import FrontSettings

TOKEN = "right"
PHOTO = b"\xff\xd8\xff\xe0 a photo \r\n--with what looks like a boundary\r\n\x00\xff\xd9"
PLACE = "/predictions/hemlets-posh"


class Backend:
    """What TorchServe was sent, and what it is to answer."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.status, self.body, self.delay_s = 200, b'{"people": []}', 0.0
        backend = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                backend.received.append((self.path, body))
                time.sleep(backend.delay_s)
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                self.send_response(backend.status)
                self.send_header("Content-Length", str(len(backend.body)))
                self.end_headers()
                self.wfile.write(backend.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class RunningFront:
    """A front on an event loop of its own."""

    def __init__(self, backend: str, folder: Path, *, request_timeout_s: float = 30.0) -> None:
        token_file = folder / "token"
        token_file.write_text(TOKEN)
        settings = FrontSettings(
            host="127.0.0.1",
            port=0,
            backend=backend,
            management="",
            key_file=None,
            token_file=token_file,
            max_request_bytes=100_000,
            most_requests=2,
            request_timeout_s=request_timeout_s,
            answer_timeout_s=20.0,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = Front(settings).runner(shutdown_timeout_s=0.1)
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(120)
        self.url = f"http://127.0.0.1:{self.port}"

    async def _start(self) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def post(self, path: str = PLACE, token: str | None = TOKEN, **request) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= request.pop("headers", {})
        return requests.post(f"{self.url}{path}", headers=headers, timeout=120, **request)


@pytest.fixture
def backend() -> Iterator[Backend]:
    running = Backend()
    yield running
    running.close()


@pytest.fixture
def front(backend: Backend, tmp_path: Path) -> Iterator[RunningFront]:
    running = RunningFront(backend.url, tmp_path)
    yield running
    running.close()


def part(name: str, value: bytes, more: bytes = b"") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"--B\r\n" + disposition + more + b"\r\n\r\n" + value + b"\r\n"


def form(body: bytes) -> dict[str, object]:
    return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


def refusal(answer: requests.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert error["what"]
    return error


@pytest.mark.parametrize("name", ["image", "data", "body"])
def test_a_photo_in_a_form_arrives_byte_for_byte(front: RunningFront, backend: Backend, name: str):
    answer = front.post(files={name: ("ü.jpg", PHOTO), "box": (None, "[1, 2, 30, 40]")})
    assert (answer.status_code, answer.json()) == (200, {"people": []})
    ((path, body),) = backend.received
    assert path == PLACE
    assert b'name="image"; filename="image"\r\n\r\n' + PHOTO + b"\r\n--" in body
    assert b'name="box"\r\n\r\n[1, 2, 30, 40]\r\n--' in body


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream"])
def test_a_photo_may_be_the_body_with_its_own_type(
    front: RunningFront, backend: Backend, kind: str
):
    assert front.post(data=PHOTO, headers={"Content-Type": kind}).status_code == 200
    assert PHOTO in backend.received[0][1]


def test_a_version_is_asked_for_and_other_paths_are_not_passed_on(
    front: RunningFront, backend: Backend
):
    assert front.post(f"{PLACE}/2", files={"image": PHOTO}).status_code == 200
    assert backend.received[0][0] == f"{PLACE}/2"
    for path in ("/models", "/explanations/x", f"{PLACE}/1/2", "/predictions/..%2fmodels", "/"):
        refusal(front.post(path, files={"image": PHOTO}), 404)
    assert requests.get(front.url + PLACE, timeout=60).headers["Allow"] == "POST"
    assert len(backend.received) == 1


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer é"]
)
def test_a_missing_or_wrong_token_is_401(front: RunningFront, backend: Backend, header: str | None):
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = front.post(token=None, files={"image": PHOTO}, headers=headers)
    assert "token" in refusal(answer, 401)["what"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert not backend.received


@pytest.mark.parametrize(
    ("header", "status"),
    [("", 401), (f"Authorization: Bearer {TOKEN}\r\n", 413)],
    ids=["no token", "too large"],
)
def test_a_refusal_by_header_does_not_wait_for_the_body(
    front: RunningFront, header: str, status: int
):
    head = f"POST {PLACE} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 16000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"only a little")
        assert f" {status} ".encode() in connection.recv(100)


@pytest.mark.parametrize(
    "request_",
    [
        {"data": PHOTO},
        {"data": PHOTO, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"data": b'{"data": "aGVsbG8="}', "headers": {"Content-Type": "application/json"}},
        {"data": PHOTO, "headers": {"Content-Type": "multipart/mixed; boundary=B"}},
        {"data": b"", "headers": {"Content-Type": "image/png"}},
        {"files": {"box": (None, "[1, 2, 3, 4]")}},
        form(part("image", PHOTO)),
        form(b""),
        form(b"--B--\r\n"),
        form(part("image", PHOTO) + b"--Bad\r\n"),
        form(b"--B\r\nnonsense\r\n\r\nx\r\n--B--\r\n"),
        form(b"--B\r\nContent-Disposition: form-data\r\n\r\n" + PHOTO + b"\r\n--B--\r\n"),
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "B" * 99}},
    ],
)
def test_what_is_neither_form_nor_image_is_answered_with_how_to_send_a_photo(
    front: RunningFront, backend: Backend, request_: dict[str, object]
):
    assert "curl -F image=@photo.jpg" in refusal(front.post(**dict(request_)), 400)["remedy"]
    assert not backend.received


@pytest.mark.parametrize(
    "parts",
    [("image", "image"), ("image", "data"), ("image", "box", "box"), ("body", "image")],
)
def test_a_field_that_is_given_twice_is_refused(
    front: RunningFront, backend: Backend, parts: tuple[str, ...]
):
    body = b"".join(part(name, b"[1, 2, 3, 4]") for name in parts) + b"--B--\r\n"
    assert "twice" in refusal(front.post(**form(body)), 400)["what"]
    assert not backend.received


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("box", "[NaN, 0, 5, 5]", "box"),
        ("camera", "[" * 5_000, "camera"),
        ("bbox", "[1, 2, 3, 4]", "request"),
        ("boxes", "1" * 70_000, "boxes"),
        ('x"\r\nX: y', "1", "request"),
    ],
)
def test_a_wrong_field_is_refused_before_the_queue(
    front: RunningFront, backend: Backend, field: str, value: str, where: str
):
    answer = front.post(files={"image": PHOTO, field: (None, value)})
    assert refusal(answer, 400)["where"] == where
    assert not backend.received


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


COMPRESS = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_photo_or_form_is_read(front: RunningFront, backend: Backend, encoding: str):
    packed = {
        "image/png": PHOTO,
        "multipart/form-data; boundary=B": part("image", PHOTO) + b"--B--",
    }
    for kind, body in packed.items():
        headers = {"Content-Type": kind, "Content-Encoding": encoding}
        answer = front.post(data=COMPRESS[encoding](body), headers=headers)
        assert answer.status_code == 200, answer.text
    assert [PHOTO in body for _, body in backend.received] == [True, True]


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=B"])
@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", PHOTO, 400),
        ("deflate", PHOTO, 400),
        ("gzip", gzip.compress(PHOTO)[:-9], 400),
        ("deflate", zlib.compress(PHOTO) + b"more", 400),
        ("gzip", b"", 400),
        ("br", PHOTO, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(PHOTO)), 415),
    ],
    ids=["no gzip", "no deflate", "cut", "more", "empty", "br", "twice"],
)
def test_a_body_that_is_not_compressed_as_its_header_says_is_refused(
    front: RunningFront, backend: Backend, kind: str, encoding: str, body: bytes, status: int
):
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    assert "curl -F" in refusal(front.post(data=body, headers=headers), status)["remedy"]
    assert not backend.received


def test_a_badly_compressed_body_is_answered_after_its_end_instead_of_a_reset(front: RunningFront):
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: image/jpeg\r\nContent-Encoding: gzip\r\nContent-Length: 90000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", front.port), timeout=60) as connection:
        connection.sendall(head.encode() + PHOTO)
        # An answer now would close the connection on the rest, and be lost with it.
        assert not select.select([connection], [], [], 0.5)[0]
        connection.sendall(bytes(90_000 - len(PHOTO)))
        assert b" 400 " in connection.recv(4000)
        # The connection can be used again.
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(4000)


def test_fields_in_the_address_are_refused_instead_of_ignored(
    front: RunningFront, backend: Backend
):
    answer = front.post(PLACE + "?box=[1,2,30,40]", files={"image": b"photo"})
    assert "query" in refusal(answer, 400)["what"]
    assert not backend.received


def test_a_form_of_many_fields_is_refused(front: RunningFront):
    body = b"".join(part(f"f{i}", b"1") for i in range(99)) + b"--B--\r\n"
    assert "too many" in refusal(front.post(**form(body)), 400)["what"]


@pytest.mark.parametrize("how", ["form", "chunks", "compressed"])
def test_the_largest_size_holds_however_the_bytes_come(
    front: RunningFront, backend: Backend, how: str
):
    large = bytes(200_000)
    request: dict[str, object] = {
        "form": form(part("image", large[:90_000]) + part("note", large[:50_000]) + b"--B--\r\n"),
        "chunks": {"data": iter([large]), "headers": {"Content-Type": "image/png"}},
        "compressed": {
            "data": gzip.compress(large),
            "headers": {"Content-Type": "image/png", "Content-Encoding": "gzip"},
        },
    }[how]
    assert "large" in refusal(front.post(**request), 413)["what"]
    assert not backend.received


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (507, b'{"code": 507, "type": "InternalServerException"}', 503),
        (500, b'{"code": 500, "message": "Worker died."}', 503),
        (503, b'{"code": 503, "type": "ServiceUnavailableException"}', 503),
        (404, b'{"code": 404, "type": "ModelNotFoundException"}', 404),
        (500, b'{"error": {"what": "failed inside the server"}}', 500),
        (400, b'{"error": {"what": "not an image"}}', 400),
    ],
)
def test_torchserves_statuses_become_ours_and_the_handlers_stay(
    front: RunningFront, backend: Backend, status: int, body: bytes, expected: int
):
    backend.status, backend.body = status, body
    answer = front.post(files={"image": PHOTO})
    refusal(answer, expected)
    assert ("Retry-After" in answer.headers) == (expected == 503)


def test_a_backend_that_is_gone_is_503_and_not_healthy(front: RunningFront, backend: Backend):
    assert requests.get(f"{front.url}/ping", timeout=60).json() == {"status": "healthy"}
    backend.status = 500
    assert requests.get(f"{front.url}/ping", timeout=60).status_code == 503
    backend.close()
    assert requests.get(f"{front.url}/ping", timeout=60).status_code == 503
    refusal(front.post(files={"image": PHOTO}), 503)


def test_more_requests_than_may_wait_are_sent_away_at_once(front: RunningFront, backend: Backend):
    backend.delay_s = 1.0
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(front.post(files={"image": PHOTO}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    backend.delay_s = 0.0
    assert front.post(files={"image": PHOTO}).status_code == 200


@pytest.fixture
def hasty_front(backend: Backend, tmp_path: Path) -> Iterator[RunningFront]:
    running = RunningFront(backend.url, tmp_path, request_timeout_s=1.5)
    yield running
    running.close()


def test_a_body_that_does_not_come_ends_and_gives_its_place_back(hasty_front: RunningFront):
    front = hasty_front
    head = (
        f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    )
    slow = [socket.create_connection(("127.0.0.1", front.port), timeout=60) for _ in range(2)]
    for connection in slow:
        connection.sendall(head.encode() + b"\x89PNG")
    for connection in slow:
        answer = connection.recv(4000)
        assert b" 408 " in answer
        assert b"did not arrive" in answer
        connection.close()
    assert front.post(files={"image": PHOTO}).status_code == 200


def test_requests_that_are_no_http_or_are_cut_leave_no_traceback_in_the_log(
    front: RunningFront, caplog: pytest.LogCaptureFixture
):
    head = f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: image/png\r\n"
    for rest in ("X: " + "a" * 9000, "Transfer-Encoding: chunked\r\n\r\nzz", "Content-Length: -5"):
        with socket.create_connection(("127.0.0.1", front.port), timeout=60) as connection:
            connection.sendall(f"{head}{rest}\r\n\r\n".encode())
            assert b" 400 " in connection.recv(4000)
    with socket.create_connection(("127.0.0.1", front.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: 9\r\n\r\ncut".encode())
    assert front.post(files={"image": PHOTO}).status_code == 200
    assert not caplog.records


def test_an_answer_is_json_even_where_the_path_is_wrong(front: RunningFront):
    answer = requests.get(f"{front.url}/metrics", timeout=60)
    assert "/predictions/MODEL" in json.loads(answer.text)["error"]["expected"]
