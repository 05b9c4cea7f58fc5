"""The paper's threshold, with any detector."""

import pytest
import torch

from lrsl.reranking.detector.entropy import Entropy
from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.rule import Rule
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis


@pytest.mark.parametrize("detector", [Entropy(), Margin()])
def test_without_a_mistake_nothing_is_hard_whatever_the_detectors_sign(detector):
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    detection = Rule(detector, Sigma2Mis()).detection(logits, logits.argmax(-1))
    assert not detection.is_hard(0.1 * logits).any()
    if isinstance(detector, Margin):
        assert detection.threshold == 0.0
