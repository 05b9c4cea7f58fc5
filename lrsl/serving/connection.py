"""A connection that does not stay open for ever: its request's head, and what becomes of it, have their time."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from lrsl.serving.limits import Limits

log = logging.getLogger("lrsl.serving")

WRITE_SECONDS = 10.0
"""How long an answer may take to be taken, beyond what reading and working may."""


class Connection(H11Protocol):
    """One connection of a client. Closed, or half closed, by the client, it is closed at once."""

    limits: ClassVar[Limits] = Limits()

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request's head its time, or refuse a connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "Service Unavailable", "too many connections are open; try again in a moment", "1")
            return
        self._expect(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; a further request's head has its time from its first byte on."""
        if self._timer is None and not self._answers:
            self._expect(self.limits.head_seconds)
        try:
            super().data_received(data)
        except Exception:  # of what is no HTTP in the middle of an answer
            log.debug("a connection sent what is no HTTP", exc_info=True)
            self.transport.abort()

    def handle_events(self) -> None:
        """Begin requests whose head is there, and give each its time."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._answers:
            self._expect(self.limits.body_seconds + self.limits.seconds + WRITE_SECONDS)

    def on_response_complete(self) -> None:
        """Forget the time of the request that has been answered; who does not take the answer has a time of its own."""
        self._forget()
        super().on_response_complete()
        if self._timer is None and self.transport.get_write_buffer_size():
            self._timer = self.loop.call_later(WRITE_SECONDS, self._not_taken)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        if self._answers:
            self.transport.abort()
            return
        self._refuse(400, "Bad Request", "what was sent is no HTTP request that is read")

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, seconds: float) -> None:
        self._forget()
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._answers:
            self.transport.abort()
        elif not self.transport.is_closing():
            seconds = f"{self.limits.head_seconds:g} seconds"
            self._refuse(408, "Request Timeout", f"the request's head was not there within {seconds}")

    def _not_taken(self) -> None:
        self._timer = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: int, phrase: str, sentence: str, again: str | None = None) -> None:
        """Answer without the application, and close."""
        content = json.dumps({"error": sentence})
        retry = "" if again is None else f"retry-after: {again}\r\n"
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
            f"{retry}connection: close\r\n\r\n{content}".encode()
        )
        self.transport.close()


def within(limits: Limits) -> type[Connection]:
    """Return the kind of connection that has these limits."""
    return type("Connection", (Connection,), {"limits": limits})
