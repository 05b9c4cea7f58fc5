"""The formulas that the paper's authors released, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import AuthorsEncoder, AuthorsLLM, Paper


def drawn(seed, n=5, classes=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, classes)), rng.uniform(-1, 1, size=(n, classes))


def found(fusion, logits, similarity):
    return fusion(torch.from_numpy(logits), [torch.from_numpy(similarity)]).numpy()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2.0, 3]))
def test_the_encoders_formula(seed, power):
    logits, similarity = drawn(seed)
    for row, z, d in zip(found(AuthorsEncoder(power), logits, similarity), logits, similarity, strict=True):
        weights = d if power == 1 else [max(s, 0) ** power for s in d]
        np.testing.assert_allclose(row, [a * b for a, b in zip(z, weights, strict=True)], rtol=1e-12, atol=1e-15)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2.0, 3]), st.booleans())
def test_the_language_models_formula(seed, power, largest_to_one):
    logits, similarity = drawn(seed)
    fusion = AuthorsLLM(power, largest_to_one)
    for row, z, d in zip(found(fusion, logits, similarity), logits, similarity, strict=True):
        total = math.fsum(math.exp(a) for a in z)
        given = [1.0 if largest_to_one and s == max(d) else s for s in d]
        weights = given if power == 1 else [max(s, 0) ** power for s in given]
        expected = [math.exp(a) / total * b for a, b in zip(z, weights, strict=True)]
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-15)


def test_the_language_models_formula_is_eq_10_but_for_the_power():
    logits, similarity = drawn(0)
    assert np.array_equal(found(AuthorsLLM(), logits, similarity), found(Paper(2.0), logits, similarity))
    assert not np.array_equal(found(AuthorsEncoder(), logits, similarity), found(Paper(2.0), logits, similarity))


@pytest.mark.parametrize("fusion", [AuthorsEncoder(), AuthorsLLM(3.0, largest_to_one=True)], ids=repr)
def test_what_is_not_scored_comes_after_what_is_and_nothing_is_learnt(fusion):
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    partly = torch.tensor([[torch.nan, 0.1, 0.9, torch.nan]])
    assert fusion.fit(logits, torch.zeros(1).long(), [partly], torch.ones(1).bool()) is fusion is fusion.restore({})
    scores = fusion(logits, [partly])
    assert scores.isfinite().all()
    assert scores.argsort(descending=True).tolist() == [[2, 1, 0, 3]]
    assert partly.isnan().tolist() == [[True, False, False, True]]  # as it was given


@pytest.mark.parametrize("kind", [AuthorsEncoder, AuthorsLLM])
def test_one_view_a_power_above_0_and_finite_logits(kind):
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="the authors' fusion joins the logits with one view, and there are 2"):
        kind()(logits, [logits, logits])
    with pytest.raises(ValueError, match="power is 0; it must be above 0"):
        kind(0)
    with pytest.raises(ValueError, match=r"logits\[0, 0\] is nan; every value must be finite"):
        kind()(logits.where(logits > 0, torch.nan), [logits])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_computed_in(dtype):
    for kind in (AuthorsEncoder, AuthorsLLM):
        assert kind()(torch.ones(1, 3, dtype=dtype), [torch.ones(1, 3, dtype=dtype)]).dtype == torch.float32
