import math

import pytest
import torch

from lrsl import Fixed, Margin
from lrsl.reranking.rule import Rule


def test_learns_nothing():
    logits, labels = torch.tensor([[1.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 0])
    for value in (-1.0, 0.5, 1e30):
        assert Fixed(value).fit(torch.rand(2), logits, labels) == value
    assert Rule(Margin(), Fixed(2.0)).detection(logits, labels).is_hard(logits).tolist() == [True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_results_cannot_hold_is_refused(value):
    with pytest.raises(ValueError, match=f"value is {value}; it must be a finite number in the detector's unit"):
        Fixed(value)
