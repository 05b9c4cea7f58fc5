"""Maximum likelihood against scipy without gradients, torch's gradients, and what the truth is known to be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from lrsl.reranking.fusion.likelihood import LARGEST_FACTOR, LEAST_ROWS, filled, maximum_likelihood


def drawn(n=400, classes=5, informative=1, noise=1, seed=0, temperature=1.0, beta=1.5):
    """Logits, views, and labels drawn from softmax(z / T + sum of beta f) over the informative views."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    views = [torch.randn(n, classes, generator=generator, dtype=torch.float64) for _ in range(informative + noise)]
    truth = (logits / temperature + beta * sum(views[:informative], torch.zeros(()))).softmax(-1)
    return logits, torch.multinomial(truth, 1, generator=generator)[:, 0], views


def mean_likelihood(logits, labels, views, temperature, beta, weights=None):
    z = logits / temperature + sum((b * v for b, v in zip(beta, views, strict=True)), torch.zeros(()))
    rows = z.log_softmax(-1)[torch.arange(len(labels)), labels]
    share = torch.ones(len(labels)) if weights is None else weights
    return float((rows * share).sum() / share.sum())


def test_finds_the_weights_that_the_labels_were_drawn_by():
    logits, labels, views = drawn(n=8000, temperature=2.0, beta=1.5)
    temperature, beta = maximum_likelihood(logits, labels, views)
    assert temperature == pytest.approx(2.0, rel=0.1)
    assert beta[0] == pytest.approx(1.5, rel=0.1)
    assert beta[1] == pytest.approx(0, abs=0.05)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_no_other_weights_are_likelier_without_a_price(seed, number):
    logits, labels, views = drawn(n=60, informative=number, seed=seed)
    temperature, beta = maximum_likelihood(logits, labels, views, penalty=0)
    best = mean_likelihood(logits, labels, views, temperature, beta)
    rng = np.random.default_rng(seed)
    for size in (0.3, 0.01):
        other = np.maximum(np.array(beta) + size * rng.normal(size=len(beta)), 0)
        t = temperature * float(np.exp(size * rng.normal()))
        assert mean_likelihood(logits, labels, views, t, other) <= best + 1e-7


def test_without_a_view_it_is_temperature_scaling():
    logits, labels, _ = drawn(temperature=3.0, informative=0)
    found = minimize_scalar(
        lambda t: -mean_likelihood(logits, labels, [], t, []), bounds=(0.1, 10), options={"xatol": 1e-9}
    )
    assert maximum_likelihood(logits, labels, []).temperature == pytest.approx(found.x, rel=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_weight_is_a_repetition(seed, times):
    logits, labels, views = drawn(n=40, seed=seed)
    weights = torch.ones(40)
    weights[:15] = times
    again = torch.cat([torch.arange(40), *[torch.arange(15)] * (times - 1)])
    once = maximum_likelihood(logits, labels, views, weights, penalty=0)
    repeated = maximum_likelihood(logits[again], labels[again], [view[again] for view in views], penalty=0)
    assert once.temperature == pytest.approx(repeated.temperature, rel=1e-3)
    assert once.beta == pytest.approx(repeated.beta, rel=1e-3, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(-3, 3), st.floats(-5, 5))
def test_units_and_what_is_added_to_a_row_do_not_matter(seed, unit, unit_of_logits, shift):
    logits, labels, views = drawn(n=60, informative=2, seed=seed)
    here = maximum_likelihood(logits, labels, views)
    a, b = 10.0**unit, 10.0**unit_of_logits
    rows = shift * torch.arange(60.0, dtype=torch.float64)[:, None]
    there = maximum_likelihood(b * logits + rows, labels, [a * views[0] - rows, *views[1:]])
    assert there.temperature == pytest.approx(b * here.temperature, rel=1e-3)
    assert a * there.beta[0] == pytest.approx(here.beta[0], rel=1e-3, abs=1e-4)
    assert there.beta[1:] == pytest.approx(here.beta[1:], rel=1e-3, abs=1e-4)


def test_a_view_that_misleads_gets_exactly_nothing():
    logits, labels, views = drawn()
    assert maximum_likelihood(logits, labels, [-views[0]], penalty=0).beta == [0.0]
    assert maximum_likelihood(logits, labels, [torch.full_like(logits, 0.7)], penalty=0).beta == [0.0]


def test_noise_gets_exactly_nothing_about_as_often_as_one_standard_error_says():
    nothing = 0
    for seed in range(60):
        logits, labels, views = drawn(n=200, informative=0, noise=1, seed=seed)
        nothing += maximum_likelihood(logits, labels, views).beta == [0.0]
    assert 42 <= nothing < 60  # 84 % of a normal distribution lie below one standard error


def test_the_price_grows_until_nothing_is_worth_it():
    logits, labels, views = drawn(n=300, informative=1, noise=0)
    betas = [maximum_likelihood(logits, labels, views, penalty=penalty).beta[0] for penalty in (0, 1, 3, 100)]
    assert betas[0] > betas[1] > betas[2] > betas[3] == 0.0


def test_a_view_that_knows_everything_gets_a_weight_all_the_same():
    logits, labels, _ = drawn(n=100)
    temperature, (beta,) = maximum_likelihood(logits, labels, [torch.eye(5, dtype=torch.float64)[labels]], penalty=0)
    assert 0 < beta < np.inf
    assert 0 < temperature <= LARGEST_FACTOR * logits.std(dim=1).mean() * 2


def test_a_classifier_that_is_always_right_is_believed_and_not_without_end():
    labels = torch.arange(40) % 4
    for size in (1.0, 1e-6, 1e3):
        temperature = maximum_likelihood(size * torch.eye(4)[labels], labels, []).temperature
        assert size / LARGEST_FACTOR * (1 - 1e-6) <= temperature < size / 10


def test_too_little_to_learn_from_teaches_nothing():
    logits, labels, views = drawn(n=LEAST_ROWS)
    assert maximum_likelihood(logits, labels, views) != (1.0, [0.0, 0.0])
    few = slice(LEAST_ROWS - 1)
    assert maximum_likelihood(logits[few], labels[few], [view[few] for view in views]) == (1.0, [0.0, 0.0])
    assert maximum_likelihood(logits[:0], labels[:0], [view[:0] for view in views]) == (1.0, [0.0, 0.0])
    assert maximum_likelihood(logits, torch.zeros_like(labels), views) == (1.0, [0.0, 0.0])


def test_logits_that_say_nothing_leave_the_temperature_alone():
    _, labels, views = drawn(n=300)
    temperature, beta = maximum_likelihood(torch.zeros(300, 5), labels, views)
    assert temperature == 1.0
    assert beta[0] > 0


def test_what_is_not_scored_is_the_smallest_of_its_row():
    nan = torch.nan
    found = filled(torch.tensor([[0.5, nan, -2.0], [nan, nan, nan], [1.0, 2.0, 3.0]]))
    assert found.tolist() == [[0.5, -2.0, -2.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    assert found.dtype == torch.float64


@pytest.mark.parametrize("mask", [-1e30, torch.finfo(torch.float32).min])
def test_a_label_that_is_masked_hides_no_other(mask):
    logits, labels, views = drawn(n=200, informative=1, noise=0)
    masked = (labels + 1) % 5
    at = torch.arange(200), masked
    far, further = (logits.clone().index_put(at, torch.tensor(by, dtype=torch.float64)) for by in (-1e4, mask))
    expected, found = (maximum_likelihood(of, labels, views) for of in (far, further))
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert found.beta == pytest.approx(expected.beta, rel=1e-3)
    assert found.beta[0] > 0.5


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e300])
def test_scores_in_enormous_units_are_weighed_all_the_same(scale):
    logits, labels, (view,) = drawn(n=200, informative=1, noise=0)
    usual, other = (maximum_likelihood(logits, labels, [view * by]) for by in (1, scale))
    assert other.beta[0] * scale == pytest.approx(usual.beta[0], rel=1e-3)
    assert maximum_likelihood(logits * 1e300, labels, [view]).temperature > 0
