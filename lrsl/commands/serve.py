"""Answer over HTTP with what `lrsl fit` has saved, or with a finished run, and show a page to try it.

lrsl serve my-reranker
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lrsl import stopping
from lrsl.commands.given import Help, add_backend
from lrsl.errors import InputError

HOST, PORT = "127.0.0.1", 8000
LONGEST = 3600  # of milliseconds, seconds and megabytes
EXTRA = ("fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client")
"""Packages that only this command needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it, and return the exit status."""
    typed = _parser().parse_args(arguments)
    with stopping.handled(_said):
        try:
            number = _serve(typed)
        except stopping.Stopped as stop:
            number = stop.number
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        return stopping.end(number) if number else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl serve",
        usage="lrsl serve RERANKER|RUN_FOLDER [flags]",
        description="Answer over HTTP, and show a page to try it: POST /rerank, /predict (a run's folder), /explain;\n"
        "GET /, /health, /metrics, /openapi.json. Only this machine can reach it unless --host says more.",
        epilog="example: lrsl serve my-reranker, then open http://127.0.0.1:8000",
        formatter_class=Help,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RERANKER|RUN_FOLDER", help="what lrsl fit has saved, or a finished run")
    add("--host", default=HOST, help=f"address to listen at ({HOST}); beyond it nobody is asked who they are")
    add("--port", type=int, default=PORT, help=f"port ({PORT}); 0 for any that is free")
    add_backend(parser)
    add("--max-rows", type=int, default=1000, metavar="ROWS", help="texts in a request (1000)")
    add("--max-mb", type=float, default=4.0, metavar="MB", help="size of a request's body (4)")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="until a request has its answer (30)")
    add("--batch-rows", type=int, default=64, metavar="ROWS", help="texts worked on together (64)")
    add("--wait-ms", type=float, default=2.0, metavar="MS", help="a request waits for others to join it (2)")
    add("--queue-rows", type=int, default=4000, metavar="ROWS", help="texts that may be waiting (4000)")
    return parser


def _serve(typed: argparse.Namespace) -> int:
    """Serve, and return the number of the signal that ended it."""
    if not 0 <= typed.port <= 65535:
        raise InputError(f"--port is {typed.port}; it must be 0 to 65535")
    for flag in ("max_rows", "batch_rows", "queue_rows"):
        if getattr(typed, flag) < 1:
            raise InputError(f"--{flag.replace('_', '-')} is {getattr(typed, flag)}; it must be at least 1")
    for flag, least in (("max_mb", 0.001), ("timeout", 0.001), ("wait_ms", 0.0)):
        if not least <= getattr(typed, flag) <= LONGEST:
            raise InputError(
                f"--{flag.replace('_', '-')} is {getattr(typed, flag):g}; it must be {least:g} to {LONGEST:,}"
            )
    if not typed.folder.is_dir():
        raise InputError(f"{typed.folder} is no folder; name one that lrsl fit has saved, or a finished run's")
    try:
        from lrsl.serving import running  # noqa: PLC0415  (with torch, which takes seconds)
        from lrsl.serving.limits import Limits  # noqa: PLC0415
        from lrsl.serving.served import load  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in EXTRA:
            raise
        raise InputError(
            "lrsl serve needs packages that are not installed; pip install 'lrsl[serve]' adds them"
        ) from None
    limits = Limits(
        rows=typed.max_rows,
        body_bytes=round(typed.max_mb * 2**20),
        seconds=typed.timeout,
        batch_rows=typed.batch_rows,
        wait_ms=typed.wait_ms,
        queue_rows=typed.queue_rows,
    )
    with running.listening(typed.host, typed.port) as listener:
        if not running.is_local(listener):
            print(
                f"warning: at --host {typed.host} whoever reaches this machine is answered, unencrypted and without "
                "being asked who they are; put a server in front that asks",
                file=sys.stderr,
            )
        served = load(typed.folder, typed.backend)
        what = f"a {'reranker' if served.classifier is None else 'classifier'} of {len(served.names)} labels"
        at = running.address(listener)
        server = running.Server(
            served,
            listener,
            typed.host,
            limits,
            lambda: print(f"serving {served.name}, {what}, at {at}; Ctrl-C ends it", flush=True),
        )
        server.serve_all()
    return server.number


def _said(number: int) -> str:
    return f"stopped by {signal.Signals(number).name}"
