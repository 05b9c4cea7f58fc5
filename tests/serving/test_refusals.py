"""What is malformed, too large, too slow or half closed is refused in a sentence, and nothing piles up."""

import contextlib
import json
import random
import re
import socket
import threading
import time
from pathlib import Path

import pytest
import tiny_server
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS
from tiny_server import resident, serving

from lrsl.serving import bodies, connection
from lrsl.serving.limits import Limits, RequestError
from lrsl.serving.served import Served

LIMITS = Limits(
    rows=20, characters=500, body_bytes=20_000, head_seconds=1.0, body_seconds=1.0, seconds=20.0, connections=30
)
HEAD = "POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
GOOD = b'{"texts": ["card1"], "logits": [[2, 1, 0, -1]]}'


@pytest.fixture(scope="module")
def client(tiny_bert):
    with serving(Served("mine", tiny_server.fitted(tiny_bert).reranker), LIMITS) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[" * 5000 + b"]" * 5000, 400, "deep"),
        (b'{"texts": ["a"], "logits": [[NaN, 1, 2, 3]]}', 400, "NaN"),
        (b'{"texts": ["a"], "logits": [[Infinity, 1, 2, 3]]}', 400, "Infinity"),
        (b'{"texts": ["a"], "logits": [[1e999, 1, 2, 3]]}', 422, "finite"),
        (b'{"texts": ["a"], "logits": [[' + b"1" * 350 + b", 1, 2, 3]]}", 422, "too large"),
        (b'{"texts": ["a"], "logits": [[' + b"1" * 5000 + b", 1, 2, 3]]}", 400, "digits"),
        (b'{"texts": ["a"], "texts": ["b"]}', 400, "twice"),
        (b'{"texts": ["\\ud83d"], "logits": [[1, 2, 3, -4]]}', 422, "half a character"),
        (b"null", 422, "object"),
        (b'["a"]', 422, "object"),
        (b"{}", 422, "texts are missing"),
        (b'{"texts": ["a"]}', 422, "logits are missing"),
        (b'{"texts": ["a"], "logits": null}', 422, "list"),
        (b'{"texts": "a", "logits": [[1, 2, 3, -4]]}', 422, "list"),
        (b'{"texts": {"a": 1}, "logits": [[1, 2, 3, -4]]}', 422, "list"),
        (b'{"texts": [1], "logits": [[1, 2, 3, -4]]}', 422, "texts[0] is 1"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3]]}', 422, "3 values"),
        (b'{"texts": ["a"], "logits": [1, 2, 3, -4]}', 422, "logits[0] is 1"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, [4]]]}', 422, "logits[0][3]"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, true]]}', 422, "logits[0][3] is true"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, "4"]]}', 422, "must be a number"),
        (b'{"texts": ["a"], "logits": [{"CARD": 1}]}', 422, "lacks 3 of the 4"),
        (b'{"texts": ["a"], "logits": [{"CARDS": 1}]}', 422, "did you mean 'CARD'"),
        (b'{"texts": ["a", "b"], "logits": [[1, 2, 3, -4]]}', 422, "1 and texts of 2"),
        (b'{"texts": ["a"], "logits": [[0.1, 0.2, 0.3, 0.4]]}', 422, "probabilities"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, -4]], "k": 0}', 422, "1 to 4"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, -4]], "k": 9}', 422, "1 to 4"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, -4]], "k": true}', 422, "k is true"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, -4]], "K": 1}', 422, "'K' is no key"),
        (b'{"texts": ["a"], "logits": [[1, 2, 3, -4]], "\\u001b[31m": 1}', 422, "no key"),
        (json.dumps({"texts": ["a"] * 21, "logits": []}).encode(), 413, "at most 20"),
        (json.dumps({"texts": ["a" * 501], "logits": [[1, 2, 3, -4]]}).encode(), 413, "501 characters"),
    ],
)
def test_malformed_bodies_are_refused_in_a_sentence(client, body, status, says):
    found, sentence = client.refused("/rerank", body)
    assert (found, says in sentence) == (status, True), sentence
    assert "\x1b" not in sentence
    assert client.refused("/explain", body)[0] == status


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["texts", "logits", "k", "x"]), inner),
    max_leaves=12,
)


@given(json_values | st.fixed_dictionaries({"texts": json_values, "logits": json_values}, optional={"k": json_values}))
def test_any_json_is_taken_or_refused(value):
    refused = None
    try:
        asked = bodies.asked(json.dumps(value).encode("utf-8", "surrogatepass"), LABELS, LIMITS, takes=True, needs=True)
        assert asked.logits.shape == (len(asked.texts), len(LABELS))
    except RequestError as error:
        refused = error
    if refused is not None:
        assert refused.status in (400, 413, 422)
        assert "\n" not in refused.sentence
        refused.sentence.encode()


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(content):
    with pytest.raises(RequestError):
        bodies.asked(content, LABELS, LIMITS, takes=True, needs=True)


def test_what_is_not_said_to_be_json_is_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert client.refused("/rerank", GOOD, Content_Type=kind)[0] == 415
    assert client.refused("/rerank", GOOD, Content_Encoding="gzip")[0] == 415
    assert client.ask("/rerank", GOOD, Content_Type="application/json; charset=utf-8")[0] == 200


def test_other_paths_and_methods(client):
    assert client.refused("/nowhere", None)[0] == 404
    assert client.refused("/nowhere", GOOD)[0] == 404
    assert client.refused("/rerank", None)[0] == 405
    for method in ("OPTIONS", "PUT", "DELETE"):
        status, _, headers = client.ask("/rerank", None, method=method, Origin="https://elsewhere.example")
        assert status == 405
        assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "", "localhost:80:80", "[::1]x"])
def test_a_name_that_is_made_to_point_here_is_refused(client, host):
    status, sentence = client.refused("/health", None, Host=host)
    assert status == 421
    assert "localhost" in sentence


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_its_own_names_are_taken(client, host):
    assert client.ask("/health", Host=host)[0] == 200


# larger, slower, and half closed


def answered(connection, seconds=15.0):
    """Return all that comes until the server closes."""
    connection.settimeout(seconds)
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found.decode()


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(client):
    with client.raw() as connection:
        connection.sendall(f"{HEAD}Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n".encode())
        text = answered(connection)
    assert text.startswith("HTTP/1.1 413 ")  # and not 100
    assert "connection: close" in text.lower()


@pytest.mark.parametrize("declared", [True, False], ids=["with its length", "in chunks"])
def test_a_body_that_is_too_large_is_read_no_further(client, declared):
    size, piece = 64 * 2**20, b"x" * 2**16
    before = resident()
    with client.raw() as connection:
        length = f"Content-Length: {size}" if declared else "Transfer-Encoding: chunked"
        connection.sendall(f"{HEAD}{length}\r\n\r\n".encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(16):
                connection.sendall(piece if declared else b"%x\r\n%b\r\n" % (len(piece), piece))
        text = answered(connection)
    assert text.startswith("HTTP/1.1 413 "), text
    assert json.loads(text.partition("\r\n\r\n")[2])["error"].startswith("the body is larger than 20,000 bytes")
    assert resident() - before < size / 2
    assert client.ask("/rerank", GOOD)[0] == 200


def test_who_sends_too_much_without_looking_gets_to_see_why(client):
    assert client.refused("/rerank", b"x" * 8 * 2**20)[0] == 413


@pytest.mark.parametrize("seed", range(3))
def test_bytes_at_random_break_nothing(client, seed, caplog):
    rng = random.Random(seed)
    whole = HEAD.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
    for _ in range(40):
        content = bytearray(whole * 2)
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        with client.raw() as connection, contextlib.suppress(OSError):
            connection.sendall(content[: rng.randrange(len(content))])
            connection.shutdown(socket.SHUT_WR)
            assert " 500 " not in answered(connection)
    assert client.ask("/rerank", GOOD)[0] == 200
    assert caplog.text == ""


def test_a_body_in_chunks_is_taken(client):
    with client.raw() as connection:
        pieces = b"".join(b"%x\r\n%b\r\n" % (1, GOOD[at : at + 1]) for at in range(len(GOOD)))
        connection.sendall(
            f"{HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + pieces + b"0\r\n\r\n"
        )
        assert answered(connection).startswith("HTTP/1.1 200 ")


def test_a_slow_body_is_given_up(client):
    with client.raw() as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(GOOD)}\r\n\r\n".encode())
        began = time.monotonic()
        sending = threading.Thread(target=drip, args=(connection, GOOD, 0.2))
        sending.start()
        text = answered(connection)
        assert time.monotonic() - began < 10
        sending.join()
    assert text.startswith("HTTP/1.1 408 ")
    assert "1 seconds" in text


def drip(connection, content, pause):
    """Send a byte at a time."""
    with contextlib.suppress(OSError):
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(pause)


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
def test_slow_heads_are_given_up(client, first):
    with client.raw() as connection:
        if first:
            connection.sendall(first)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        sending = threading.Thread(target=drip, args=(connection, HEAD.encode(), 0.2))
        began = time.monotonic()
        sending.start()
        text = answered(connection)
        assert time.monotonic() - began < 10
        sending.join()
    assert "HTTP/1.1 408 " in text


def test_an_endless_head_is_refused(client):
    with client.raw() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert answered(connection).startswith(("HTTP/1.1 400 ", ""))
    assert client.ask("/health")[0] == 200


def test_what_is_no_http_is_refused(client):
    with client.raw() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        text = answered(connection)
    assert text.startswith("HTTP/1.1 400 ")
    assert json.loads(text.partition("\r\n\r\n")[2]) == {"error": "what was sent is no HTTP request that is read"}


def open_sockets():
    """How many connections this process holds, its clients' included."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(link.readlink()).startswith("socket:")
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_half_closed_and_idle_connections_do_not_pile_up(client):
    before = open_sockets()
    starts = [b"", b"GET /hea", HEAD.encode() + b"Content-Length: 50\r\n\r\n{"]
    for number in range(15):
        connection = client.raw()
        connection.sendall(starts[number % 3])
        connection.shutdown(socket.SHUT_WR)
        connection.close()
    idle = [client.raw() for _ in range(5)]
    until = time.monotonic() + 15
    for connection in idle:
        assert answered(connection).startswith("HTTP/1.1 408 ")
        connection.close()
    while open_sockets() > before:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.ask("/health")[0] == 200


def test_a_half_closed_connection_is_closed(client):
    with client.raw() as connection:
        connection.sendall(HEAD.encode() + b"Content-Length: 50\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        assert answered(connection) == ""
        assert time.monotonic() - began < 0.9  # no time runs out first


def test_a_connection_too_many_is_told_so(client):
    held = []
    try:
        for _ in range(LIMITS.connections):
            held.append(client.raw())
        with client.raw() as connection:
            text = answered(connection)
        assert text.startswith("HTTP/1.1 503 ")
        assert re.search(r"retry-after: \d", text)
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.3)
    assert client.ask("/health")[0] == 200


def test_pipelined_requests_are_answered_in_turn(client):
    with client.raw() as connection:
        one = HEAD.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
        connection.sendall(one + one + one.replace(b"Host", b"Connection: close\r\nHost"))
        assert answered(connection).count("HTTP/1.1 200 ") == 3


def test_more_than_can_be_held_is_refused(tiny_bert):
    few = Limits(held_bytes=60, body_seconds=5.0)
    with serving(Served("mine", tiny_server.fitted(tiny_bert).reranker), few) as client:
        with client.raw() as connection:
            connection.sendall(f"{HEAD}Content-Length: 50\r\n\r\n".encode() + b"{" * 49)
            time.sleep(0.3)
            status, _, headers = client.ask("/rerank", GOOD)
            assert (status, headers["Retry-After"]) == (503, "1")
        time.sleep(0.3)
        assert client.ask("/rerank", GOOD)[0] == 200


def test_who_does_not_take_the_answer_is_cut_off(tiny_bert, monkeypatch):
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.5)
    body = json.dumps({"texts": ["a" * 20_000] * 500}).encode()  # comes back, and more than systems keep for a client
    large = Limits(body_bytes=len(body), seconds=60.0)
    with serving(Served.whole("mine", tiny_server.fitted(tiny_bert)), large) as client, socket.socket() as reader:
        before = open_sockets()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", client.port))
        head = HEAD.replace("/rerank", "/explain") + f"Content-Length: {len(body)}\r\n\r\n"
        reader.sendall(head.encode() + body)
        reader.settimeout(60)
        assert reader.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + 20
        while open_sockets() > before:
            assert time.monotonic() < until
            time.sleep(0.05)
        with contextlib.suppress(ConnectionResetError):
            while part := reader.recv(65536):
                assert len(part) < len(body)
        assert client.ask("/health")[0] == 200


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"seconds": 0}, {"wait_ms": -1}, {"seconds": float("nan")}])
def test_limits_that_let_nothing_through_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least"):
        Limits(**wrong)
