"""What every request passes: who asks, from where, and what the answer may do in a browser."""

from __future__ import annotations

import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pushpull.app.sessions import Sessions

__all__ = ["COOKIE", "Guard"]

COOKIE = "pushpull"
LASTS_S = 365 * 24 * 3600
"""Of the cookie: what belongs to it is removed long before."""
MARK = "x-pushpull"
"""Header of every request that changes something: a form of another site cannot set it."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; frame-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """Middleware: refuses foreign hosts and foreign origins, finds the visitor, sets headers.

    A page of another site can reach a server on this machine, by its address or by a name that it
    points there. The first is refused by `Origin` and by a header that only this app's pages send,
    the second by `Host`, which must be an address, localhost or this machine's name.

    Examples:
        >>> from pathlib import Path
        >>> from starlette.applications import Starlette
        >>> from starlette.datastructures import Headers
        >>> from pushpull.app.middleware import Guard
        >>> from pushpull.app.sessions import Sessions
        >>> Path("visitors").mkdir()
        >>> guard = Guard(Starlette(), Sessions(Path("visitors"), keep_s=3600.0))
        >>> guard.refusal("GET", Headers({"host": "localhost:7860"})) is None
        True
        >>> print(guard.refusal("GET", Headers({"host": "example.org"})))
        this server is not called 'example.org'; use its address or localhost
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app, self.sessions = app, sessions
        self.names = {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = token_of(headers.get("cookie", ""))
        session, current = self.sessions.of(token)
        scope.setdefault("state", {})["session"] = session

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                if current != token:
                    out.append(
                        "set-cookie",
                        f"{COOKIE}={current}; Path=/; Max-Age={LASTS_S}; HttpOnly; SameSite=Strict",
                    )
            await send(message)

        reason = self.refusal(scope["method"], headers)
        if reason is None:
            await self.app(scope, receive, answer)
        else:
            await JSONResponse({"error": reason}, 403)(scope, receive, answer)

    def refusal(self, method: str, headers: Headers) -> str | None:
        """Why a request is not answered, None if it is."""
        host = headers.get("host", "")
        if not self.known(host):
            return f"this server is not called {host[:100]!r}; use its address or localhost"
        if method in {"GET", "HEAD"}:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "this request comes from another site; open the app's own page"
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return "this request comes from another site; open the app's own page"
        if MARK not in headers:
            return f"this request lacks the header {MARK}; open the app's own page"
        return None

    def known(self, host: str) -> bool:
        """Whether a Host header names this machine in a way that no other site can."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def token_of(cookies: str) -> str | None:
    """The visitor's token among cookies."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value
