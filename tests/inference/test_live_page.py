"""The live page: the newest picture to browsers on this machine, and to nobody else."""

from __future__ import annotations

import http.client
import threading
import time

import numpy as np
import pytest

from hemlets.core.ports import BusyPortError
from hemlets.inference.live_page import LivePage


def _get(page: LivePage, path: str, host: str | None = None) -> http.client.HTTPResponse:
    address = page.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def test_the_page_shows_a_stream_of_the_newest_pictures() -> None:
    with LivePage() as page:
        assert b"/stream" in _get(page, "/").read()
        response = _get(page, "/stream")
        picture = np.full((8, 8, 3), 200, np.uint8)
        done = threading.Event()

        def show() -> None:
            while not done.is_set():
                page.show(picture)
                time.sleep(0.01)

        threading.Thread(target=show, daemon=True).start()
        head = response.read(200)
        done.set()
        assert head.startswith(b"--picture\r\nContent-Type: image/jpeg")
        assert b"\xff\xd8" in head


def test_pictures_that_nobody_looks_at_are_not_compressed() -> None:
    with LivePage() as page:
        page.show(np.zeros((8, 8, 3), np.uint8))
        assert page._jpeg == b""


def test_another_sites_name_for_the_page_is_refused() -> None:
    with LivePage() as page:
        assert _get(page, "/", host="evil.example:80").status == 403
        assert _get(page, "/else").status == 404


def test_a_taken_port_is_named() -> None:
    with LivePage() as page, pytest.raises(BusyPortError):
        LivePage(int(page.url.rstrip("/").rpartition(":")[2]))
