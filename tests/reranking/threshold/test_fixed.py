import math

import pytest
import torch

from lrsl import Fixed, Margin
from lrsl.reranking.rule import Rule


def test_learns_nothing():
    logits, labels = torch.tensor([[1.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 0])
    for value in (-1.0, 0.5, math.inf):
        assert Fixed(value).fit(torch.rand(2), logits, labels) == value
    assert Rule(Margin(), Fixed(2.0)).detection(logits, labels).is_hard(logits).tolist() == [True, False]


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="value is nan; it must be a number in the detector's unit"):
        Fixed(math.nan)
