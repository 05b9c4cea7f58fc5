"""What is asked over HTTP is answered as without a server, by whatever and however many ask at once."""

import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import tiny_server
from tiny import LABELS, samples
from tiny_server import logits_of, resident, serving

from lrsl.serving import schema
from lrsl.serving.bodies import explanation
from lrsl.serving.limits import Limits
from lrsl.serving.served import Served, load

NAMES = [label.upper() for label in LABELS]
CLOSE = 1e-6
"""How far scores may be from those that are computed without company; labels and hardness are the same."""


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    return tiny_server.fitted(tiny_bert)


@pytest.fixture(scope="module")
def whole(fitted):
    with serving(Served.whole("mine", fitted)) as client:
        yield client


@pytest.fixture(scope="module")
def bare(fitted):
    with serving(Served("mine", fitted.reranker)) as client:
        yield client


def same(found, expected):
    """Compare an answer as it came with what `Reranker.answers` returns."""
    assert (found["answer"], found["hard"]) == (expected.name, expected.hard)
    by_label = {one["label"]: one for one in found["candidates"]}
    assert set(by_label) == {one.name for one in expected.candidates}
    for one in expected.candidates:
        assert by_label[one.name]["before"] == pytest.approx(one.before, abs=CLOSE)
        assert by_label[one.name]["after"] == pytest.approx(one.after, abs=CLOSE)


def test_answers_are_those_of_the_class(whole, bare, fitted):
    texts, _ = samples(80, seed=5)
    logits, expected = logits_of(texts), fitted.answers(texts)
    changed = [answer.name != NAMES[row.argmax()] for answer, row in zip(expected, logits, strict=True)]
    assert 0 < sum(changed) < 40
    assert 0 < sum(answer.hard for answer in expected) < 80
    by_label = [dict(zip(NAMES, row, strict=True)) for row in logits.tolist()]
    asked = [
        (whole, "/predict", {"texts": texts}),
        (whole, "/rerank", {"texts": texts, "logits": logits.tolist()}),
        (bare, "/rerank", {"texts": texts, "logits": by_label}),
    ]
    for client, path, body in asked:
        status, content, _ = client.ask(path, body)
        assert status == 200
        for found, answer in zip(schema.Answers.model_validate(content).model_dump()["answers"], expected, strict=True):
            same(found, answer)
    assert [len(one["candidates"]) for one in whole.ask("/predict", {"texts": texts, "k": 1})[1]["answers"]] == [
        len(answer.candidates) for answer in fitted.answers(texts, k=1)
    ]
    assert whole.ask("/predict", {"texts": []})[:2] == (200, {"answers": []})


def test_explanations_are_those_of_the_class(whole, bare, fitted):
    texts, _ = samples(12, seed=6)
    logits, expected = logits_of(texts), fitted.explain(texts, k=2)
    asked = [(whole, {}), (whole, {"logits": logits.tolist()}), (bare, {"logits": logits.tolist()})]
    for client, more in asked:
        status, content, _ = client.ask("/explain", {"texts": texts, "k": 2} | more)
        assert status == 200
        schema.Explanations.model_validate(content)
        for found, one in zip(content["explanations"], expected, strict=True):
            assert (found["text"], found["answer"], found["hard"]) == (one.text, one.answer, one.hard)
            assert found["hardness"] == pytest.approx(one.hardness, abs=CLOSE)
            assert found["threshold"] == one.threshold
            assert found["reranked"] == one.hard
            for number, (given, candidate) in enumerate(zip(found["candidates"], one.candidates, strict=True)):
                assert given["label"] == candidate.name
                scores = {name: values[number] for name, values in one.views.items()}
                assert given["views"] == pytest.approx(scores, abs=CLOSE)


def test_health_says_what_is_served(whole, bare, fitted):
    status, content, headers = whole.ask("/health")
    assert status == 200
    schema.Health.model_validate(content)
    assert content["labels"] == NAMES
    assert (content["serves"], bare.ask("/health")[1]["serves"]) == ("classifier", "reranker")
    assert content["verdict"] == fitted.reranker.report_["verdict"]["reason"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_openapi_describes_what_there_is(whole, bare):
    described = whole.ask("/openapi.json")[1]
    assert set(described["paths"]) == {"/rerank", "/predict", "/explain", "/health", "/metrics"}
    assert set(bare.ask("/openapi.json")[1]["paths"]) == set(described["paths"]) - {"/predict"}
    for path, operations in described["paths"].items():
        (operation,) = operations.values()
        assert operation["description"]
        if path.startswith(("/health", "/metrics")):
            continue
        schema_of_body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert all("description" in one for one in schema_of_body["properties"].values())
        assert {"200", "413", "422", "503", "504"} <= set(operation["responses"])
    assert "required" in described["components"]["schemas"]["Answer"]
    assert bare.ask("/docs")[0] == 404


def test_what_is_counted(fitted):
    with serving(Served.whole("mine", fitted)) as client:
        texts, _ = samples(50, seed=8)
        expected = fitted.answers(texts)
        client.ask("/predict", {"texts": texts})
        client.ask("/predict", {"text": texts})
        client.ask("/made/up")
        status, text, headers = client.ask("/metrics")
    assert status == 200
    assert headers.get_content_type() == "text/plain"
    counted = dict(re.findall(r"^(\S+) (\S+)$", text, flags=re.MULTILINE))
    number = {name: float(value) for name, value in counted.items()}
    changed = sum(answer.name != NAMES[row.argmax()] for answer, row in zip(expected, logits_of(texts), strict=True))
    assert number["lrsl_rows_total"] == 50
    assert number["lrsl_hard_rows_total"] == sum(answer.hard for answer in expected)
    assert number["lrsl_changed_answers_total"] == changed
    assert number['lrsl_requests_total{endpoint="/predict",status="200"}'] == 1
    assert number['lrsl_requests_total{endpoint="/predict",status="422"}'] == 1
    assert number['lrsl_requests_total{endpoint="other",status="404"}'] == 1
    assert number['lrsl_request_seconds_count{endpoint="/predict"}'] == 2
    assert (number["lrsl_batch_rows_count"], number["lrsl_batch_rows_sum"]) == (1, 50)
    assert number["lrsl_queue_rows"] == 0


def test_a_bare_reranker_says_that_it_predicts_nothing(bare):
    status, sentence = bare.refused("/predict", {"texts": ["a"]})
    assert status == 404
    assert "/rerank" in sentence


def test_no_answer_is_null_and_sets_are_there(tiny_bert):
    pytest.importorskip("crepes")
    texts, _ = samples(40, seed=9)
    for action in ("abstain", "set"):
        made = tiny_server.fitted(tiny_bert, on_hard=action)
        with serving(Served.whole("mine", made)) as client:
            found = schema.Answers.model_validate(client.ask("/predict", {"texts": texts})[1]).answers
        expected = made.answers(texts)
        assert [one.answer for one in found] == [answer.name for answer in expected]
        assert [one.labels for one in found] == [answer.names for answer in expected]
        assert None in [one.answer for one in found]


def test_a_saved_reranker_is_told_from_anything_else(fitted, tmp_path):
    fitted.reranker.save_pretrained(tmp_path / "saved")
    served = load(tmp_path / "saved")
    assert (served.name, served.classifier, served.names) == ("saved", None, NAMES)
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(ValueError, match=f"{folder} "):
            load(tmp_path / folder)


def test_a_run_is_reopened(fitted, tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load(tmp_path)
    monkeypatch.setattr("lrsl.run.reopened.reopen", lambda folder, *, backend: fitted)
    assert load(tmp_path).classifier is fitted


# many at once


def ask_for(seconds, client, texts, expected, workers):
    """Have clients ask one after the other for some seconds; return how long each request took, in seconds."""
    until = time.monotonic() + seconds

    def one(seed):
        rng, taken = random.Random(seed), []
        while time.monotonic() < until:
            rows = rng.sample(range(len(texts)), rng.choice([1, 1, 1, 2, 5, 17]))
            began = time.monotonic()
            status, content, _ = client.ask("/predict", {"texts": [texts[row] for row in rows]})
            taken.append(time.monotonic() - began)
            assert status == 200, content
            for row, found in zip(rows, content["answers"], strict=True):
                same(found, expected[row])
        return taken

    with ThreadPoolExecutor(workers) as pool:
        return [seconds for taken in pool.map(one, range(workers)) for seconds in taken]


def test_company_changes_no_answer(whole, fitted):
    texts, _ = samples(200, seed=7)
    asked = ask_for(3, whole, texts, fitted.answers(texts), workers=16)
    assert len(asked) > 50
    counted = whole.ask("/metrics")[1]
    batches, rows = (
        float(re.search(rf"^lrsl_batch_rows_{what} (\S+)$", counted, re.M)[1]) for what in ("count", "sum")
    )
    assert rows / batches > 6  # there was company: requests have 4.5 texts on average


@pytest.mark.skipif(not resident(), reason="needs /proc")
@pytest.mark.timeout(300)
def test_a_minute_of_load_leaves_memory_flat(fitted, capsys):
    texts, _ = samples(400, seed=11)
    expected = fitted.answers(texts)
    with serving(Served.whole("mine", fitted)) as client:
        ask_for(10, client, texts, expected, workers=16)
        before = resident()
        asked = sorted(ask_for(60, client, texts, expected, workers=16))
        grown = resident() - before
    median, slow = (1000 * asked[int(share * len(asked))] for share in (0.5, 0.99))
    with capsys.disabled():
        print(
            f"\n{len(asked) / 60:.0f} requests/s, p50 {median:.0f} ms, p99 {slow:.0f} ms; "
            f"memory {before / 2**20:.0f} MB, grown by {grown / 2**20:.1f} MB"
        )
    assert grown < 16 * 2**20


def test_requests_of_different_kinds_are_kept_apart(whole, fitted):
    texts, _ = samples(24, seed=12)
    logits, answers, explained = logits_of(texts), fitted.answers(texts), fitted.explain(texts, k=2)

    def one(row):
        text = [texts[row]]
        match row % 3:
            case 0:
                (found,) = whole.ask("/predict", {"texts": text})[1]["answers"]
            case 1:
                (found,) = whole.ask("/rerank", {"texts": text, "logits": logits[[row]].tolist()})[1]["answers"]
            case 2:
                (found,) = whole.ask("/explain", {"texts": text, "k": 2})[1]["explanations"]
                assert (found["text"], found["answer"]) == (explained[row].text, explained[row].answer)
                return
        same(found, answers[row])

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(one, range(24)))


# a model that is slow, or fails


class Slow:
    """A classifier that waits until it is told to go on, and counts its calls."""

    def __init__(self):
        self.go_on, self.asked = threading.Event(), []
        self.began = threading.Event()

    def __call__(self, texts):
        self.asked.append(list(texts))
        self.began.set()
        assert self.go_on.wait(30)
        if "fail" in texts:
            raise RuntimeError("secret of the model")
        if "refuse" in texts:
            raise ValueError("'refuse' is no text")
        return logits_of(texts)


@pytest.fixture
def slow(fitted):
    return Slow()


def serve_slow(slow, fitted, **limits):
    return serving(
        Served.whole("slow", tiny_server.RerankedFunction(slow, fitted.reranker)), Limits(**{"wait_ms": 50} | limits)
    )


def test_a_full_queue_refuses_and_says_when_to_come_again(slow, fitted):
    with serve_slow(slow, fitted, queue_rows=2, batch_rows=1) as client, ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.ask, "/predict", {"texts": ["a"]})
        assert slow.began.wait(30)
        others = [pool.submit(client.ask, "/predict", {"texts": [text]}) for text in "bc"]
        wait_until(lambda: "\nlrsl_queue_rows 2.0" in client.ask("/metrics")[1])
        status, content, headers = client.ask("/predict", {"texts": ["d"]})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "try again" in content["error"]
        assert client.ask("/health")[0] == 200
        slow.go_on.set()
        assert [future.result()[0] for future in (first, *others)] == [200] * 3
    assert slow.asked[0] == ["a"]
    assert sorted(slow.asked[1:]) == [["b"], ["c"]]  # which of two that come at once is first, nobody says


def test_what_takes_too_long_is_given_up_and_not_begun_later(slow, fitted):
    with serve_slow(slow, fitted, seconds=0.3, batch_rows=1) as client, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.refused, "/predict", {"texts": [text]}) for text in "ab"]
        for future in asked:
            status, sentence = future.result()
            assert status == 504
            assert "0.3 seconds" in sentence
        slow.go_on.set()
        assert client.ask("/predict", {"texts": ["c"]})[0] == 200
    assert len(slow.asked) == 2
    assert slow.asked[-1] == ["c"]


def test_what_a_client_no_longer_waits_for_is_not_begun(slow, fitted):
    with serve_slow(slow, fitted, batch_rows=1) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.ask, "/predict", {"texts": ["a"]})
        assert slow.began.wait(30)
        body = b'{"texts": ["gone"]}'
        head = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        with client.raw() as connection:
            connection.sendall(head % len(body) + body)
            wait_until(lambda: "\nlrsl_queue_rows 1.0" in client.ask("/metrics")[1])
        wait_until(lambda: 'endpoint="/predict",status="499"' in client.ask("/metrics")[1])
        slow.go_on.set()
        assert first.result()[0] == 200
        assert client.ask("/predict", {"texts": ["b"]})[0] == 200
    assert slow.asked == [["a"], ["b"]]


def test_none_fails_for_the_sake_of_those_it_shares_a_batch_with(slow, fitted, caplog):
    with serve_slow(slow, fitted) as client, ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.ask, "/predict", {"texts": ["a"]})
        assert slow.began.wait(30)
        asked = {text: pool.submit(client.ask, "/predict", {"texts": [text]}) for text in ("b", "fail", "refuse")}
        wait_until(lambda: "\nlrsl_queue_rows 3.0" in client.ask("/metrics")[1])
        slow.go_on.set()
        assert first.result()[0] == 200
        found = {text: future.result() for text, future in asked.items()}
        assert client.ask("/health")[0] == 200
    assert len(slow.asked[1]) == 3  # together, and then each alone
    assert {text: status for text, (status, *_) in found.items()} == {"b": 200, "fail": 500, "refuse": 422}
    assert found["refuse"][1] == {"error": "'refuse' is no text"}
    assert "secret" not in found["fail"][1]["error"]
    assert "secret of the model" in caplog.text


def test_what_is_under_way_is_answered_before_it_ends(slow, fitted):
    with ThreadPoolExecutor(1) as pool:
        with serve_slow(slow, fitted) as client:
            held = [client.raw(), client.raw()]
            held[0].sendall(b"GET /hea")
            first = pool.submit(client.ask, "/predict", {"texts": ["a"]})
            assert slow.began.wait(30)
            threading.Timer(0.5, slow.go_on.set).start()
        assert first.result()[0] == 200
    for connection in held:
        connection.close()


def test_a_model_that_hangs_does_not_keep_it(slow, fitted):
    with ThreadPoolExecutor(1) as pool:
        with serve_slow(slow, fitted) as client:
            first = pool.submit(client.ask, "/predict", {"texts": ["a"]})
            assert slow.began.wait(30)
        assert first.result()[:2] == (503, {"error": "the server is ending"})
    slow.go_on.set()


def wait_until(holds):
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_request_larger_than_a_batch_is_one_by_itself(fitted):
    texts, _ = samples(30, seed=13)
    with serving(Served.whole("mine", fitted), Limits(batch_rows=8)) as client:
        for found, expected in zip(
            client.ask("/predict", {"texts": texts})[1]["answers"], fitted.answers(texts), strict=True
        ):
            same(found, expected)


def test_what_is_cut_off_is_said_once(fitted, caplog):
    long = " ".join(["card1"] * 60)
    with serving(Served.whole("mine", fitted)) as client:
        for _ in range(3):
            assert client.ask("/explain", {"texts": [long]})[0] == 200
    assert caplog.text.count("the rest is cut off") == 1


def test_what_a_view_has_not_scored_is_null(fitted):
    (explained,) = fitted.explain(["card1 the"], k=2)
    gaps = [0.5, *[float("nan")] * (len(explained.candidates) - 1)]
    found = explanation(replace(explained, views={"Some": gaps}))
    assert [one["views"]["Some"] for one in found["candidates"]][:2] == [0.5, None]
