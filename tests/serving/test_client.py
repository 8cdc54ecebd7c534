"""The client asks again where an answer may become another."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hemlets.core.errors import HemletsError
from serving.client import Client, EndpointUnavailableError, RequestRefusedError

Serve = Callable[[list[int]], tuple[str, list[int]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that gives statuses one after another, and the list of those that it gave."""
    servers: list[HTTPServer] = []

    def start(statuses: list[int]) -> tuple[str, list[int]]:
        given: list[int] = []

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                given.append(statuses[min(len(given), len(statuses) - 1)])
                self.send_response(given[-1])
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", given

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_status_that_may_pass_is_asked_again(serve: Serve, status: int) -> None:
    url, given = serve([status, status, 400])
    with Client(url) as client, pytest.raises(RequestRefusedError):
        client.predict(b"photo", (0.0, 0.0, 9.0, 9.0))
    assert given == [status, status, 400]


def test_it_gives_up_with_the_last_status(serve: Serve) -> None:
    url, given = serve([503])
    with Client(url) as client, pytest.raises(EndpointUnavailableError, match="503"):
        client.predict(b"photo", (0.0, 0.0, 9.0, 9.0))
    assert len(given) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_a_status_that_will_not_pass_is_asked_once(serve: Serve, status: int) -> None:
    url, given = serve([status])
    with Client(url) as client, pytest.raises(HemletsError):
        client.predict(b"photo", (0.0, 0.0, 9.0, 9.0))
    assert given == [status]
