"""Metrics against scipy, torchmetrics and plain loops."""

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from lrsl.metrics import (
    Gain,
    McNemar,
    MeanStd,
    accuracies,
    accuracy,
    augrc,
    aurc,
    bootstrap_gain,
    clustered_bootstrap_gain,
    cost_curve,
    expected_calibration_error,
    mcnemar,
    mean_std,
    risk_coverage,
    sign_flip_test,
)

LABELS = np.array([0, 1, 2, 1])
HARD = np.array([True, False, True, False])
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)
SEEDS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random((2, *np.random.default_rng(seed).integers(1, (4, 9)))) < 0.5
)
"""Whether a and b are right, (2, seeds, n), for up to 3 seeds and 8 samples."""


def columns(pairs: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(pairs, dtype=bool).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def correct(only_a: int, only_b: int, both: int, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return columns(
        [(True, False)] * only_a + [(False, True)] * only_b + [(True, True)] * both + [(False, False)] * neither
    )


def distributions(rng: np.random.Generator, n: int, classes: int, sharpness: float = 1.0) -> np.ndarray:
    scores = np.exp(sharpness * rng.normal(size=(n, classes)))
    return scores / scores.sum(1, keepdims=True)


def ece_by_loops(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    error = 0.0
    for b in range(bins):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if b / bins < row.max() <= (b + 1) / bins
        ]
        if inside:
            confidence, right = zip(*inside, strict=True)
            error += len(inside) / len(labels) * abs(np.mean(right) - np.mean(confidence))
    return error


# accuracy


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_accuracy_equals_sklearn(pairs):
    predicted, labels = zip(*pairs, strict=True)
    assert accuracy(predicted, labels) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)


def test_accuracy_of_zero_samples_is_nan_and_a_float():
    assert math.isnan(accuracy([], []))
    assert type(accuracy(np.array([1]), np.array([1]))) is float


def test_accuracy_takes_tensors():
    assert accuracy(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("predicted", "labels"), [([0, 1], [0]), ([[0, 1]], [[0, 1]]), ([0], 0), ([], [1])])
def test_accuracy_refuses_shapes_that_do_not_fit(predicted, labels):
    with pytest.raises(ValueError, match=r"predicted has the shape \(.*\) and labels \(.*\); both must be \(n,\)"):
        accuracy(predicted, labels)


# accuracy by part


def test_accuracies_on_all_hard_and_easy_samples():
    measured = accuracies(np.array([0, 1, 1, 0]), LABELS, HARD)
    assert measured == {"accuracy": 0.5, "accuracy_hard": 0.5, "accuracy_easy": 0.5}
    measured = accuracies(np.array([0, 1, 2, 0]), LABELS, HARD)
    assert measured == {"accuracy": 0.75, "accuracy_hard": 1.0, "accuracy_easy": 0.5}
    assert all(type(value) is float for value in measured.values())


def test_the_accuracy_of_no_sample_is_none():
    nothing = np.zeros(4, dtype=bool)
    assert accuracies(LABELS, LABELS, nothing) == {
        "accuracy": 1.0,
        "accuracy_hard": None,
        "accuracy_easy": 1.0,
    }
    assert accuracies(LABELS, LABELS, ~nothing)["accuracy_easy"] is None


# calibration


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_equals_torchmetrics_and_loops(bins, sharpness):
    rng = np.random.default_rng(bins)
    probabilities, labels = distributions(rng, 300, 5, sharpness), rng.integers(0, 5, 300)
    ours = expected_calibration_error(probabilities, labels, bins)
    theirs = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), num_classes=5, n_bins=bins, norm="l1"
    )
    assert ours == pytest.approx(theirs.item(), abs=1e-6)
    assert ours == pytest.approx(ece_by_loops(probabilities, labels, bins), abs=1e-12)


def test_calibration_of_a_worked_example():
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    # confidence 0.9 at accuracy 1/2, confidence 0.6 at accuracy 1
    assert expected_calibration_error(probabilities, [0, 1, 1, 1], bins=10) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_calibration_is_zero_when_confidence_equals_accuracy():
    assert expected_calibration_error([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == 0.0
    assert expected_calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1]) == pytest.approx(0.0)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    # 0.5 shares the bin (0, 0.5] with 0.4, where surpluses of +0.5 and -0.4 cancel; otherwise they would add up
    probabilities = [[0.5, 0.25, 0.25], [0.4, 0.3, 0.3]]
    assert expected_calibration_error(probabilities, [0, 1], bins=2) == pytest.approx(0.05)


def test_calibration_of_zero_samples_is_nan():
    assert math.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0, dtype=int)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 6), st.integers(1, 20))
def test_calibration_lies_between_the_coarsest_and_one(seed, n, classes, bins):
    rng = np.random.default_rng(seed)
    probabilities, labels = distributions(rng, n, classes, 2.0), rng.integers(0, classes, n)
    error = expected_calibration_error(probabilities, labels, bins)
    assert expected_calibration_error(probabilities, labels, 1) - 1e-12 <= error <= 1
    order = rng.permutation(n)
    assert expected_calibration_error(probabilities[order], labels[order], bins) == pytest.approx(error, abs=1e-12)


def test_calibration_takes_half_precision():
    logits = torch.randn(20, 119, generator=torch.Generator().manual_seed(0))
    error = expected_calibration_error(logits.softmax(-1).half(), torch.zeros(20, dtype=torch.int64))
    assert 0 <= error <= 1


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        ([[0.5, 0.5]], [0, 1], 15, r"shape \(1, 2\) and labels \(2,\)"),
        ([0.5, 0.5], [0, 1], 15, r"must be \(n, classes\) and \(n,\)"),
        ([[0.5, 0.5]], [0], 0, "bins is 0; it must be at least 1"),
        ([[0.5, 0.5], [0.1, 0.2]], [0, 1], 15, r"probabilities\[1\] sums to 0.3"),
        ([[-0.5, 1.5]], [0], 15, r"probabilities\[0\] .* least value of -0.5"),
        ([[0.5, 0.5], [math.nan, 1.0]], [0, 1], 15, r"probabilities\[1\] sums to nan"),
    ],
)
def test_calibration_refuses(probabilities, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(probabilities, labels, bins)


# mean and standard deviation


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_mean_std_by_the_formula(values):
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / (len(exact) - 1)
    assert mean_std(values) == (
        pytest.approx(float(mean), abs=1e-9),
        pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-9),
    )


def test_mean_std_of_one_value_has_no_spread():
    assert mean_std([0.25]) == MeanStd(mean=0.25, std=0.0)


@pytest.mark.parametrize("values", [[], 0.5, [[0.5, 0.5]]])
def test_mean_std_refuses(values):
    with pytest.raises(ValueError, match="at least one value"):
        mean_std(values)


# McNemar


@given(PAIRS)
def test_mcnemar_equals_the_binomial_sum(pairs):
    a, b = columns(pairs)
    only_a, only_b = sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs)
    n = only_a + only_b
    # under p = 1/2 the distribution is symmetric, so both tails are twice the smaller one
    tail = sum(Fraction(math.comb(n, i), 2**n) for i in range(min(only_a, only_b) + 1))
    result = mcnemar(a, b)
    assert result[:2] == (only_a, only_b)
    assert result.p_value == pytest.approx(float(min(Fraction(1), 2 * tail)))
    assert mcnemar(b, a) == McNemar(only_b, only_a, result.p_value)


def test_mcnemar_of_a_known_table():
    result = mcnemar(*correct(only_a=2, only_b=10, both=80, neither=8))
    assert result == McNemar(2, 10, pytest.approx(stats.binomtest(2, 12).pvalue))
    assert result.p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_mcnemar_without_a_difference_has_p_1(n):
    assert mcnemar([True] * n, [True] * n) == McNemar(0, 0, 1.0)


# bootstrap


@pytest.mark.parametrize(("only_a", "only_b", "both", "neither"), [(15, 33, 140, 12), (4, 1, 60, 5), (0, 9, 90, 1)])
def test_bootstrap_equals_resampling_rows_by_scipy(only_a, only_b, both, neither):
    a, b = correct(only_a, only_b, both, neither)
    ours = bootstrap_gain(a, b, resamples=20_000)
    theirs = stats.bootstrap(
        (a.astype(float), b.astype(float)),
        lambda x, y, axis: y.mean(axis) - x.mean(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    step = 1 / len(a)  # gains are multiples of one sample
    assert ours.gain == pytest.approx(b.mean() - a.mean())
    assert ours.low == pytest.approx(theirs.low, abs=1.01 * step)
    assert ours.high == pytest.approx(theirs.high, abs=1.01 * step)


@pytest.mark.parametrize(("only_a", "only_b", "both"), [(1, 2, 2), (0, 2, 3), (2, 1, 1), (0, 1, 3)])
def test_bootstrap_equals_every_resample_of_a_few_rows(only_a, only_b, both):
    a, b = correct(only_a, only_b, both)
    difference = b.astype(int) - a.astype(int)
    n = len(difference)
    every = [difference[list(rows)].sum() / n for rows in itertools.product(range(n), repeat=n)]
    # 0.8 keeps both ends away from jumps of these distributions, so a resampled quantile meets them exactly
    low, high = np.quantile(every, [0.1, 0.9])
    assert bootstrap_gain(a, b, resamples=50_000, level=0.8) == pytest.approx((difference.mean(), low, high))


@given(PAIRS.filter(len), st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_bootstrap_is_bounded_repeatable_and_turns_round_with_the_pair(pairs, seed, level):
    a, b = columns(pairs)
    gain, low, high = bootstrap_gain(a, b, seed, resamples=200, level=level)
    assert gain == pytest.approx(accuracy(b, np.ones_like(b)) - accuracy(a, np.ones_like(a)), abs=1e-12)
    assert -1 <= low <= high <= 1
    assert bootstrap_gain(a, b, seed, resamples=200, level=level) == (gain, low, high)
    assert bootstrap_gain(b, a, seed, resamples=200, level=level).gain == -gain
    wider = bootstrap_gain(a, b, seed, resamples=200, level=(1 + level) / 2)
    assert wider.low <= low
    assert high <= wider.high


def test_bootstrap_covers_the_gain_and_depends_on_the_seed():
    a, b = correct(40, 90, 800, 70)
    first, second = bootstrap_gain(a, b, seed=0, resamples=99), bootstrap_gain(a, b, seed=1, resamples=99)
    assert first != second
    assert first.gain == second.gain == pytest.approx(0.05)
    # the normal approximation: 1.96 standard errors of the mean paired difference
    half_width = 1.96 * np.std(b.astype(int) - a.astype(int)) / math.sqrt(1000)
    whole = bootstrap_gain(a, b)
    assert (whole.low, whole.high) == pytest.approx((0.05 - half_width, 0.05 + half_width), abs=0.002)


def test_bootstrap_without_a_difference_is_a_point():
    assert bootstrap_gain([True, False], [True, False]) == Gain(0.0, 0.0, 0.0)
    assert bootstrap_gain([False], [True]) == Gain(1.0, 1.0, 1.0)


def test_bootstrap_of_zero_samples_is_nan():
    assert all(math.isnan(x) for x in bootstrap_gain([], []))


@pytest.mark.parametrize("test", [mcnemar, bootstrap_gain])
def test_paired_tests_refuse_what_is_not_paired_or_not_bool(test):
    with pytest.raises(ValueError, match=r"a_correct has the shape \(2,\) and b_correct \(1,\); both must be \(n,\)"):
        test([True, False], [True])
    with pytest.raises(ValueError, match=r"both must be \(n,\)"):
        test([[True]], [[True]])
    with pytest.raises(ValueError, match="b_correct holds int64 values; it must hold one bool per sample"):
        test(np.array([True, False]), np.array([3, 17]))


@pytest.mark.parametrize(("key", "value"), [("resamples", 0), ("level", 0.0), ("level", 1.0), ("level", math.nan)])
def test_bootstrap_refuses(key, value):
    with pytest.raises(ValueError, match=f"{key} is {value}; it must be"):
        bootstrap_gain([True], [False], **{key: value})


# several seeds


@given(SEEDS)
def test_sign_flip_equals_every_toss_of_the_signs(both):
    a, b = both
    surplus = b.sum(0, dtype=int) - a.sum(0, dtype=int)
    tosses = [abs(np.dot(signs, surplus)) for signs in itertools.product((-1, 1), repeat=len(surplus))]
    assert sign_flip_test(a, b) == pytest.approx(np.mean(np.array(tosses) >= abs(surplus.sum())))
    assert sign_flip_test(b, a) == sign_flip_test(a, b)


@given(PAIRS)
def test_sign_flip_under_one_seed_is_mcnemars_test_and_the_same_seed_twice_is_no_more_evidence(pairs):
    a, b = columns(pairs)
    p_value = mcnemar(a, b).p_value
    for times in (1, 2, 3):
        assert sign_flip_test([a] * times, [b] * times) == pytest.approx(p_value)


def test_sign_flip_of_seeds_that_mend_different_samples_is_more_evidence():
    """Five seeds that each mend four samples of their own: twenty samples."""
    b = np.zeros((5, 100), dtype=bool)
    for seed in range(5):
        b[seed, 4 * seed : 4 * seed + 4] = True
    assert sign_flip_test(np.zeros_like(b), b) == pytest.approx(2 / 2**20)
    assert mcnemar(np.zeros(100, dtype=bool), b[0]).p_value == pytest.approx(2 / 2**4)


def test_sign_flip_of_many_samples_is_quick_and_a_probability():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 4000)) < 0.5
    assert 0 < sign_flip_test(a, b) <= 1
    assert sign_flip_test(np.zeros_like(a), np.ones_like(b)) == 0


def test_sign_flip_keeps_its_level():
    """Under seeds that agree with one another, it errs about as often as it says; pooling the seeds would not."""
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        hard = rng.random((2, 300)) < 0.5
        flipped = rng.random((2, 5, 300)) < 0.05
        a, b = hard[:, None] ^ flipped
        p_values.append(sign_flip_test(a, b))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("times", [1, 4])
def test_clustered_bootstrap_of_one_seed_is_the_bootstrap_however_often_it_is_repeated(times):
    a, b = correct(40, 90, 800, 70)
    assert clustered_bootstrap_gain([a] * times, [b] * times) == pytest.approx(bootstrap_gain(a, b), abs=0.002)


def test_clustered_bootstrap_equals_resampling_samples_by_scipy():
    rng = np.random.default_rng(0)
    a = rng.random((3, 200)) < 0.6
    b = a ^ (rng.random((3, 200)) < 0.2)
    theirs = stats.bootstrap(
        ((b.astype(float) - a).mean(0),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = clustered_bootstrap_gain(a, b, resamples=20_000)
    assert ours.gain == pytest.approx(b.mean() - a.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_clustered_bootstrap_of_zero_samples_is_nan():
    assert all(math.isnan(x) for x in clustered_bootstrap_gain([[]], [[]]))
    assert sign_flip_test([[]], [[]]) == 1


@pytest.mark.parametrize("test", [sign_flip_test, clustered_bootstrap_gain])
def test_clustered_tests_refuse_what_is_not_paired_or_not_bool(test):
    for wrong in ([True], [[True]] * 2, [[True, True]], []):
        with pytest.raises(ValueError, match=r"both must be \(seeds, n\)"):
            test(wrong, [[True]] if wrong else wrong)
    with pytest.raises(ValueError, match="b_correct holds int64 values; it must hold one bool per sample"):
        test(np.array([[True, False]]), np.array([[3, 17]]))


# aurc and augrc

ANSWERS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)
"""A confidence, with ties, and whether the answer is right."""


def split(answers: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = zip(*answers, strict=True)
    return np.array(confidence) / 8, np.array(right)


@given(ANSWERS)
def test_aurc_equals_plain_loops(answers):
    risks = []
    for confidence, _ in answers:
        answered = [right for other, right in answers if other >= confidence]
        risks.append(answered.count(False) / len(answered))
    assert aurc(*split(answers)) == pytest.approx(np.mean(risks))


@given(ANSWERS)
def test_the_risk_coverage_curve_equals_plain_loops(answers):
    share, risk = risk_coverage(*split(answers))
    levels = sorted({confidence for confidence, _ in answers}, reverse=True)
    assert len(share) == len(levels)
    for at, level in enumerate(levels):
        answered = [right for confidence, right in answers if confidence >= level]
        assert share[at] == pytest.approx(len(answered) / len(answers))
        assert risk[at] == pytest.approx(answered.count(False) / len(answered))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_cost_curve_equals_plain_loops(samples):
    hardness, before, after = map(np.array, zip(*samples, strict=True))
    share, accuracy = cost_curve(hardness, before, after)
    steps = [-1, *sorted({one for one, _, _ in samples})]
    assert len(share) == len(steps)
    for at, step in enumerate(steps):
        reranked = hardness <= step
        assert share[at] == pytest.approx(reranked.mean())
        assert accuracy[at] == pytest.approx(np.where(reranked, after, before).mean())
    asked = [0.0, 0.3, 1.0]
    expected = [accuracy[share <= one + 1e-9][-1] for one in asked]
    assert cost_curve(hardness, before, after, asked)[1] == pytest.approx(expected)


def test_curves_of_no_samples_are_empty():
    assert [len(part) for part in risk_coverage([], [])] == [0, 0]
    assert np.isnan(cost_curve([], [], [])[1]).all()


@given(ANSWERS)
def test_augrc_equals_its_closed_form(answers):
    confidence, right = split(answers)
    acc = right.mean()
    auroc = roc_auc_score(right, confidence) if 0 < acc < 1 else 1.0
    assert augrc(confidence, right) == pytest.approx((1 - auroc) * acc * (1 - acc) + (1 - acc) ** 2 / 2)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_both_look_at_the_order_of_confidences_alone(answers, random):
    shuffled = random.sample(answers, len(answers))
    for area in (aurc, augrc):
        confidence, right = split(shuffled)
        assert area(*split(answers)) == pytest.approx(area(np.exp(9 * confidence), right))


@given(ANSWERS)
def test_no_confidence_is_better_than_one_that_knows_and_none_worse_than_its_opposite(answers):
    confidence, right = split(answers)
    knows = right + np.arange(len(right)) / 100  # no two alike
    for area in (aurc, augrc):
        assert area(knows, right) <= area(confidence, right) + 1e-12
    assert augrc(confidence, right) <= augrc(-right.astype(float), right) + 1e-12
    assert 0 <= augrc(confidence, right) <= 0.5
    assert aurc(np.zeros(len(right)), right) == pytest.approx(1 - right.mean())
    assert augrc(np.zeros(len(right)), right) == pytest.approx((1 - right.mean()) / 2)


@pytest.mark.parametrize("area", [aurc, augrc])
def test_areas_of_nothing_and_of_what_is_none(area):
    assert math.isnan(area([], []))
    assert area([1.0, 2.0], [True, True]) == 0.0
    with pytest.raises(ValueError, match=r"confidence\[1\] is nan; it must be a number for every sample"):
        area([0.0, math.nan], [True, False])
    with pytest.raises(ValueError, match=r"confidence has the shape \(2,\) and correct \(3,\); both must be \(n,\)"):
        area([0.0, 1.0], [True, False, True])
    with pytest.raises(ValueError, match="correct holds int64 values; it must hold one bool per sample"):
        area([0.0, 1.0], [1, 0])


def test_the_summary_of_a_sweep_that_is_stopped_waits_for_no_library():
    program = "import sys, lrsl.sweep.summary; sys.exit(', '.join({'scipy', 'torch', 'matplotlib'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
