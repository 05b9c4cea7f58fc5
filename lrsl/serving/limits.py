"""What one client may take of the server, and how long."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lrsl.errors import InputError


@dataclass(frozen=True)
class Limits:
    """The bounds of requests, batches and connections.

    Attributes:
        rows: texts in a request.
        characters: of a text.
        body_bytes: of a request's body.
        held_bytes: of all bodies that are being read or worked on.
        head_seconds: until the head of a request is there.
        body_seconds: until its body is.
        seconds: until it is answered, from then on.
        batch_rows: texts that are worked on together.
        wait_ms: milliseconds that a request waits for others to join it.
        queue_rows: texts that may be waiting.
        connections: that may be open at once.
    """

    rows: int = 1000
    characters: int = 20_000
    body_bytes: int = 4 * 2**20
    held_bytes: int = 64 * 2**20
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    seconds: float = 30.0
    batch_rows: int = 64
    wait_ms: float = 2.0
    queue_rows: int = 4000
    connections: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "wait_ms" else 1
            if not (value >= least or (field.name.endswith("seconds") and value > 0)):
                raise InputError(f"{field.name} is {value}; it must be at least {least}")


class RequestError(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP's number for the reason.
        sentence: the reason.
        again: seconds after which the same request may be answered; None where it never will.
    """

    def __init__(self, status: int, sentence: str, again: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.again = again
