"""Stands before the application: reads bodies within the limits, refuses politely, and times what is answered."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lrsl.serving.limits import Limits, RequestError

log = logging.getLogger("lrsl.serving")

DRAIN_SECONDS = 2.0
"""How long what is left of a refused body is read, so that the client gets to see the answer."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")


class _GoneError(Exception):
    """The client has left before its request was whole."""


class Guard:
    """An application within limits.

    Args:
        app: what answers requests that are let through.
        limits: the limits.
        hosts: what a request may call this server; anything where None. A page from elsewhere whose name is made to
            point here has another (DNS rebinding).
        done: is told path, status and seconds of each request.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, hosts: Collection[str] | None, done: Callable[[str, int, float], None]
    ) -> None:
        self.app, self.limits, self.hosts, self.done = app, limits, hosts, done
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it in a sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, answer = time.monotonic(), _Answer(send)
        body = bytearray()
        try:
            _check_host(scope, self.hosts)
            if scope["method"] == "POST":
                await self._read(scope, receive, body)
                await self.app(scope, _again(bytes(body), receive), answer.send)
            else:
                await self.app(scope, receive, answer.send)
        except RequestError as refused:
            await answer.refuse(refused)
            await _drain(receive)
            await answer.end()
        except _GoneError:
            answer.status = 499  # as proxies note it: nobody is there to be answered
        except asyncio.CancelledError:
            if not answer.status:
                await answer.refuse(RequestError(503, "the server is ending", again=1))
                await answer.end()
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not answer.status:
                await answer.refuse(RequestError(500, "the server failed; its log says why"))
                await answer.end()
        finally:
            self._held -= len(body)
            self.done(scope["path"], answer.status, time.monotonic() - began)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        """Read a body, no more than a chunk beyond the limit of it."""
        headers = {name: value.decode("latin-1").strip().lower() for name, value in scope["headers"]}
        if headers.get(b"content-type", "").partition(";")[0].strip() != "application/json":
            raise RequestError(415, "the body is not said to be JSON; send it with Content-Type: application/json")
        if headers.get(b"content-encoding", "identity") != "identity":
            raise RequestError(415, "the body is compressed; send it as it is")
        most = self.limits.body_bytes
        too_large = RequestError(413, f"the body is larger than {most:,} bytes; send fewer texts at a time")
        length = headers.get(b"content-length", "0")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_large
        until = time.monotonic() + self.limits.body_seconds
        more = True
        while more:
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0))
            except asyncio.TimeoutError:
                seconds = f"{self.limits.body_seconds:g} seconds"
                raise RequestError(408, f"the body was not there within {seconds}; send it anew") from None
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > most:
                raise too_large
            if self._held + len(chunk) > self.limits.held_bytes:
                raise RequestError(503, "the server is reading all it can hold; try again in a moment", again=1)
            body += chunk
            self._held += len(chunk)


class _Answer:
    """What is being answered.

    Attributes:
        status: HTTP's; 0 before there is one.
    """

    def __init__(self, send: Send) -> None:
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the application's answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await self._send(message)

    async def refuse(self, refused: RequestError) -> None:
        """Send a refusal, but for its end."""
        content = json.dumps({"error": refused.sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        headers += [(b"connection", b"close")]
        headers += [] if refused.again is None else [(b"retry-after", str(refused.again).encode())]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self) -> None:
        """Send the end, after which the connection is closed."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _check_host(scope: Scope, hosts: Collection[str] | None) -> None:
    if hosts is None:
        return
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    match = _HOST.fullmatch(given)
    if match is None or match[1].lower() not in hosts:
        raise RequestError(421, f"this server goes by {', '.join(sorted(hosts))} only; ask for it by one of these")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that has been read, and then what else there is."""
    left = [body]

    async def from_the_start() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return from_the_start


async def _drain(receive: Receive) -> None:
    """Read what a client still sends and drop it, for a while: closed at once, it might never see the answer."""

    async def until_the_end() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(until_the_end(), DRAIN_SECONDS)
