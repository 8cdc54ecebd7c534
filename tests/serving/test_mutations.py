"""Two thousand requests that nobody should send: none harms the worker, or others who ask.

Images, boxes, cameras, JSON, multipart forms and headers are mutated from a kept seed, and sent by
several clients at once, while a well-behaved client goes on asking.
"""

from __future__ import annotations

import io
import json
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from PIL import Image

from hemlets.core.errors import InputError
from hemlets.data.table import decode_image
from serving.client import Client
from serving.torchserve import TorchServe

pytestmark = [pytest.mark.services, pytest.mark.slow]

REQUESTS = 2_000
CLIENTS = 6
SEED = 20_261_128
MOST_MB_MORE = 400
"""Room for fragmentation; a leak of one decoded image a request would take gigabytes."""

BOX = (10.0, 5.0, 100.0, 85.0)

Request = dict[str, object]

_NUMBERS = ("NaN", "Infinity", "-1", "1e308", "1e-300", "0", "true", "null", '"7"', "[]", "9" * 400)


def _image(rng: random.Random, pictures: list[bytes]) -> bytes:
    data = bytearray(rng.choice(pictures))
    kind = rng.randrange(-4, 8)
    if kind <= 0:  # whole
        pass
    elif kind == 1:  # cut, and closed again
        data = data[: rng.randrange(len(data))] + b"\xff\xd9"
    elif kind == 2:  # some bytes changed
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 3:  # pieces of two
        other = rng.choice(pictures)
        data = data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    elif kind == 4:  # a size that is not there
        at = bytes(data).find(b"\xff\xc0")
        data[at + 5 : at + 9] = rng.randbytes(4)
    elif kind == 5:  # very many scans
        data = bytearray(_progressive(pictures[0]))
        last = bytes(data).rindex(b"\xff\xda")
        data = data[:last] + data[last:-2] * rng.randrange(2, 400) + b"\xff\xd9"
    elif kind == 6:  # noise behind another format's start
        start = rng.choice([b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP", b"II*\0", b"BM", b"GIF8", b""])
        data = bytearray(start + rng.randbytes(rng.randrange(2_000)))
    else:  # nothing
        data = bytearray()
    return bytes(data)


def _progressive(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def _json(rng: random.Random, right: str) -> str:
    kind = rng.randrange(-2, 4)
    if kind <= 0:
        return right
    if kind == 1:
        return right[: rng.randrange(len(right))]
    if kind == 2:
        return "[" * rng.randrange(1, 5_000)
    numbers = [rng.choice(_NUMBERS) if rng.random() < 0.4 else "20" for _ in range(4)]
    return f"[{', '.join(numbers)}]"


def _multipart(rng: random.Random, pictures: list[bytes]) -> Request:
    form: dict[str, tuple[str | None, bytes | str]] = {"image": ("i", _image(rng, pictures))}
    box, camera = "[10, 5, 100, 85]", '{"fx": 150, "fy": 150, "cx": 60, "cy": 45}'
    form[rng.choice(["box", "boxes", "bbox"])] = (None, _json(rng, box))
    if rng.random() < 0.3:
        form["camera"] = (None, _json(rng, camera))
    if rng.random() < 0.1:
        form[rng.choice(["../x", "é", "a" * 5_000, "image\r\nX: y"])] = (None, "1")
    return {"files": form}


def _raw(rng: random.Random, pictures: list[bytes]) -> Request:
    kinds = ["image/jpeg", "application/octet-stream", "application/json", "text/plain", "x", ""]
    body = rng.choice([_image(rng, pictures), b'{"data": "aGVsbG8="}', b"[" * 999, b""])
    return {"data": body, "headers": {"Content-Type": rng.choice(kinds)}}


def _broken_form(rng: random.Random, pictures: list[bytes]) -> Request:
    body = bytearray(
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="i"\r\n\r\n'
        + _image(rng, pictures)
        + b"\r\n--B--\r\n"
    )
    for _ in range(rng.randrange(1, 6)):
        body[rng.randrange(min(80, len(body)))] = rng.randrange(256)
    return {"data": bytes(body), "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


_KINDS: tuple[Callable[[random.Random, list[bytes]], Request], ...] = (
    _multipart,
    _multipart,
    _raw,
    _broken_form,
)


def test_two_thousand_mutated_requests_harm_nobody(
    server: TorchServe, client: Client, pictures: list[bytes]
) -> None:
    rng = random.Random(SEED)
    sent = [rng.choice(_KINDS)(rng, pictures) for _ in range(REQUESTS)]
    expected = client.predict(pictures[0], BOX).joints3d_mm
    alone_s = statistics.median(_took_s(client, pictures[0]) for _ in range(20))
    workers = _workers(server)
    before_mb = _memory_mb(workers)

    statuses: Counter[int] = Counter()
    wrong: list[Request] = []
    done = threading.Event()
    others: list[float] = []

    def behave() -> None:
        with server.client("hemlets-posh") as mine:
            while not done.is_set():
                start = time.monotonic()
                answer = mine.predict(pictures[0], BOX)
                others.append(time.monotonic() - start)
                if abs(answer.joints3d_mm - expected).max() > 0.05:
                    wrong.append({"well-behaved": "another answer"})

    def send(requests_: list[Request]) -> None:
        with requests.Session() as session:
            for request in requests_:
                given = dict(request)
                headers = {"Authorization": f"Bearer {server.token}"}
                headers |= given.pop("headers", {})  # type: ignore[arg-type]
                answer = session.post(
                    f"{server.url}/predictions/hemlets-posh", headers=headers, timeout=60, **given
                )
                statuses[answer.status_code] += 1
                if answer.status_code == 200 and not _has_whole_image(request):
                    wrong.append(request)
                if answer.status_code == 200:
                    json.loads(answer.text)

    well_behaved = threading.Thread(target=behave)
    well_behaved.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(send, [sent[i::CLIENTS] for i in range(CLIENTS)]))
    finally:
        done.set()
        well_behaved.join()

    assert _workers(server) == workers, "a worker was replaced"
    assert not wrong
    assert sum(statuses.values()) == REQUESTS
    assert statuses[200] > REQUESTS / 50, statuses
    assert statuses[400] > REQUESTS / 3, statuses
    assert set(statuses) <= {200, 400, 413, 503}, statuses
    assert _memory_mb(workers) - before_mb < MOST_MB_MORE
    # A machine that is busy with other things answers slowly before any mutated request is sent.
    limit_s = max(2.0, 25 * alone_s)
    waits = f"alone {alone_s:.3f} s; beside mutated requests {statistics.median(others):.3f} s"
    print(f"{waits}, longest {max(others):.3f} s; {dict(statuses)}")
    assert max(others) < limit_s


def _took_s(client: Client, picture: bytes) -> float:
    start = time.monotonic()
    client.predict(picture, BOX)
    return time.monotonic() - start


def _has_whole_image(request: Request) -> bool:
    """Whether the checked decoder reads the request's image, here and alone."""
    files = request.get("files")
    body = files["image"][1] if isinstance(files, dict) else request["data"]
    assert isinstance(body, bytes)
    if b"form-data" in body[:80] or not isinstance(files, dict):
        return True  # A form of bytes; what the front makes of it is not known here.
    try:
        decode_image(body)
    except InputError:
        return False
    return True


def _workers(server: TorchServe) -> set[int]:
    assert server._process is not None
    below = psutil.Process(server._process.pid).children(recursive=True)
    return {p.pid for p in below if any("model_service_worker" in part for part in p.cmdline())}


def _memory_mb(workers: set[int]) -> float:
    return sum(psutil.Process(pid).memory_info().rss for pid in workers) / 2**20
