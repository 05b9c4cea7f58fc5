"""What a run is judged by: accuracy, calibration, risk and coverage, mean and spread over seeds, paired significance.

Plain numpy and scipy. Two classifiers are always compared on the same samples, so all tests are paired: they look at
the samples on which exactly one of the two is right. Runs that differ in the seed alone share their samples, too; where
they are taken together, what the seeds make of one sample stays together (clustered).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class MeanStd(NamedTuple):
    """A mean and its sample standard deviation (ddof 1)."""

    mean: float
    std: float


class McNemar(NamedTuple):
    """McNemar's exact test on two classifiers, a and b.

    Attributes:
        only_a: number of samples that a alone gets right.
        only_b: number of samples that b alone gets right.
        p_value: two-sided probability of a split at least as uneven, if both were equally good.
    """

    only_a: int
    only_b: int
    p_value: float


class Gain(NamedTuple):
    """How much more accurate b is than a, as a fraction, with its bootstrap interval.

    Attributes:
        gain: accuracy of b less accuracy of a.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    gain: float
    low: float
    high: float


def accuracy(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the fraction of samples whose predicted label is the true one.

    NaN for zero samples: there is no such fraction, and 0 would look like a bad classifier.

    Args:
        predicted: predicted labels, (n,).
        labels: true labels, (n,).

    Raises:
        ValueError: the shapes differ or are not (n,).

    Example:
        >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
        0.75
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    _check_paired("predicted", predicted, "labels", labels)
    return float((predicted == labels).mean()) if labels.size else float("nan")


def accuracies(predicted: npt.ArrayLike, labels: npt.ArrayLike, hard: npt.ArrayLike) -> dict[str, float | None]:
    """Return the accuracy on all, hard and easy samples as fractions; None where there is no sample.

    Args:
        predicted: predicted labels, (n,).
        labels: true labels, (n,).
        hard: which samples are hard, (n,) bool.
    """
    predicted, labels, hard = np.asarray(predicted), np.asarray(labels), np.asarray(hard, dtype=bool)
    _check_paired("predicted", predicted, "hard", hard)
    parts = {"accuracy": np.ones_like(hard), "accuracy_hard": hard, "accuracy_easy": ~hard}
    return {name: accuracy(predicted[rows], labels[rows]) if rows.any() else None for name, rows in parts.items()}


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15) -> float:
    r"""Return the expected calibration error (Guo et al., 2017, eq. 5): 0 when confidence equals accuracy everywhere.

    $$ECE = \sum_b \frac{|B_b|}{n} |acc(B_b) - conf(B_b)|$$

    The confidence of a sample is its largest probability; bin b of the equally wide bins holds the confidences in
    ((b - 1) / bins, b / bins]. NaN for zero samples.

    Args:
        probabilities: one probability per class, (n, classes); each row sums to 1.
        labels: true labels, (n,).
        bins: number of bins.

    Raises:
        ValueError: the shapes do not fit, there are no bins, or a row is no distribution.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities have the shape {probabilities.shape} and labels {labels.shape}; "
            "they must be (n, classes) and (n,)"
        )
    if bins < 1:
        raise ValueError(f"bins is {bins}; it must be at least 1")
    if not labels.size:
        return float("nan")
    _check_distributions(probabilities)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    # |B_b| acc(B_b) and |B_b| conf(B_b) are sums over the bin, so the bin's size cancels
    surplus = np.bincount(np.searchsorted(edges, confidence, side="left"), weights=right - confidence)
    return float(np.abs(surplus).sum() / len(labels))


def aurc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    r"""Return the area under the risk-coverage curve (Geifman and El-Yaniv, 2017): low when mistakes are told apart.

    $$AURC = \frac{1}{n} \sum_i risk(i), \quad risk(i) = \frac{|\{j: c_j \ge c_i, wrong\}|}{|\{j: c_j \ge c_i\}|}$$

    The risk is the error rate among the samples that are answered, the most confident first; samples with equal
    confidence are answered together. A confidence that says nothing gives the error rate. NaN for zero samples.

    Args:
        confidence: any number per sample, high where it is sure, such as a detector's, (n,).
        correct: whether the answer is right, (n,) bool.

    Raises:
        ValueError: the shapes differ or are not (n,), a confidence is NaN, or a value is not a bool.

    Example:
        >>> aurc([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
        0.0625
    """
    answered, wrong = _risk_coverage(confidence, correct)
    sizes = np.diff(answered)
    return float((sizes * wrong[1:] / answered[1:]).sum() / answered[-1]) if answered[-1] else float("nan")


def augrc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    r"""Return the area under the generalised risk-coverage curve (Traub et al., 2024), between 0 and 1/2.

    $$AUGRC = \int P(wrong, c \ge \tau) \, dP(c \ge \tau)$$

    The generalised risk is the share of all samples that are answered and wrong, so that the first few answers do not
    weigh more than the rest, as they do in `aurc`. It is the mean risk of a silent mistake over all coverages, and
    equals (1 - AUROC) · acc · (1 - acc) + (1 - acc)² / 2. NaN for zero samples.

    Args:
        confidence: any number per sample, high where it is sure, such as a detector's, (n,).
        correct: whether the answer is right, (n,) bool.

    Raises:
        ValueError: the shapes differ or are not (n,), a confidence is NaN, or a value is not a bool.

    Example:
        >>> augrc([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
        0.03125
    """
    answered, wrong = _risk_coverage(confidence, correct)
    n = answered[-1]
    return float((np.diff(answered) * (wrong[1:] + wrong[:-1])).sum() / (2 * n * n)) if n else float("nan")


def risk_coverage(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the risk-coverage curve, of which `aurc` is the area: shares that are answered, rising, and their risks.

    The risk is the error rate among the samples that are answered, the most confident first; samples with equal
    confidence are answered together, so that there is a step for each confidence.

    Args:
        confidence: any number per sample, high where it is sure, such as a detector's, (n,).
        correct: whether the answer is right, (n,) bool.

    Raises:
        ValueError: the shapes differ or are not (n,), a confidence is NaN, or a value is not a bool.

    Example:
        >>> share, risk = risk_coverage([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
        >>> share.tolist(), risk.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])
    """
    answered, wrong = _risk_coverage(confidence, correct)
    return answered[1:] / max(answered[-1], 1), wrong[1:] / answered[1:]


def cost_curve(
    hardness: npt.ArrayLike,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    shares: npt.ArrayLike | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return shares of samples that are reranked, the hardest first, and the accuracy at each.

    Samples with equal hardness are reranked together; a share that is asked for takes as many as it has room for. NaN
    for zero samples.

    Args:
        hardness: a detector's number, low where a sample is hard, (n,).
        before: whether the answer is right before reranking, (n,) bool.
        after: whether it is right after, (n,) bool.
        shares: which shares, as fractions, (m,); 0 and a step per hardness unless given.

    Raises:
        ValueError: the shapes differ or are not (n,), a hardness is NaN, or a value is not a bool.

    Example:
        >>> share, accuracy = cost_curve([1.0, 3.0, 2.0, 4.0], [False, True, True, True], [True, True, False, True])
        >>> share.tolist(), accuracy.tolist()
        ([0.0, 0.25, 0.5, 0.75, 1.0], [0.75, 1.0, 0.75, 0.75, 0.75])
    """
    reranked, still_wrong = _risk_coverage(-np.asarray(hardness, dtype=np.float64), after)
    _, was_wrong = _risk_coverage(-np.asarray(hardness, dtype=np.float64), before)
    n = reranked[-1]
    at = np.arange(len(reranked))
    if shares is not None:
        at = np.searchsorted(reranked, np.asarray(shares, dtype=np.float64) * n + 1e-9, side="right") - 1
    if not n:
        nothing = np.full(len(at), np.nan)
        return nothing, nothing
    accuracy = 1 - (was_wrong[-1] - was_wrong[at] + still_wrong[at]) / n
    return (reranked[at] / n if shares is None else np.asarray(shares, dtype=np.float64)), accuracy


def mean_std(values: npt.ArrayLike) -> MeanStd:
    """Return the mean of the values, one per seed, and their sample standard deviation, 0.0 for a single value.

    Args:
        values: at least one number, (n,).

    Raises:
        ValueError: there is no value, or the shape is not (n,).

    Example:
        >>> mean_std([0.5, 0.75, 1.0])
        MeanStd(mean=0.75, std=0.25)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values have the shape {values.shape}; it must be (n,) with at least one value")
    return MeanStd(float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0)


def mcnemar(a_correct: npt.ArrayLike, b_correct: npt.ArrayLike) -> McNemar:
    """Test whether a and b are equally accurate on the same samples: McNemar's test, exact and two-sided.

    Args:
        a_correct: whether a is right, (n,) bool.
        b_correct: whether b is right, (n,) bool.

    Returns:
        the counts and the p-value, which is 1.0 when a and b are right on the same samples.

    Raises:
        ValueError: the shapes differ or are not (n,), or a value is not a bool.

    Example:
        >>> mcnemar([True, False, False, True], [True, True, True, True])
        McNemar(only_a=0, only_b=2, p_value=0.5)
    """
    from scipy.stats import binomtest  # noqa: PLC0415  (takes seconds, which a sweep that is stopped has not)

    only_a, only_b, _ = _discordant(a_correct, b_correct)
    p_value = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p_value)


def bootstrap_gain(
    a_correct: npt.ArrayLike, b_correct: npt.ArrayLike, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Gain:
    """Return the gain in accuracy from a to b with its paired bootstrap percentile interval.

    A sample's paired difference is 1 (only b is right), -1 (only a is right) or 0. How often each of the three stands
    in n rows drawn with replacement is multinomial, so that is drawn instead of the rows: the same distribution at a
    cost that does not depend on n.

    Args:
        a_correct: whether a is right, (n,) bool.
        b_correct: whether b is right, (n,) bool.
        seed: seed of the resampling; the same seed gives the same interval.
        resamples: number of resamples.
        level: coverage of the interval.

    Returns:
        the gain and its interval; NaN thrice for zero samples.

    Raises:
        ValueError: the shapes differ or are not (n,), a value is not a bool, there are no resamples, or the level is
            not between 0 and 1.
    """
    _check_resampling(resamples, level)
    only_a, only_b, n = _discordant(a_correct, b_correct)
    if not n:
        return Gain(float("nan"), float("nan"), float("nan"))
    share = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = np.random.default_rng(seed).multinomial(n, share, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / n, [(1 - level) / 2, (1 + level) / 2])
    return Gain((only_b - only_a) / n, float(low), float(high))


def clustered_bootstrap_gain(
    a_correct: npt.ArrayLike, b_correct: npt.ArrayLike, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Gain:
    """Return the mean gain in accuracy from a to b over several seeds with its bootstrap percentile interval.

    Drawn with replacement are the samples, each with what all seeds made of it: the seeds see the same samples, so n
    samples under s seeds are n pieces of evidence and not n x s. The seeds are taken as they are: the interval says how
    the gain would differ on other samples, not how it would under other seeds. With one seed this is `bootstrap_gain`.

    Args:
        a_correct: whether a is right, (seeds, n) bool.
        b_correct: whether b is right, (seeds, n) bool.
        seed: seed of the resampling; the same seed gives the same interval.
        resamples: number of resamples.
        level: coverage of the interval.

    Returns:
        the gain and its interval; NaN thrice for zero samples.

    Raises:
        ValueError: the shapes differ or are not (seeds, n), a value is not a bool, there are no resamples, or the level
            is not between 0 and 1.
    """
    _check_resampling(resamples, level)
    surplus, seeds = _surplus(a_correct, b_correct)
    if not len(surplus):
        return Gain(float("nan"), float("nan"), float("nan"))
    values, counts = np.unique(surplus, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(surplus), counts / len(surplus), size=resamples)
    gains = drawn @ values / (len(surplus) * seeds)
    low, high = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
    return Gain(float(surplus.sum()) / (len(surplus) * seeds), float(low), float(high))


def sign_flip_test(a_correct: npt.ArrayLike, b_correct: npt.ArrayLike) -> float:
    """Test whether a and b are equally accurate over several seeds: McNemar's test, clustered, exact and two-sided.

    For each sample s_i says by how many seeds b is right more often than a, from -seeds to seeds. Were a and b equally
    good, each s_i could as well have the other sign. The p-value is the probability that the sum of all s_i, every sign
    tossed anew, lies at least as far from 0 as it does. The seeds of one sample keep their sign together, so that they
    may depend on each other; as in `clustered_bootstrap_gain` they are taken as they are. With one seed this is
    McNemar's exact test.

    Args:
        a_correct: whether a is right, (seeds, n) bool.
        b_correct: whether b is right, (seeds, n) bool.

    Returns:
        the p-value, which is 1.0 when a and b are right on the same samples.

    Raises:
        ValueError: the shapes differ or are not (seeds, n), or a value is not a bool.
    """
    from scipy.stats import binom  # noqa: PLC0415  (takes seconds, which a sweep that is stopped has not)

    surplus, _ = _surplus(a_correct, b_correct)
    sizes, counts = np.unique(np.abs(surplus[surplus != 0]), return_counts=True)
    probability = np.ones(1)  # of each sum of the |s_i| whose sign came up positive
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        positive = np.zeros(size * count + 1)
        positive[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        probability = np.convolve(probability, positive)
    total = len(probability) - 1
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(probability[np.abs(sums) >= abs(int(surplus.sum()))].sum()))


def _risk_coverage(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how many samples are answered, and how many of them wrong, from none to all, one step per confidence."""
    c, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    _check_paired("confidence", c, "correct", right)
    _check_bools(correct=right)
    if np.isnan(c).any():
        raise ValueError(f"confidence[{int(np.isnan(c).argmax())}] is nan; it must be a number for every sample")
    _, which = np.unique(-c, return_inverse=True)
    answered = np.bincount(which).cumsum() if c.size else np.zeros(0)
    wrong = np.bincount(which, weights=~right.astype(bool)).cumsum() if c.size else np.zeros(0)
    return np.concatenate([[0.0], answered]), np.concatenate([[0.0], wrong])


def _surplus(a_correct: npt.ArrayLike, b_correct: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], int]:
    """Return by how many seeds b is right more often than a, for each sample, and how many seeds there are."""
    a, b = np.asarray(a_correct), np.asarray(b_correct)
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"a_correct has the shape {a.shape} and b_correct {b.shape}; both must be (seeds, n)")
    _check_bools(a_correct=a, b_correct=b)
    return b.sum(axis=0, dtype=np.int64) - a.sum(axis=0, dtype=np.int64), len(a)


def _discordant(a_correct: npt.ArrayLike, b_correct: npt.ArrayLike) -> tuple[int, int, int]:
    """Return how many samples a alone gets right, how many b alone, and how many there are."""
    a, b = np.asarray(a_correct), np.asarray(b_correct)
    _check_paired("a_correct", a, "b_correct", b)
    _check_bools(a_correct=a, b_correct=b)
    a, b = a.astype(bool), b.astype(bool)  # an empty list comes as float64
    return int((a & ~b).sum()), int((b & ~a).sum()), len(a)


def _check_paired(name: str, values: npt.NDArray[np.generic], other: str, others: npt.NDArray[np.generic]) -> None:
    if values.ndim != 1 or values.shape != others.shape:
        raise ValueError(f"{name} has the shape {values.shape} and {other} {others.shape}; both must be (n,)")


def _check_bools(**named: npt.NDArray[np.generic]) -> None:
    for name, values in named.items():
        if values.size and values.dtype != np.bool_:
            raise ValueError(f"{name} holds {values.dtype} values; it must hold one bool per sample")


def _check_resampling(resamples: int, level: float) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")


def _check_distributions(probabilities: npt.NDArray[np.float64]) -> None:
    # half precision sums to 1 within about a hundredth over a few hundred classes
    fine = (probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) < 0.02)
    if not fine.all():
        row = int(np.flatnonzero(~fine)[0])
        raise ValueError(
            f"probabilities[{row}] sums to {probabilities[row].sum():g} with a least value of "
            f"{probabilities[row].min():g}; every row must be at least 0 and sum to 1"
        )
