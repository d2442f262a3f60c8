"""Starting the web app and saying where it is."""

from __future__ import annotations

import socket
from collections.abc import Callable

from pushpull.app.settings import AppConfig
from pushpull.errors import ConfigError, MissingExtra

__all__ = ["serve"]


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
                build_app(config),
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                timeout_keep_alive=30,
                limit_concurrency=200,
            )
        )
        server.run(sockets=[listener])


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
