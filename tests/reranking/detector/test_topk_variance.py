import torch

from lrsl import core
from lrsl.reranking.detector.topk_variance import TopKVariance


def test_the_detector_is_the_variance_of_the_k_largest_logits():
    logits = torch.randn(5, 7)
    for k in (2, 3, 7):
        assert torch.equal(TopKVariance(k)(logits), core.topk_variance(logits, k))
    assert torch.equal(TopKVariance()(logits), core.topk_variance(logits, 3))
