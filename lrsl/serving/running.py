"""The server: where it listens, and how it ends."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from lrsl.errors import InputError, said
from lrsl.serving.app import application
from lrsl.serving.connection import within
from lrsl.serving.limits import Limits
from lrsl.serving.served import Served

GRACE = 5
"""Seconds that requests which are being answered have when the server is told to end."""
KEEP_ALIVE = 5  # seconds that a connection stays open without a request
LOCAL = ("localhost", "127.0.0.1", "[::1]")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, at which nobody is answered yet.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: there is no such address, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise InputError(
            f"--host {host} is no address of this machine; 127.0.0.1 is, which others cannot reach"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(_trouble(error, host, port)) from None
    return listener


def is_local(listener: socket.socket) -> bool:
    """Tell whether only this machine can reach a socket."""
    return ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback


def address(listener: socket.socket) -> str:
    """Return the address to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """A server that ends when it is told to.

    Args:
        served: what is served.
        listener: a socket with an address, which it closes.
        host: what a client may call it besides the usual names, where only this machine can reach it.
        limits: what one client may take.
        ready: is called when requests are answered.

    Attributes:
        number: of the signal that told it to end; 0 without.
    """

    def __init__(
        self, served: Served, listener: socket.socket, host: str, limits: Limits, ready: Callable[[], None]
    ) -> None:
        hosts = {*LOCAL, host.lower()} if is_local(listener) else None
        self.number, self._listener, self._ready = 0, listener, ready
        super().__init__(
            uvicorn.Config(
                application(served, limits, hosts),
                loop="asyncio",
                http=within(limits),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # which any client may send
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
            )
        )

    def serve_all(self) -> None:
        """Answer requests until it is told to end."""
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what is wrong is said by whatever finds it
        self.run([self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take note of signals, which `lrsl.stopping` makes a status of, and put back who took them before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.signal(number, self._told) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _told(self, number: int, _: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.number, self.should_exit = self.number or number, True


def _trouble(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; name another with --port, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is not for everybody; name one from 1024 on with --port, or 0 for any that is free"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine; 127.0.0.1 is, which others cannot reach"
    return said(f"nobody can listen at port {port} of {host}: {error.strerror or error}")
