"""The training rows that lie nearest to a text."""

import numpy as np
import pytest
import tiny
import torch

from lrsl import Instances, LabelSimilarity, Lexical, Reranker
from lrsl.embedding.text_embedding import encode


def logits(labels, seed):
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    return noise + 1.5 * torch.eye(4)[labels]


@pytest.fixture(scope="module")
def rows():
    return tiny.samples(60, 1), tiny.samples(40, 2)


def fitted(rows, embedder, views):
    (train_texts, train_labels), (texts, labels) = rows
    reranker = Reranker(embedder, tiny.LABELS, views=views, rule="fitted", names=[name.upper() for name in tiny.LABELS])
    train = (train_texts, train_labels, None)
    recipe = {"finetune": False} if embedder is not None else {}
    return reranker.fit(logits(labels, 3), labels, texts, train, columns="trusted", **recipe)


def test_they_are_those_of_the_largest_cosines(rows, tiny_bert, tmp_path):
    reranker = fitted(rows, tiny_bert, [LabelSimilarity(), Instances()])
    (train_texts, train_labels), (texts, _) = rows
    found = reranker.neighbours(texts, 4)
    cosines = (encode(reranker.embedding, texts) @ encode(reranker.embedding, train_texts).T).numpy()
    for of_text, row in zip(found, cosines, strict=True):
        np.testing.assert_allclose([one.cosine for one in of_text], np.sort(row)[::-1][:4], atol=1e-5)
        np.testing.assert_allclose([one.cosine for one in of_text], row[[one.row for one in of_text]], atol=1e-5)
        assert [one.name for one in of_text] == [tiny.LABELS[train_labels[one.row]].upper() for one in of_text]
    assert len(reranker.neighbours(texts[:1], 1000)[0]) == len(train_texts)
    assert reranker.neighbours([], 4) == []
    reranker.save_pretrained(tmp_path / "saved")
    assert Reranker.from_pretrained(tmp_path / "saved").neighbours(texts[:3], 4) == reranker.neighbours(texts[:3], 4)


def test_who_has_none_says_so(rows, tiny_bert):
    reranker = fitted(rows, None, [Lexical()])
    with pytest.raises(ValueError, match="none of the views holds the training rows, as Instances does"):
        reranker.neighbours(["card0"])
    with pytest.raises(ValueError, match="n is 0; it must be at least 1"):
        reranker.neighbours(["card0"], 0)
    with pytest.raises(RuntimeError, match="not fitted"):
        Reranker(tiny_bert, tiny.LABELS).neighbours(["card0"])
