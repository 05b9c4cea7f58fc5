"""Weights of logits and views by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from lrsl.reranking.gaps import without_gaps

LEAST_ROWS = 10  # below that nothing is fitted
LARGEST_FACTOR = 100.0  # of logits, up or down: rows that are all right would take T to 0, at random to infinity
LEAST_APART = 1e-3  # standard deviations between the two largest logits of rows that are all but ties
LARGEST_WEIGHT = 1000.0  # of a view whose scores have a standard deviation of 1
NEGLIGIBLE = 1e-9  # nats per row
FURTHEST = 1e4  # below a row's largest logit; what is masked lies further, and nothing so unlikely is told apart
USUAL_WEIGHT = 3.0  # of a view whose scores have a standard deviation of 1

Array = NDArray[np.float64]


class Weights(NamedTuple):
    """What was fitted.

    Attributes:
        temperature: the logits are divided by it; above 0.
        beta: the weight of each view, at least 0.
    """

    temperature: float
    beta: list[float]


def maximum_likelihood(
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    weights: Tensor | None = None,
    penalty: float = 1.0,
) -> Weights:
    r"""Return the weights that make the true labels likeliest (log-linear pooling; Genest and Zidek, 1986).

    $$p(y | x) = softmax(z / T + \sum_v \beta_v f_v)$$

    The mean log-likelihood is concave in 1 / T and β, so there is one best answer. From it a price for every β is
    taken, linear in β (the lasso of Tibshirani, 1996): `penalty` times the standard error of its derivative at β = 0.
    So a view gets a weight only if the evidence for it is more than so many standard errors, in whatever units its
    scores come; any other gets exactly 0. The same penalty times a Gaussian prior, with a standard deviation of 3 for
    scores whose own is 1, keeps the weights of views finite where they tell a few rows apart without a mistake. T is
    at least a hundredth of the median distance between a row's two largest logits, and at most a hundred times the
    standard deviation of a row's. With fewer than 10 rows, or one label alone, T is 1 and every β 0.

    Args:
        logits: the classifier's, `(n, classes)`, finite.
        labels: true labels, `(n,)`.
        scores: each view's, `(n, classes)`, finite.
        weights: how much each row counts, `(n,)`, above 0; 1 unless given.
        penalty: the price of a weight in standard errors, at least 0; with 0 there is no prior either.
    """
    if len(logits) < LEAST_ROWS or len(labels.unique()) < 2:
        return Weights(1.0, [0.0] * len(scores))
    parts = np.stack([part.detach().cpu().double().numpy() for part in (logits, *scores)])
    parts[0] = np.maximum(parts[0], parts[0].max(axis=1, keepdims=True) - FURTHEST)
    size = np.maximum(np.abs(parts).max(axis=(1, 2)), np.finfo(np.float64).tiny)
    parts /= size[:, None, None]  # else what is large has a square that is infinite
    parts -= parts.mean(axis=2, keepdims=True)  # what is added to a whole row changes no probability
    scale = np.sqrt(np.square(parts).mean(axis=(1, 2)))
    constant = scale <= 1e-12
    parts[constant], scale[constant], size[constant] = 0, 1, 1
    parts /= scale[:, None, None]
    scale *= size
    second, first = np.partition(parts[0], -2, axis=1)[:, -2:].T
    apart = max(float(np.median(first - second)), LEAST_APART)  # which knows nothing of what is masked
    gold = parts[:, np.arange(len(labels)), labels.cpu().numpy()]
    share = np.ones(len(labels)) if weights is None else weights.detach().cpu().double().numpy()
    share = share / share.sum()
    prior = penalty / (USUAL_WEIGHT**2 * len(labels))

    def expected(x: Array) -> tuple[Array, Array]:
        """Return the log-likelihood of each row, and the derivative of that with respect to x."""
        used = parts[: len(x)]
        z = np.tensordot(x, used, axes=1)
        z -= z.max(axis=1, keepdims=True)
        likelihood = np.take_along_axis(z, labels.cpu().numpy()[:, None], axis=1)[:, 0]
        probabilities = np.exp(z, out=z)
        total = probabilities.sum(axis=1)
        means = np.einsum("vnc,nc->vn", used, probabilities) / total
        return likelihood - np.log(total), gold[: len(x)] - means

    def loss(x: Array, prices: Array) -> tuple[float, Array]:
        likelihood, derivative = expected(x)
        of_views = np.concatenate([[0.0], x[1:]])
        value = prices @ x + prior / 2 * of_views @ of_views - share @ likelihood
        return float(value), prices + prior * of_views - derivative @ share

    def fitted(start: Array, prices: Array) -> Array:
        inverse = (1 / LARGEST_FACTOR, LARGEST_FACTOR / apart)  # of T, in standard deviations
        bounds = [inverse, *[(0.0, LARGEST_WEIGHT)] * (len(start) - 1)]
        options = {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 500}
        found = minimize(loss, start, (prices,), method="L-BFGS-B", jac=True, bounds=bounds, options=options)
        return np.asarray(found.x, dtype=np.float64)

    alone = fitted(scale[:1], np.zeros(1))
    x = np.concatenate([alone, np.zeros(len(scores))])
    if scores:
        _, derivative = expected(x)
        spread = derivative - derivative.mean(axis=1, keepdims=True)
        prices = penalty * np.sqrt(np.square(share * spread).sum(axis=1))
        prices[0] = 0.0
        x = fitted(x, prices)
        for view in np.flatnonzero(x[1:]) + 1:  # where the search stopped a hair's breadth before 0
            without = x.copy()
            without[view] = 0.0
            if loss(without, prices)[0] <= loss(x, prices)[0] + NEGLIGIBLE:
                x = without
    weight = x / scale
    return Weights(float(1 / weight[0]), weight[1:].tolist())


def filled(scores: Tensor) -> Tensor:
    """Return scores in float64 with a number for every label, as `lrsl.reranking.gaps` fills them."""
    return without_gaps(scores.double())
