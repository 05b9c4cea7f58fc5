import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lrsl import TargetAccuracy
from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD


def answered(right):
    """Logits and labels of a classifier that is right on the rows that are said."""
    right = torch.as_tensor(right)
    return torch.tensor([[1.0, 0.0]]).repeat(len(right), 1), (~right).long()


def fitted(hardness, right, **settings):
    return TargetAccuracy(**settings).fit(torch.as_tensor(hardness, dtype=torch.float64), *answered(right))


def test_a_classifier_that_is_always_right_leaves_nothing_hard():
    assert fitted(np.arange(400.0), [True] * 400, accuracy=0.95) == NOTHING_HARD


def test_a_classifier_that_is_never_right_leaves_nothing_easy():
    assert fitted(np.arange(400.0), [False] * 400, accuracy=0.5) == EVERYTHING_HARD


def test_a_handful_of_rows_shows_nothing():
    assert fitted(np.arange(5.0), [True] * 5, accuracy=0.95) == EVERYTHING_HARD
    assert fitted([], np.zeros(0, dtype=bool)) == EVERYTHING_HARD


def test_the_hardest_third_is_given_up_where_the_classifier_guesses_there():
    rng = np.random.default_rng(0)
    hardness = np.arange(3000.0)
    right = (hardness >= 1000) | (rng.random(3000) < 0.5)
    found = fitted(hardness, right, accuracy=0.96)
    assert found == 900  # of 2,100 easy rows 50 are wrong by guessing, of the 150 more of the next candidate 75
    assert right[hardness >= found].mean() >= 0.96


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_easy_rows_would_rarely_look_so_good_were_the_classifier_worse(seed, accuracy):
    """The bound of the threshold that is taken, by the binomial distribution instead of the beta."""
    rng = np.random.default_rng(seed)
    hardness = rng.integers(0, 50, 300) / 8.0  # with ties
    right = rng.random(300) < 0.7 + 0.3 * hardness / 6.25
    found = fitted(hardness, right, accuracy=accuracy, confidence=0.9)
    easy = hardness >= found
    if found != EVERYTHING_HARD:
        assert binom.sf(right[easy].sum() - 1, easy.sum(), accuracy) <= 0.1 + 1e-9
        assert found == NOTHING_HARD or found in hardness


def test_the_guarantee_holds_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hardness = rng.random(500)
    truth = 0.8 + 0.2 * hardness  # 0.9 on all; 0.95 on those above 0.5
    broken, useful = 0, 0
    for _ in range(400):
        found = fitted(hardness, rng.random(500) < truth, accuracy=0.93, confidence=0.9)
        easy = hardness >= found
        useful += easy.any()
        broken += bool(easy.any()) and truth[easy].mean() < 0.93
    assert useful > 200
    assert broken <= binom.ppf(0.999, 400, 0.1)


@pytest.mark.parametrize("name", ["accuracy", "confidence"])
@pytest.mark.parametrize("value", [0, 1, 1.5, float("nan")])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be between 0 and 1"):
        TargetAccuracy(**{name: value})


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"labels\[1\] is 2; with 2 classes it must be 0 to 1"):
        TargetAccuracy().fit(torch.zeros(2), torch.zeros(2, 2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); with 2 rows of logits it must be \(2,\)"):
        TargetAccuracy().fit(torch.zeros(2), torch.zeros(2, 2), torch.tensor([0, 1, 1]))
