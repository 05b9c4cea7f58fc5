"""A run whose labels cannot be told apart says so before anything is trained."""

from dataclasses import replace

import pytest
import tiny

from lrsl.errors import InputError
from lrsl.run import pipeline

STRANGE = {"card": "业务", "loan": "资费"}
"""Texts in characters that the tiny embedding does not know."""


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert):
    return tiny.config(tiny_corpus, tiny_bert)


def with_texts(config, **texts):
    return replace(config, dataset=replace(config.dataset, label_texts=texts))


def without_embedding(config):
    """A run in which neither a view nor fine-tuning embeds label texts."""
    fitted = replace(config.reranker.fitted, views=["lexical", "instances"])
    reranker = replace(config.reranker, view={"_target_": "lrsl.Lexical"}, fitted=fitted)
    return replace(config, embedding=replace(config.embedding, finetune=False, negatives="all"), reranker=reranker)


def test_labels_with_the_same_vectors_are_an_error_before_anything_is_trained(config, tmp_path, monkeypatch):
    def train(*_):
        raise AssertionError("it trains")

    monkeypatch.setattr(pipeline, "classifier_of", train)
    wanted = with_texts(config, **STRANGE)
    message = (
        r"^embedding\.pretrained=\S+ cannot tell 2 of 4 labels apart, .* vectors: '业务' and '资费'; take an embedding"
    )
    off_the_shelf = replace(wanted, embedding=replace(wanted.embedding, finetune=False))
    beside = without_embedding(wanted)
    beside.reranker.fitted.views.append("label_similarity")
    for refused in (wanted, off_the_shelf, replace(beside, embedding=wanted.embedding), beside):
        with pytest.raises(InputError, match=message):
            pipeline.run(refused, tmp_path)
    with pytest.raises(AssertionError, match="it trains"):
        pipeline.run(config, tmp_path)


def test_where_nobody_embeds_label_texts_they_may_be_anything(config, tmp_path):
    found = pipeline.run(without_embedding(with_texts(config, **STRANGE)), tmp_path)
    assert found["status"] == "finished"


@pytest.mark.parametrize("text", ["RATE", "ra\u200bte"])
def test_labels_that_look_alike_are_told_of(config, capsys, text):
    from lrsl.data import load_corpus

    wanted = with_texts(config, cash=text)
    pipeline.checked(wanted, load_corpus(wanted.dataset, None))
    assert capsys.readouterr().out == f"tiny has label texts that look alike: {text!r} and 'rate'.\n"
    pipeline.checked(config, load_corpus(config.dataset, None))
    assert capsys.readouterr().out == ""
