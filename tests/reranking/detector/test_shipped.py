"""The detectors that are not the paper's: against plain loops, low where it is hard, and with clear refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import lrsl
from lrsl import Entropy, Margin, MaxProbability, TopKProbabilityGap

LOGITS = npst.arrays(
    np.float64, st.tuples(st.integers(0, 6), st.integers(2, 9)), elements=st.integers(-160, 160).map(lambda x: x / 8)
)
SHIPPED = [Margin(), MaxProbability(), Entropy(), TopKProbabilityGap(2), TopKProbabilityGap(3)]


def probabilities(row):
    exponentials = [math.exp(z - max(row)) for z in row]
    return [e / math.fsum(exponentials) for e in exponentials]


def by_hand(detector, row):
    p = sorted(probabilities(row), reverse=True)
    if isinstance(detector, Margin):
        first, second = sorted(row, reverse=True)[:2]
        return first - second
    if isinstance(detector, MaxProbability):
        return p[0]
    if isinstance(detector, Entropy):
        return math.fsum(q * math.log(q) for q in p if q > 0)
    return p[0] - p[detector.k - 1]


@pytest.mark.parametrize("detector", SHIPPED, ids=repr)
@given(LOGITS)
def test_equals_plain_loops(detector, logits):
    if isinstance(detector, TopKProbabilityGap) and detector.k > logits.shape[1]:
        logits = np.concatenate([logits, logits], axis=1)
    expected = [by_hand(detector, row) for row in logits.tolist()]
    np.testing.assert_allclose(detector(torch.from_numpy(logits)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("detector", SHIPPED, ids=repr)
@given(LOGITS, st.floats(-50, 50), st.randoms(use_true_random=False))
def test_ignores_a_shift_and_the_order_of_the_labels(detector, logits, shift, random):
    z = torch.from_numpy(np.concatenate([logits, logits[:, :1] - 1], axis=1))
    columns = random.sample(range(z.shape[1]), z.shape[1])
    torch.testing.assert_close(detector((z + shift)[:, columns]), detector(z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detector", SHIPPED, ids=repr)
def test_a_close_call_is_harder_than_a_clear_one(detector):
    hardness = detector(torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 1.5, 1.0, 0.0], [9.0, 1.0, 0.0, 0.0]]))
    assert hardness[0] < hardness[1] < hardness[2]


def test_the_ends_of_the_scales():
    equal, sure = torch.zeros(1, 4), torch.tensor([[200.0, 0, 0, 0]])
    assert Margin()(equal).item() == TopKProbabilityGap(3)(equal).item() == 0.0
    assert MaxProbability()(equal).item() == 0.25
    assert Entropy()(equal).item() == pytest.approx(-math.log(4))
    assert MaxProbability()(sure).item() == TopKProbabilityGap(2)(sure).item() == 1.0
    assert Entropy()(sure).item() == pytest.approx(0, abs=1e-80)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_not_computed_in(dtype):
    logits = torch.tensor([[3.0, 1.0, 0.5, -2.0], [0.25, 0.125, 0.0, -9.0]], dtype=dtype)
    for detector in SHIPPED:
        assert detector(logits).dtype in (torch.float32, torch.float64)
        torch.testing.assert_close(detector(logits).double(), detector(logits.double()).double())


def test_probabilities_near_one_still_differ():
    logits = torch.tensor([[20.0, 0.0], [25.0, 0.0]])
    assert logits.softmax(-1).amax(-1).unique().numel() == 1
    for detector in (MaxProbability(), TopKProbabilityGap(2), Entropy()):
        low, high = detector(logits)
        assert low < high


def test_the_gap_to_the_second_with_two_labels_says_what_the_largest_probability_says():
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(TopKProbabilityGap(2)(logits), 2 * MaxProbability()(logits) - 1)


@pytest.mark.parametrize("detector", SHIPPED, ids=repr)
def test_a_number_that_is_none_is_refused(detector):
    with pytest.raises(ValueError, match=r"logits\[1, 2\] is nan; every value must be finite"):
        detector(torch.tensor([[0.0, 1, 2], [0, 1, torch.nan]]))
    with pytest.raises(ValueError, match=r"logits have shape \(3,\); it must be \(n, classes\)"):
        detector(torch.zeros(3))


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 1\); it must be \(n, classes\) with at least 2 classes"):
        Margin()(torch.zeros(2, 1))
    for k in (1, 4):
        with pytest.raises(ValueError, match=f"k is {k}; it must be at least 2 and at most 3, the number of classes"):
            TopKProbabilityGap(k)(torch.zeros(2, 3))


@pytest.mark.parametrize("detector", SHIPPED, ids=repr)
def test_is_its_own_fitted_form(detector):
    assert lrsl.Detector in type(detector).__mro__
    assert detector.fit(torch.zeros(1, 3), torch.zeros(1).long()) is detector.restore({}) is detector
