"""Requests that come at the same time are worked on together, by one thread that alone uses the model.

A text's answer does not depend on which texts it shares a batch with: labels are the same, and scores to within the
rounding of the embedding's vectors.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger("lrsl.serving")

MOST_WARNINGS = 100
Do = Callable[[Sequence[str], "NDArray[np.float64] | None", "int | None"], Sequence[Any]]
"""Gives one result for each text, from texts, logits `(n, classes)` if there are any, and k."""


class QueueFullError(Exception):
    """So many texts are waiting that a request is not taken."""


class ClosedError(Exception):
    """The server is ending."""


@dataclass(frozen=True)
class Work:
    """A request.

    Attributes:
        do: what is asked for.
        texts: its texts.
        logits: `(n, classes)`; None where the classifier is asked for them.
        k: number of candidates.
        done: the result for each text, when there is one.
    """

    do: Do
    texts: list[str]
    logits: NDArray[np.float64] | None = None
    k: int | None = None
    done: Future[list[Any]] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What requests have in common that can be worked on together."""
        return self.do, self.k, self.logits is None


class Batcher:
    """A bounded queue of requests, and the thread that works on them.

    Args:
        batch_rows: texts that are worked on together; a request with more of them has a batch of its own.
        wait_ms: milliseconds that a request waits for others to join it.
        queue_rows: texts that may be waiting.

    Attributes:
        seen: is told the number of texts of each batch.
    """

    def __init__(self, batch_rows: int, wait_ms: float, queue_rows: int) -> None:
        self.batch_rows, self.wait, self.queue_rows = batch_rows, wait_ms / 1000, queue_rows
        self.seen: Callable[[int], None] = lambda rows: None
        self._waiting: deque[Work] = deque()
        self._rows = 0
        self._closed = False
        self._warned: set[str] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="lrsl model", daemon=True)

    @property
    def waiting_rows(self) -> int:
        """How many texts are waiting."""
        return self._rows

    @property
    def is_alive(self) -> bool:
        """Whether there is somebody to work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self, seconds: float = 1.0) -> None:
        """Take no more requests, drop those that wait, and give the one that is worked on some seconds."""
        with self._changed:
            self._closed = True
            left, self._rows = list(self._waiting), 0
            self._waiting.clear()
            self._changed.notify_all()
        for work in left:
            if work.done.set_running_or_notify_cancel():
                work.done.set_exception(ClosedError())
        if self.is_alive:
            self._thread.join(seconds)

    def put(self, work: Work) -> None:
        """Have a request worked on; its `done` says when, and may be cancelled until its turn comes.

        Raises:
            QueueFullError: too many texts are waiting.
            ClosedError: the server is ending.
        """
        rows = len(work.texts)
        with self._changed:
            if self._closed:
                raise ClosedError
            if self._waiting and self._rows + rows > self.queue_rows:
                self._drop_cancelled()
            if self._waiting and self._rows + rows > self.queue_rows:
                raise QueueFullError
            self._waiting.append(work)
            self._rows += rows
            self._changed.notify_all()

    def _drop_cancelled(self) -> None:
        kept = [work for work in self._waiting if not work.done.cancelled()]
        self._waiting = deque(kept)
        self._rows = sum(len(work.texts) for work in kept)

    def _run(self) -> None:
        while batch := self._next():
            wanted = [work for work in batch if work.done.set_running_or_notify_cancel()]
            for kind in dict.fromkeys(work.kind for work in wanted):
                self._work([work for work in wanted if work.kind == kind])

    def _next(self) -> list[Work]:
        """Return the requests of the next batch; none where there will be no more."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            until = time.monotonic() + self.wait
            while not self._closed and self._rows < self.batch_rows and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            batch: list[Work] = []
            rows = 0
            while self._waiting and (not batch or rows + len(self._waiting[0].texts) <= self.batch_rows):
                batch.append(self._waiting.popleft())
                rows += len(batch[-1].texts)
            self._rows -= rows
            return batch

    def _work(self, together: Sequence[Work]) -> None:
        """Work on requests of a kind; where that fails, on each alone, so that none fails for another's sake."""
        first, texts = together[0], [text for work in together for text in work.texts]
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = list(first.do(texts, None if first.logits is None else _joined(together), first.k))
            self._say_once([str(warning.message) for warning in caught])
            if len(found) != len(texts):
                raise RuntimeError(f"there are {len(found)} results for {len(texts)} texts")
        except Exception as error:  # of a model that is anybody's; the thread outlives it
            if len(together) > 1:
                for work in together:
                    self._work([work])
                return
            if not isinstance(error, ValueError):
                log.exception("a request of %d texts failed", len(texts))
            first.done.set_exception(error)
            return
        self.seen(len(texts))
        for work in together:
            work.done.set_result(found[: len(work.texts)])
            found = found[len(work.texts) :]

    def _say_once(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            kind = re.sub(r"\d[\d,]*", "n", sentence)
            if kind not in self._warned and len(self._warned) < MOST_WARNINGS:
                self._warned.add(kind)
                log.warning("%s", sentence)


def _joined(together: Sequence[Work]) -> NDArray[np.float64]:
    return np.concatenate([work.logits for work in together if work.logits is not None])
