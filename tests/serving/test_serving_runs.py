"""The folder of a finished run is served: classifier and reranker, which answer as they do without a server."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
import tiny
from tiny_server import serving

from lrsl.run import finished, pipeline, reopened
from lrsl.serving.served import load


def test_a_finished_run_is_served(tiny_corpus, tiny_bert, tmp_path):
    config = tiny.config(tiny_corpus, tiny_bert)
    pipeline.run(config, tmp_path / "mine")
    finished.record_finish(json.loads(json.dumps(asdict(config))), tmp_path / "mine")
    texts, _ = tiny.samples(40, seed=4)
    expected = reopened.reopen(tmp_path / "mine").answers(texts)
    assert any(answer.hard for answer in expected)
    with serving(load(tmp_path / "mine")) as client, ThreadPoolExecutor(16) as pool:
        assert client.ask("/health")[1]["serves"] == "classifier"
        bodies = [{"texts": [text]} for text in texts]
        found = [content["answers"][0] for _, content, _ in pool.map(lambda body: client.ask("/predict", body), bodies)]
    for one, answer in zip(found, expected, strict=True):
        assert (one["answer"], one["hard"]) == (answer.name, answer.hard)
        after = {candidate["label"]: candidate["after"] for candidate in one["candidates"]}
        assert after == pytest.approx({candidate.name: candidate.after for candidate in answer.candidates}, abs=1e-5)
