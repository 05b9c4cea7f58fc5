import pytest
import torch
from tiny import LABELS

from lrsl import core
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.reranking import view
from lrsl.reranking.view import Given
from lrsl.reranking.view.label_similarity import LabelSimilarity

TEXTS = ["card1 card2", "please", "rate1 the loan3"]


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


def given(embedding, **train):
    return Given(LABELS, load_embedding=lambda: embedding, **train)


def test_the_view_is_the_cosine_of_text_and_label(embedding):
    fitted = LabelSimilarity().fit(given(embedding, texts=["unused"], labels=[0]))
    expected = core.label_similarity(encode(embedding, TEXTS), encode(embedding, LABELS))
    torch.testing.assert_close(fitted(TEXTS), expected)
    torch.testing.assert_close(fitted(LABELS).diagonal(), torch.ones(4))
    assert fitted([]).shape == (0, 4)


def test_the_labels_are_embedded_once(embedding, monkeypatch):
    embedded = []

    def spy(model, texts):
        embedded.append(list(texts))
        return encode(model, texts)

    monkeypatch.setattr(view, "encode", spy)
    fitted = LabelSimilarity().fit(given(embedding))
    fitted(TEXTS[:2])
    fitted(TEXTS[2:])
    again = LabelSimilarity().restore(fitted.learnt(), given(embedding))
    assert torch.equal(again(TEXTS), fitted(TEXTS))
    assert embedded == [LABELS, TEXTS[:2], TEXTS[2:], TEXTS, TEXTS]
