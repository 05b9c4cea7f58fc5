"""Hard rows handed on: these and no others, and what comes back is a label or nothing."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import Endpoint
from lrsl.reranking import server
from lrsl.reranking.on_hard.defer import deferred

NAMES = ["card", "cash", "loan", "rate"]
KEY = "not-a-real-key"


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 6), st.sampled_from([1, 3]))
def test_hard_rows_alone_are_handed_on(hard, k, parallel):
    n = len(hard)
    scores = torch.rand(n, 4, generator=torch.Generator().manual_seed(n))
    texts = [f"text {row}" for row in range(n)]
    asked = {}

    class Answering:
        def __call__(self, text, candidates, given):
            asked[text] = candidates, given
            return None if len(text) > 6 else candidates[-1]

    answering = Answering()
    answering.parallel = parallel
    labels = scores.argmax(-1)
    made = deferred(answering, labels, torch.tensor(hard, dtype=torch.bool), scores, texts=texts, names=NAMES, k=k)
    assert set(asked) == {text for text, is_hard in zip(texts, hard, strict=True) if is_hard}
    for row, text in enumerate(texts):
        if not hard[row]:
            assert made[row] == labels[row]
            continue
        order = scores[row].argsort(descending=True)[:k]
        assert asked[text][0] == [NAMES[label] for label in order]
        assert asked[text][1] == scores[row][order].tolist()
        assert made[row] == (-1 if row > 9 else order[-1])


@pytest.mark.parametrize("answer", ["crad", 2])
def test_what_is_no_label_is_refused(answer):
    with pytest.raises(ValueError, match=r"it must be the name of a label, such as 'card', or None"):
        deferred(
            lambda *_: answer, torch.tensor([0]), torch.tensor([True]), torch.rand(1, 4), texts=["x"], names=NAMES, k=2
        )


@pytest.fixture
def endpoint(monkeypatch):
    """A server on this machine, the answers it is to give, and what it was asked."""
    answers, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((body, self.headers.get("Authorization")))
            status, content = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *args):
            """Say nothing."""

    monkeypatch.setattr(server, "BACKOFF", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/answer", answers, asked
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_server_is_asked_again_after_a_passing_fault_and_answers(endpoint, monkeypatch):
    url, answers, asked = endpoint
    monkeypatch.setenv("DEFER_API_KEY", KEY)
    answers += [(503, {}), (200, {"label": "loan"}), (200, {"label": None})]
    ask = Endpoint(url)
    assert ask("a text", ("cash", "loan"), (0.4, 0.3)) == "loan"
    assert ask("a text", ("cash",), (0.4,)) is None
    assert asked[1] == ({"text": "a text", "candidates": ["cash", "loan"], "scores": [0.4, 0.3]}, f"Bearer {KEY}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"answer": "loan"}), r"did not answer \{\"label\": …\} with a label or null"),
        ((200, ["loan"]), r"did not answer"),
        ((401, {"error": "who are you"}), r"refuses a text: 401 who are you; the key is read from DEFER_API_KEY"),
        ((500, {}), r"did not answer in 1 attempts: 500"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_the_key(endpoint, monkeypatch, caplog, answer, message):
    url, answers, _ = endpoint
    monkeypatch.setenv("DEFER_API_KEY", KEY)
    answers.append(answer)
    with pytest.raises(RuntimeError, match=message) as caught:
        Endpoint(url, retries=0)("a text", ("cash",), (0.4,))
    assert KEY not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://here"}, r"url is ftp://here; it must begin with https:// or http://"),
        ({"url": f"https://me:{KEY}@here/x"}, r"the url of here has more than a path"),
        ({"url": f"https://here/x?key={KEY}"}, r"the url of here has more than a path"),
        ({"url": "https://here", "api_key_env": "PASSWORD"}, r"it must be a name that ends in _API_KEY"),
        ({"url": "https://here", "timeout": 0}, r"timeout is 0; it must be above 0"),
        ({"url": "https://here", "parallel": 0}, r"parallel is 0; it must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused_and_never_shown_with_a_key(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint(**settings)
    assert KEY not in str(caught.value)
