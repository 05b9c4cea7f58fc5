from dataclasses import dataclass, replace

import pytest
import torch

from lrsl import core
from lrsl.reranking.detector import DetectorWithoutFit
from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.fusion.log_linear import FittedLogLinear
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.rule import Detection, FittedRule, Rule, recorded_scores, scores_of_texts
from lrsl.reranking.view import View

LOGITS = torch.tensor([[9.0, 1, 0], [2, 1.9, 1.8], [0, 0.1, 7], [1, 1.5, 1.2]])
LABELS = torch.tensor([0, 1, 2, 0])  # rows 1 and 3 are wrong
TEXTS = ["first", "second", "third", "fourth"]


class SpyView:
    """Gives every label but the last little similarity, and remembers what it was asked."""

    scores_candidates = False

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        return torch.tensor([0.1, 0.2, 0.9]).expand(len(texts), 3)


class CandidateSpy(SpyView):
    """Prefers the likeliest candidate but one."""

    scores_candidates = True

    def __call__(self, texts, candidates):
        self.asked.append((list(texts), candidates.tolist()))
        return torch.tensor([0.1, 0.9]).expand(len(texts), 2)


@pytest.fixture
def view():
    return SpyView()


@pytest.fixture
def scores(view):
    return [scores_of_texts(view, view, TEXTS, 3)]


@pytest.fixture
def fitted():
    rule = Rule(fusion=Paper(2.0))
    detection = rule.detection(LOGITS, LABELS)
    return FittedRule(replace(detection, threshold=2 * detection.threshold), rule.fusion)  # both wrong rows below it


def test_detection_learns_sigma2_mis():
    detection = Rule(TopKVariance(2)).detection(LOGITS, LABELS)
    assert detection.threshold == core.sigma2_mis(LOGITS, LABELS, 2)
    assert torch.equal(detection.is_hard(LOGITS), core.is_hard(LOGITS, detection.threshold, 2))


def test_hard_rows_get_eq_10_and_easy_ones_keep_their_softmax(fitted, scores):
    reranked = fitted.rerank(LOGITS, scores)
    assert reranked.hard.tolist() == [False, True, False, True]
    similarity = torch.tensor([[0.1, 0.2, 0.9]] * 2)
    assert torch.equal(reranked.scores[reranked.hard], core.rerank(LOGITS[[1, 3]], similarity, 2.0))
    assert torch.equal(reranked.scores[~reranked.hard], LOGITS[[0, 2]].softmax(-1))
    assert torch.equal(reranked.view_scores[0], similarity)
    assert reranked.labels.tolist() == [0, 2, 2, 2]


def test_the_view_is_asked_for_texts_of_hard_rows_only(fitted, view, scores):
    fitted.rerank(LOGITS, scores)
    assert view.asked == [["second", "fourth"]]


def test_a_view_without_a_weight_is_not_asked_and_changes_nothing():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))

    def never(rows, logits):
        raise AssertionError

    fusion = FittedLogLinear(2.0, torch.tensor([0.0, 0.5], dtype=torch.float64))
    rule = FittedRule(Detection(Margin(), 100.0), fusion)
    found = rule.rerank(logits, [never, recorded_scores(other)])
    asked = rule.rerank(logits, [recorded_scores(logits), recorded_scores(other)])
    torch.testing.assert_close(found.scores, fusion(logits, [logits, other]))
    assert torch.equal(found.scores, asked.scores)
    assert found.view_scores[0].isnan().all()
    nothing = FittedRule(rule.detection, FittedLogLinear(2.0, torch.zeros(1, dtype=torch.float64)))
    assert torch.equal(nothing.rerank(logits, [never]).scores, logits.softmax(-1))


def test_rows_are_known_by_their_numbers(fitted, scores):
    whole = fitted.rerank(LOGITS, scores)
    part = fitted.rerank(LOGITS[[3, 0]], scores, torch.tensor([3, 0]))
    assert torch.equal(part.scores, whole.scores[[3, 0]])
    known = torch.rand(4, 3)
    part = fitted.rerank(LOGITS[[3, 1]], [recorded_scores(known)], torch.tensor([3, 1]))
    assert torch.equal(part.view_scores[0], known[[3, 1]])


def test_a_view_that_scores_candidates_is_given_the_top_k_of_hard_rows(fitted):
    spy = CandidateSpy()
    reranked = fitted.rerank(LOGITS, [scores_of_texts(spy, spy, TEXTS, 2)])
    assert spy.asked == [(["second", "fourth"], [[0, 1], [1, 2]])]
    assert reranked.view_scores[0].isnan().tolist() == [[False, False, True], [True, False, False]]
    assert reranked.labels.tolist() == [0, 1, 2, 2]
    order = reranked.scores[reranked.hard].argsort(descending=True).tolist()
    assert [row[-1] for row in order] == [2, 0]  # what is no candidate comes last
    assert reranked.scores.isfinite().all()


def test_nothing_misclassified_means_nothing_hard_and_nothing_asked(view, scores):
    rule = Rule()
    detection = rule.detection(LOGITS, LOGITS.argmax(-1))
    assert detection.threshold == 0.0
    equal = torch.ones(2, 3)  # a variance of 0 is not below 0
    reranked = FittedRule(detection, rule.fusion).rerank(torch.cat([LOGITS, equal]), scores)
    assert not reranked.hard.any()
    assert view.asked == []
    assert reranked.view_scores[0].shape == (0, 3)


def test_no_row_gives_no_row(fitted, scores):
    reranked = fitted.rerank(LOGITS[:0], scores)
    assert reranked.scores.shape == (0, 3)
    assert reranked.hard.shape == reranked.labels.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_logits_are_reranked(fitted, scores, dtype):
    reranked = fitted.rerank(LOGITS.to(dtype), scores)
    assert reranked.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert reranked.labels.tolist() == [0, 2, 2, 2]


def test_the_given_logits_stay_as_they_are(fitted, scores):
    given = LOGITS.clone()
    fitted.rerank(given, scores)
    assert torch.equal(given, LOGITS)


def test_easy_rows_keep_the_classifiers_answer_where_probabilities_round_to_the_same():
    logits = torch.tensor([[0.0, 1e-9]])
    reranked = FittedRule(Detection(TopKVariance(2), 0.0), Paper()).rerank(logits, [])
    assert reranked.scores[0, 0] == reranked.scores[0, 1]
    assert reranked.labels.tolist() == [1]


@dataclass(frozen=True)
class LargestProbability(DetectorWithoutFit):
    """The largest probability."""

    def __call__(self, logits):
        return logits.softmax(-1).amax(-1)


def test_any_detector_will_do():
    detection = Detection(LargestProbability(), 0.9)
    assert detection.is_hard(LOGITS).tolist() == [False, True, False, True]
    assert Rule(LargestProbability()).detection(LOGITS, LABELS).threshold == pytest.approx(
        LOGITS.softmax(-1).amax(-1)[[1, 3]].mean().item()
    )


def test_the_papers_fusion_takes_one_view_and_a_power_above_0(scores):
    with pytest.raises(ValueError, match="one view, and there are 2"):
        Paper()(LOGITS, [LOGITS, LOGITS])
    with pytest.raises(ValueError, match="power is 0; it must be above 0"):
        Paper(0)


def test_a_view_scores_all_labels_unless_it_says_otherwise():
    assert View.scores_candidates is False


@dataclass(frozen=True)
class Spoilt(Paper):
    """Leaves a label without a number."""

    def __call__(self, logits, scores):
        return logits.log_softmax(-1).masked_fill(logits == logits.amin(-1, keepdim=True), torch.nan)


def test_a_fusion_or_a_view_that_gives_the_wrong_numbers_is_refused(fitted, scores, view):
    with pytest.raises(ValueError, match=r"Spoilt gave scores of shape .2, 3., 2 of them NaN, for 2 hard rows"):
        replace(fitted, fusion=Spoilt()).rerank(LOGITS, scores)
    short = [scores_of_texts(view, lambda texts: torch.ones(len(texts), 2), TEXTS, 3)]
    with pytest.raises(ValueError, match=r"gave scores of shape .2, 2.; for 2 texts it must be .2, 3."):
        fitted.rerank(LOGITS, short)
