"""Every view that learns from training rows, in a reranker that is saved and loaded."""

import pytest
import seams
import torch
from tiny import LABELS, samples

import lrsl
from lrsl import Reranker

TRAIN, VAL, TEST = samples(80, seed=1), samples(40, seed=2), samples(20, seed=3)


def logits(texts, seed):
    noise = torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(seed))
    return noise + torch.tensor([[float(text.count(label)) for label in LABELS] for text in texts])


def test_views_come_back_with_their_reranker_and_without_training_rows(tiny_bert, tmp_path):
    views = [
        lrsl.LabelSimilarity(),
        lrsl.Instances(),
        lrsl.ClassMean(),
        lrsl.Lexical(),
        lrsl.CrossEncoder(str(tiny_bert), epochs=1, max_length=24, with_example=True),
    ]
    reranker = Reranker(str(tiny_bert), LABELS, views=views, fusion=seams.Sum())
    train = (*TRAIN, None)
    reranker.fit(logits(VAL[0], 0), VAL[1], VAL[0], train, epochs=1)
    reranker.save_pretrained(tmp_path)
    again = Reranker.from_pretrained(tmp_path)
    asked = logits(TEST[0], 1)
    assert reranker.is_hard(asked).any()
    torch.testing.assert_close(again.rerank(asked, TEST[0]), reranker.rerank(asked, TEST[0]))
    assert [type(view) for view in again.views] == [type(view) for view in views]


def test_a_view_that_learns_from_training_rows_says_so_where_there_are_none(tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, views=[lrsl.Instances()])
    with pytest.raises(ValueError, match=r"give train=\(texts, labels, None\) to Reranker\.fit"):
        reranker.fit(logits(VAL[0], 0), VAL[1], VAL[0])
