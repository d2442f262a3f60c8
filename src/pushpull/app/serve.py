"""Starting the web app and saying where it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pushpull.app.settings import AppConfig
from pushpull.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["serve"]

SILENCE_S = 15.0
"""A line on which nothing was asked for so long is closed."""

MOST_LINES = 200
"""At once; who comes when there are more is sent away."""

MOST_SILENT = 100
"""From then on each new line closes the one that has been silent for longest."""


def serve(config: AppConfig, opened: Callable[[str], None] = lambda url: None) -> None:
    """Serve until stopped.

    Args:
        config: Settings.
        opened: Told the address once it is open.

    Raises:
        MissingExtra: If the extra `app` is not installed.
        ConfigError: If the address cannot be had.
        OutputError: If the folder of results or the temporary folder cannot be written.
    """
    try:
        import uvicorn

        from pushpull.app.server import build_app
    except ModuleNotFoundError as e:
        raise MissingExtra.of("the web app", e, "app") from e
    listener = open_socket(config)
    with listener:
        host, port = listener.getsockname()[:2]
        opened(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        server = uvicorn.Server(
            uvicorn.Config(
                hung_up(build_app(config)),
                http=patient_protocol(config.lines),
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                timeout_keep_alive=30,
                limit_concurrency=MOST_LINES,
            )
        )
        server.run(sockets=[listener])


def patient_protocol(most_of_one: int) -> type[asyncio.Protocol]:
    """How the server talks HTTP, with an end to its patience: silent lines keep nobody out.

    Args:
        most_of_one: Lines of one address at a time.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        since_s = 0.0
        address = ""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.since_s = self.loop.time()
            self.loop.call_later(SILENCE_S, self.look)
            peer = transport.get_extra_info("peername")
            self.address = str(peer[0]) if peer else ""
            # One that was just made has had no time to say anything.
            lines: list[Any] = list(self.connections)
            others = [
                line for line in lines if line is not self and not line.transport.is_closing()
            ]
            silent = [line for line in others if line.is_silent]
            own = [line for line in others if line.address == self.address]
            if len(own) >= most_of_one:
                # None of its own that is silent: this one is too many.
                dropped = [line for line in own if line.is_silent] or [self]
                min(dropped, key=lambda line: line.since_s).transport.close()
            elif len(silent) > MOST_SILENT:
                min(silent, key=lambda line: line.since_s).transport.close()

        def data_received(self, data: bytes) -> None:
            # The first bytes of a request are not yet one: who sends them slowly is silent, too.
            if self.cycle is not None and self.cycle.response_complete:
                self.since_s = self.loop.time()
            super().data_received(data)

        @property
        def is_silent(self) -> bool:
            """Whether nothing is asked for now."""
            return self.cycle is None or bool(self.cycle.response_complete)

        def look(self) -> None:
            """Close what was silent for too long; look again later."""
            if self.transport.is_closing():
                return
            if self.is_silent and self.loop.time() - self.since_s >= SILENCE_S:
                self.transport.close()
            else:
                self.loop.call_later(SILENCE_S, self.look)

    return Patient


def hung_up(app: ASGIApp) -> ASGIApp:
    """The app, to which a line that is closed in the middle is nothing to report."""
    from h11 import LocalProtocolError
    from starlette.requests import ClientDisconnect

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except (LocalProtocolError, ClientDisconnect):
            # The request was refused while it was read, and this would have been the answer; or
            # whoever asked went away before the end of the question.
            return

    return answer


def open_socket(config: AppConfig) -> socket.socket:
    """The address, taken before anything else is started.

    Raises:
        ConfigError: If it cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except (OSError, OverflowError) as e:
        listener.close()
        raise ConfigError(
            f"{config.host}:{config.port} cannot be listened on ({e}); choose another --port, or 0 "
            "for any that is free"
        ) from e
    return listener
