"""What fusions give, as log-probabilities."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.distribution import FLOOR, calibrated, log_distribution, log_ranked, log_softmax
from lrsl.reranking.fusion.log_linear import LogLinear
from lrsl.reranking.rule import Rule
from lrsl.reranking.threshold.best_gain import BestGain
from lrsl.reranking.verdict import verdict


def test_a_label_made_impossible_is_a_ten_thousandth_as_likely_as_the_likeliest():
    told = log_distribution(torch.tensor([[2.0, 1.0, 0.0, -3.0]])).exp()[0]
    assert told.sum() == pytest.approx(1)
    assert (told / told[0]).tolist() == pytest.approx([1, 0.5, FLOOR, FLOOR])


def test_it_is_no_likelier_than_any_other():
    told = log_distribution(torch.tensor([[1.0, 1e-7, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)).exp()
    assert (told[0] / told[0, 0]).tolist() == pytest.approx([1, 1e-7, 1e-7])
    assert told[1].tolist() == pytest.approx([1 / 3] * 3)


@given(st.floats(0.1, 1000), st.integers(0, 100))
def test_the_classifiers_own_ranking_is_told_from_the_logits_however_sure_they_are(scale, seed):
    logits = scale * torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
    ranked = logits.softmax(-1)
    assert torch.equal(log_ranked(ranked, logits), log_softmax(logits))
    reranked = ranked.clone()
    reranked[0] = 1 / 6
    told = log_ranked(reranked, logits)
    assert torch.equal(told[1:], log_softmax(logits)[1:])
    assert told[0].exp().tolist() == pytest.approx([1 / 6] * 6)


def drawn(n, views, seed):
    """Return logits that know something, and views that know what is asked for."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 8, (n,), generator=generator)
    true = torch.nn.functional.one_hot(labels, 8)
    logits = torch.randn(n, 8, generator=generator) + 2 * true
    return logits, labels, [torch.randn(n, 8, generator=generator) + knows * true for knows in views]


@pytest.mark.parametrize("views", [(0, 0, 0), (1.5, 0)])
def test_how_sure_a_classifier_is_of_itself_does_not_decide_what_pays(views):
    """A naive Bayes of long texts has logits in the hundreds: to temper them is never booked as a gain."""
    rule = Rule(Margin(), BestGain(without_gain="mistakes"), LogLinear())
    for seed in range(3):
        logits, labels, scores = drawn(300, views, seed)
        usual, sure = (verdict(rule, scale * logits, labels, scores) for scale in (1, 64))
        assert (sure.deploy, sure.n_hard) == (usual.deploy, usual.n_hard)
        assert sure.likelihood_gain == pytest.approx(usual.likelihood_gain, abs=1e-3)
        assert usual.deploy == any(views)


def test_calibration_undoes_a_scale():
    logits, labels, _ = drawn(200, (), 0)
    usual, sure = (calibrated(log_softmax(scale * logits), log_softmax(scale * logits), labels) for scale in (1, 50))
    torch.testing.assert_close(usual, sure, atol=1e-4, rtol=0)


def test_without_a_score_above_0_the_order_stays():
    scores = torch.tensor([[-3.0, -1.0, -2.0], [0.0, -4.0, 0.0]])
    told = log_distribution(scores)
    assert torch.equal(
        told.argsort(dim=-1, descending=True, stable=True), scores.argsort(dim=-1, descending=True, stable=True)
    )
    assert told[1].exp().tolist() == pytest.approx([1 / 2, FLOOR / 2, 1 / 2], rel=1e-3)
