"""Commands typed in processes of their own, without the ten seconds that a new one takes for its imports."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

SERVER = Path(__file__).with_name("warm_start.py")


class Typed(Protocol):
    """Runs the words after `python` in a folder, to their end.

    With `stop` a signal is sent, after a number of seconds or when the output holds a text.
    """

    def __call__(
        self,
        *words: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stop: tuple[int, float | str] | None = None,
    ) -> "subprocess.CompletedProcess[str]": ...


@contextmanager
def warm() -> Iterator[Typed]:
    """Give a function that runs a command in a fork of a process that has imported the libraries.

    The process is started when the first command is typed, and ends with its input. `OMP_NUM_THREADS` and what else the
    libraries read while they are imported are those of the session.
    """
    servers: list[subprocess.Popen[str]] = []

    def typed(
        *words: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stop: tuple[int, float | str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        if not servers:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            servers.append(subprocess.Popen([sys.executable, str(SERVER)], **pipes))
        (server,) = servers
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            asked = {"words": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env), "stop": stop}
            print(json.dumps(asked | {"stdout": out.name, "stderr": err.name}), file=server.stdin, flush=True)
            answer = server.stdout.readline()
            assert answer, f"{SERVER.name} has ended"
            return subprocess.CompletedProcess(words, int(answer), out.read(), err.read())

    yield typed
    for server in servers:
        server.stdin.close()
        server.stdout.close()
        server.wait()
