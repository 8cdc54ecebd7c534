"""Access control: only the server's own page, on this machine or with the token.

- The Host header must name the server: a foreign name that resolves to this machine (DNS
  rebinding) is refused.
- A request that another site's page makes is refused, by Origin and by Sec-Fetch-Site.
- A changing request carries the secret of the page, which no other site can read.
- Beyond loopback every request needs the token, as a cookie that the address with the token sets.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "hemlets-annotate"
PAGE_SECRET: Final = b"x-hemlets-page"
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_LONGEST_BODY: Final = 16_384

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True, kw_only=True)
class Access:
    """Rules for accepting requests.

    Attributes:
        hosts: Names of the server in the Host header, without the port; empty for any.
        token: Asked of every request; empty on loopback.
        page: Secret that the page sends with every change.
    """

    hosts: tuple[str, ...] = LOOPBACK
    token: str = ""
    page: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class Guard:
    """ASGI middleware that rejects requests which `Access` does not allow."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request or pass it to the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(
        self, scope: Scope, headers: dict[bytes, bytes]
    ) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
        if self._access.hosts and name not in self._access.hosts:
            return 421, "This server has another name.", []
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc != host:
            return 403, "Another site may not use this server.", []
        site = headers.get(b"sec-fetch-site", b"none")
        # The page itself may be opened from a link; nothing else may.
        opens_page = scope["method"] == "GET" and scope["path"] == "/"
        if site not in (b"none", b"same-origin") and not opens_page:
            return 403, "Another site may not use this server.", []
        if self._access.token:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if opens_page and given and self._is_token(given):
                cookie = f"{COOKIE}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
                return 303, "", [(b"location", b"/"), (b"set-cookie", cookie.encode())]
            if not self._is_token(_cookie(headers)):
                return 401, "Open the address with the token that `hemlets annotate` printed.", []
        if scope["method"] not in ("GET", "HEAD"):
            secret = headers.get(PAGE_SECRET, b"")
            if not secrets.compare_digest(secret, self._access.page.encode()):
                return 403, "The page is older than the server: reload it.", []
            length = headers.get(b"content-length", b"")
            if not length.isdigit() or int(length) > _LONGEST_BODY:
                return 413, "The answer is too long.", []
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._access.token.encode())


def _cookie(headers: dict[bytes, bytes]) -> str:
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _answer(send: Send, status: int, text: str, more: list[tuple[bytes, bytes]]) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *more, *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
