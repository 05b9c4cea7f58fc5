"""`lrsl serve` as it is typed: what it refuses to start with, and how it ends."""

import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

from lrsl import Reranker
from lrsl.commands import completion, given
from lrsl.commands.serve import main as serve
from lrsl.nn.onnx import BACKENDS

ROOT = Path(__file__).parents[2]
HERE = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def saved(tiny_bert, tmp_path_factory):
    texts, labels = tiny.samples(90, 1)
    logits = [
        [2.0 * (label == column) + len(text) % (column + 2) for column in range(4)]
        for text, label in zip(texts, labels, strict=True)
    ]
    folder = tmp_path_factory.mktemp("saved") / "my-reranker"
    Reranker(str(tiny_bert), tiny.LABELS).fit(logits, labels, texts, columns="trusted").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_says_where_it_is_and_ends_when_told_to(warm, saved, number, status):
    done = warm(
        "-m", "lrsl", "serve", str(saved), "--port", "0", cwd=saved.parent, env=HERE, stop=(number, "Ctrl-C ends it")
    )
    assert re.fullmatch(
        r"serving my-reranker, a reranker of 4 labels, at http://127\.0\.0\.1:\d+; Ctrl-C ends it\n", done.stdout
    )
    assert done.stderr.splitlines()[-1] == f"stopped by {signal.Signals(number).name}"
    assert "Traceback" not in done.stderr
    assert done.returncode == status


def test_told_to_end_while_it_loads(warm, saved):
    done = warm(
        "-m", "lrsl", "serve", str(saved), "--port", "0", cwd=saved.parent, env=HERE, stop=(signal.SIGTERM, 0.5)
    )
    assert (done.returncode, "Traceback" in done.stderr) == (143, False), done.stderr


def test_open_connections_do_not_keep_it(warm, saved, tmp_path):
    port = free_port()
    held = []

    def hold():
        until = time.monotonic() + 60
        while not held and time.monotonic() < until:
            try:
                held.append(socket.create_connection(("127.0.0.1", port), timeout=30))
            except OSError:
                time.sleep(0.05)
        held.append(socket.create_connection(("127.0.0.1", port), timeout=30))  # it sends nothing
        head = (
            b"POST /rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        held[0].sendall(head)  # it never sends the rest

    holding = threading.Thread(target=hold)
    holding.start()
    command = ["-m", "lrsl", "serve", str(saved), "--port", str(port)]
    done = warm(*command, cwd=tmp_path, env=HERE, stop=(signal.SIGTERM, "Ctrl-C"))
    holding.join(60)
    assert len(held) == 2
    assert (done.returncode, done.stderr) == (143, "stopped by SIGTERM\n")
    for connection in held:
        connection.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_that_is_taken_is_one_sentence(saved, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve([str(saved), "--port", str(port)]) == 1
    assert (
        capsys.readouterr().err
        == f"port {port} of 127.0.0.1 is taken; name another with --port, or 0 for any that is free\n"
    )


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "holds neither a reranker"),
        ([".", "--port", "70000"], "--port is 70000"),
        ([".", "--host", "203.0.113.77"], "no address of this machine"),
        ([".", "--max-rows", "0"], "--max-rows is 0; it must be at least 1"),
        ([".", "--timeout", "nan"], "--timeout is nan"),
        ([".", "--max-mb", "0"], "--max-mb is 0"),
    ],
)
def test_what_it_cannot_start_with_is_one_sentence(typed, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = typed if "--port" in typed else [*typed, "--port", "0"]
    assert serve(typed) == 1
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1


def test_beyond_this_machine_it_warns(tmp_path, capsys):
    assert serve([str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 1  # the folder is empty
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: at --host 0.0.0.0 whoever reaches this machine is answered")


def test_without_its_packages_it_says_what_to_install(saved, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lrsl.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("lrsl.serving", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert serve([str(saved)]) == 1
    printed = capsys.readouterr().err
    assert printed == "lrsl serve needs packages that are not installed; pip install 'lrsl[serve]' adds them\n"


def test_nothing_else_loads_them(warm, tmp_path):
    program = (
        "import sys; import lrsl.commands.main, lrsl.commands.serve, lrsl.commands.rerank, lrsl.run\n"
        "from lrsl import Reranker, RerankedFunction\n"
        "print([name for name in ('fastapi', 'starlette', 'uvicorn', 'prometheus_client') if name in sys.modules])"
    )
    done = warm("-c", program, cwd=tmp_path, env=HERE)
    assert done.stdout == "[]\n", done.stderr


def test_its_flags_are_completed():
    assert completion.words(["serve", "--ma"]) == ["--max-mb", "--max-rows"]
    assert "serve" in completion.words(["s"])
    assert completion.words(["serve", "mine", "--backend", ""]) == ["onnx", "onnx-int8", "torch"]


def test_a_backend_reaches_the_reranker(saved, monkeypatch):
    asked = []
    monkeypatch.setattr(Reranker, "from_pretrained", lambda folder, **more: asked.append(more) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        serve([str(saved), "--port", "0", "--backend", "onnx-int8"])
    assert asked == [{"backend": "onnx-int8"}]


def test_backends_are_those_of_the_reranker():
    assert given.BACKENDS == BACKENDS
