import warnings
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch

import lrsl
from lrsl.reranking.fusion.log_linear import FittedLogLinear

LONG = " ".join(["card0", "please", "rate3"] * 9)  # 29 tokens, of which 24 are read


def rows(n, seed):
    texts, labels = tiny.samples(n, seed)
    logits = np.random.default_rng(seed).normal(size=(n, len(tiny.LABELS)))
    return logits, np.array(labels), texts


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if "cut off" in str(warning.message)], [
        warning.filename for warning in caught if "cut off" in str(warning.message)
    ]


@pytest.mark.parametrize("rule", ["paper", "fitted"])
def test_each_call_warns_once_of_the_texts_it_does_not_read_whole(tiny_bert, rule):
    logits, labels, texts = rows(40, seed=1)
    texts[:3] = [f"{LONG} card", f" {LONG} ", LONG]
    train = (["a", *[f"{LONG} {i}" for i in range(7)]], np.arange(8) % 4, None)
    labels_texts = ["card", "cash", f"{LONG} loan", "rate"]
    reranker = lrsl.Reranker(str(tiny_bert), labels_texts, rule=rule, deploy="always")
    said, files = warned(lambda: reranker.fit(logits, labels, texts, train=train, epochs=1, negatives="all"))
    assert said == [
        "10 of the texts and 1 of the label texts are longer than the 24 tokens that are read of them, and the rest is "
        "cut off; where the model allows for more, raise max_seq_length of the embedder"
    ]
    assert files == [__file__]
    if rule == "fitted":  # a view without a weight reads no text
        reranker._fitted = replace(reranker._fitted, fusion=FittedLogLinear(1.0, torch.ones(4)))
    logits = np.tile([5.0, 0.0, 0.0, 0.0], (40, 1))
    logits[1:3] = 0.0  # hard, so that their texts are read
    for call in (reranker.predict, reranker.rerank):
        (sentence,), _ = warned(lambda call=call: call(logits, texts))
        assert sentence.startswith("2 of the texts are longer than the 24 tokens that are read of them")
        assert warned(lambda call=call: call(logits, pa.array(texts)))[0] == [sentence]
    assert warned(lambda: reranker.predict(logits[3:], texts[3:])) == ([], [])


def test_texts_that_are_read_whole_give_no_warning(tiny_bert):
    logits, labels, texts = rows(40, seed=2)
    reranker = lrsl.Reranker(str(tiny_bert), tiny.LABELS)
    assert warned(lambda: reranker.fit(logits, labels, texts).predict(logits, texts)) == ([], [])
