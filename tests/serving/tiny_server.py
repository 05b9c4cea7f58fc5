"""A server in a thread, of a small reranker or a small classifier with one, and clients that speak HTTP by hand."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny import LABELS, WORDS, samples

from lrsl import RerankedFunction, Reranker
from lrsl.serving import running
from lrsl.serving.limits import Limits
from lrsl.serving.served import Served


def logits_of(texts: Sequence[str]) -> np.ndarray:
    """What a mediocre classifier says: it counts words of each label, and hears some wrong."""
    counts = [[sum(text.count(word) for word in WORDS[label][:4]) for label in LABELS] for text in texts]
    noise = [[(len(text) * (column + 2) % 7) / 7 for column in range(len(LABELS))] for text in texts]
    return 0.8 * np.array(counts, dtype=np.float64).reshape(-1, len(LABELS)) + np.array(noise).reshape(-1, len(LABELS))


def fitted(bert: Path, **settings: Any) -> RerankedFunction:
    """A small classifier with its reranker, which is on."""
    settings = {"names": [label.upper() for label in LABELS], "power": 12.0} | settings
    made = RerankedFunction(logits_of, Reranker(str(bert), LABELS, **settings))
    return made.fit(*samples(120, seed=1), columns="trusted")


@dataclass
class Client:
    """Asks a server."""

    port: int

    def ask(
        self, path: str, body: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Return status, content and headers; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {} if body is None else {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, content, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text, answer.headers

    def refused(self, path: str, body: Any, **headers: str) -> tuple[int, str]:
        """Return status and sentence of a refusal."""
        status, content, _ = self.ask(path, body, **headers)
        assert list(content) == ["error"]
        assert "\n" not in content["error"]
        assert "Traceback" not in content["error"]
        return status, content["error"]

    def raw(self) -> socket.socket:
        """Return a connection of its own."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def serving(served: Served, limits: Limits | None = None) -> Iterator[Client]:
    """Serve, and end."""
    ready = threading.Event()
    with running.listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = running.Server(served, listener, "127.0.0.1", limits or Limits(), ready.set)
        thread = threading.Thread(target=server.serve_all)
        thread.start()
        try:
            assert ready.wait(30)
            yield Client(port)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def resident() -> int:
    """Return the memory that this process has, in bytes; 0 where the system does not say."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0
