"""Live page on loopback: shows the newest picture by Motion JPEG over HTTP.

Only the newest picture is stored: a slow browser skips pictures.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import cv2

from hemlets.core.ports import LOOPBACK, require_free_port
from hemlets.inference.people import Image

_BOUNDARY: Final = "picture"
_MOST_VIEWERS: Final = 8
_QUALITY: Final = 80
_STALL_S: Final = 10.0
_PAGE: Final = (
    b"<!doctype html><meta charset=utf-8><title>hemlets video</title>"
    b"<body style='margin:0;background:#111'><img src=/stream alt='the newest picture' "
    b"style='width:100vw;height:100vh;object-fit:contain'>"
)


class LivePage:
    """Serves pictures, as a context manager.

    Args:
        port: Port on loopback; 0 chooses a free one.

    Raises:
        BusyPortError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        if port:
            require_free_port(port, needed_by="the live page")
        self._changed = threading.Condition()
        self._jpeg = b""
        self._count = 0
        self._viewers = 0
        self._ended = False
        self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{LOOPBACK}:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def show(self, image_HW3: Image) -> None:
        """Show an RGB picture; it is encoded only if a browser is connected."""
        if not self._viewers:
            return
        bgr = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        with self._changed:
            self._jpeg = jpeg.tobytes()
            self._count += 1
            self._changed.notify_all()

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        with self._changed:
            if self._viewers >= _MOST_VIEWERS:
                request.send_error(503, "too many viewers")
                return
            self._viewers += 1
            last = self._count
        try:
            request.connection.settimeout(_STALL_S)
            request.send_response(200)
            request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            request.send_header("Cache-Control", "no-store")
            request.end_headers()
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._count != last or self._ended)  # noqa: B023
                    if self._count == last:
                        return
                    last, jpeg = self._count, self._jpeg
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(jpeg)}\r\n\r\n"
                request.wfile.write(head.encode() + jpeg + b"\r\n")
        except OSError:
            return  # The viewer has gone.
        finally:
            with self._changed:
                self._viewers -= 1


def _handler(page: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Protects against DNS rebinding by other sites.
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in (LOOPBACK, "localhost"):
                self.send_error(403, "loopback only")
            elif self.path == "/stream":
                page._stream(self)
            elif self.path == "/":
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(_PAGE)))
                self.end_headers()
                self.wfile.write(_PAGE)
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            """Do not log: the terminal belongs to the command."""

    return Handler
