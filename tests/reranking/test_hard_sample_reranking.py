import pytest
import torch

from lrsl import core
from lrsl.reranking.detector import TopKVariance
from lrsl.reranking.hard_sample_reranking import HardSampleReranking

LOGITS = torch.tensor([[9.0, 1, 0], [2, 1.9, 1.8], [0, 0.1, 7], [1, 1.5, 1.2]])
LABELS = torch.tensor([0, 1, 2, 0])  # rows 1 and 3 are wrong
TEXTS = ["first", "second", "third", "fourth"]


class SpyView:
    """Gives every label but the last no similarity, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        return torch.tensor([0.1, 0.2, 0.9]).expand(len(texts), 3)


@pytest.fixture
def reranking():
    found = HardSampleReranking(TopKVariance(3), power=2.0, view=SpyView())
    found.fit(LOGITS, LABELS)
    found.threshold *= 2  # both wrong rows below it
    return found


def test_fit_learns_sigma2_mis():
    reranking = HardSampleReranking(TopKVariance(2))
    assert reranking.fit(LOGITS, LABELS) == reranking.threshold == core.sigma2_mis(LOGITS, LABELS, 2)
    assert torch.equal(reranking.is_hard(LOGITS), core.is_hard(LOGITS, reranking.threshold, 2))


def test_hard_rows_get_eq_10_and_easy_ones_keep_their_softmax(reranking):
    reranked = reranking.rerank(LOGITS, TEXTS)
    assert reranked.hard.tolist() == [False, True, False, True]
    similarity = torch.tensor([[0.1, 0.2, 0.9]] * 2)
    torch.testing.assert_close(reranked.scores[reranked.hard], core.rerank(LOGITS[[1, 3]], similarity, 2.0))
    torch.testing.assert_close(reranked.scores[~reranked.hard], LOGITS[[0, 2]].softmax(-1))
    torch.testing.assert_close(reranked.similarity, similarity)
    assert reranked.scores.argmax(-1).tolist() == [0, 2, 2, 2]


def test_only_texts_of_hard_rows_are_given_to_the_view(reranking):
    reranking.rerank(LOGITS, TEXTS)
    assert reranking.view.asked == [["second", "fourth"]]


def test_nothing_misclassified_means_nothing_hard_and_nothing_embedded():
    reranking = HardSampleReranking(TopKVariance(3), view=SpyView())
    assert reranking.fit(LOGITS, LOGITS.argmax(-1)) == 0.0
    equal = torch.ones(2, 3)  # a variance of 0 is not below 0
    reranked = reranking.rerank(torch.cat([LOGITS, equal]), [*TEXTS, "fifth", "sixth"])
    assert not reranked.hard.any()
    assert reranking.view.asked == []
    assert reranked.similarity.shape == (0, 3)


def test_no_row_gives_no_row(reranking):
    reranked = reranking.rerank(LOGITS[:0], [])
    assert reranked.scores.shape == (0, 3)
    assert reranked.hard.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_logits_are_reranked(reranking, dtype):
    reranked = reranking.rerank(LOGITS.to(dtype), TEXTS)
    assert reranked.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert reranked.scores.argmax(-1).tolist() == [0, 2, 2, 2]


def test_the_given_logits_stay_as_they_are(reranking):
    given = LOGITS.clone()
    reranking.rerank(given, TEXTS)
    assert torch.equal(given, LOGITS)


def test_any_detector_will_do():
    reranking = HardSampleReranking(lambda logits: logits.softmax(-1).amax(-1), view=SpyView())
    reranking.threshold = 0.9
    assert reranking.is_hard(LOGITS).tolist() == [False, True, False, True]


def test_what_is_missing_is_said():
    reranking = HardSampleReranking(TopKVariance(3))
    with pytest.raises(RuntimeError, match="no view yet"):
        reranking.rerank(LOGITS, TEXTS)
    reranking.view = SpyView()
    with pytest.raises(RuntimeError, match="no threshold yet"):
        reranking.rerank(LOGITS, TEXTS)
