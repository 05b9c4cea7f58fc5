import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import LogLinear
from lrsl.reranking.fusion.likelihood import maximum_likelihood
from lrsl.reranking.fusion.log_linear import FittedLogLinear


def drawn(n=300, classes=4, seed=0):
    """Logits, labels, a view that knows something and one that knows nothing, and which rows are hard."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += 1
    view = 0.2 * torch.randn(n, classes, generator=generator)
    view[torch.arange(n), labels] += 0.3
    return logits, labels, [view, torch.randn(n, classes, generator=generator)], torch.arange(n) % 3 > 0


def fused(temperature, beta, logits, scores):
    return FittedLogLinear(temperature, torch.tensor(beta, dtype=torch.float64))(logits, scores)


def test_is_the_softmax_of_the_weighted_sum():
    logits, _, views, _ = drawn()
    found = fused(2.0, [3.0, 0.5], logits, views)
    expected = (logits.double() / 2 + 3 * views[0].double() + 0.5 * views[1].double()).softmax(-1)
    torch.testing.assert_close(found, expected.float())
    assert found.dtype == torch.float32
    assert fused(2.0, [3.0, 0.5], logits.double(), views).dtype == torch.float64
    assert fused(2.0, [3.0, 0.5], logits.half(), views).dtype == torch.float32


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_weights_of_0_give_the_classifier_back_to_the_bit(seed, temperature):
    logits, _, views, _ = drawn(n=20, seed=seed)
    assert torch.equal(fused(temperature, [0.0, 0.0], logits, views), logits.softmax(-1))


def test_it_is_better_than_either_alone_on_rows_it_has_not_seen():
    logits, labels, views, _ = drawn(n=4000)
    seen, new = slice(0, 2000), slice(2000, 4000)
    fitted = LogLinear().fit(logits[seen], labels[seen], [v[seen] for v in views], torch.ones(2000, dtype=torch.bool))
    answers = fitted(logits[new], [v[new] for v in views]).argmax(-1)
    right = (answers == labels[new]).double().mean()
    assert right > 0.05 + (logits[new].argmax(-1) == labels[new]).double().mean()
    assert right > 0.02 + (views[0][new].argmax(-1) == labels[new]).double().mean()


def test_which_rows_it_learns_from():
    logits, labels, views, hard = drawn()
    of_hard = maximum_likelihood(logits[hard], labels[hard], [view[hard] for view in views])
    fitted = LogLinear().fit(logits, labels, views, hard)
    assert (fitted.temperature, fitted.beta.tolist()) == of_hard
    of_all = maximum_likelihood(logits, labels, views)
    fitted = LogLinear(rows="all").fit(logits, labels, views, hard)
    assert (fitted.temperature, fitted.beta.tolist()) == of_all
    weighted = maximum_likelihood(logits, labels, views, torch.where(hard, 5.0, 1.0), penalty=0.5)
    fitted = LogLinear(rows="all", hard_weight=5.0, penalty=0.5).fit(logits, labels, views, hard)
    assert (fitted.temperature, fitted.beta.tolist()) == weighted
    assert len({of_hard.temperature, of_all.temperature, weighted.temperature}) == 3


def test_nothing_hard_or_one_label_alone_gives_the_classifier_back():
    logits, labels, views, hard = drawn()
    for fitted in (
        LogLinear().fit(logits, labels, views, torch.zeros_like(hard)),
        LogLinear().fit(logits, torch.ones_like(labels), views, hard),
    ):
        assert (fitted.temperature, fitted.beta.tolist()) == (1.0, [0.0, 0.0])
        assert torch.equal(fitted(logits, views), logits.softmax(-1))


def test_candidates_alone_may_be_scored():
    logits, labels, (view, _), hard = drawn()
    top = logits.topk(2).indices
    partly = torch.full_like(view, torch.nan).scatter(1, top, view.gather(1, top))
    partly[0] = torch.nan
    full = partly.nan_to_num(nan=torch.inf)
    full = torch.where(partly.isnan(), full.amin(-1, keepdim=True).nan_to_num(posinf=0.0), partly)
    fitted, same = (LogLinear().fit(logits, labels, [scores], hard) for scores in (partly, full))
    assert torch.equal(fitted.beta, same.beta)
    assert torch.equal(fitted(logits, [partly]), same(logits, [full]))
    assert fitted(logits, [partly]).isfinite().all()


def test_what_was_learnt_comes_back():
    logits, labels, views, hard = drawn()
    fitted = LogLinear().fit(logits, labels, views, hard)
    again = LogLinear().restore(fitted.learnt())
    assert torch.equal(again(logits, views), fitted(logits, views))
    assert set(fitted.learnt()) == {"temperature", "beta"}


def test_any_number_of_views_but_no_other_than_were_fitted():
    logits, labels, views, hard = drawn()
    assert torch.equal(LogLinear().fit(logits, labels, [], hard)(logits, []), logits.softmax(-1))
    fitted = LogLinear().fit(logits, labels, views, hard)
    with pytest.raises(ValueError, match="the fusion was fitted with 2 views, and there are 1"):
        fitted(logits, views[:1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": "easy"}, "rows is 'easy'; it must be 'hard' or 'all'"),
        ({"rows": "all", "hard_weight": 0}, "hard_weight is 0; it must be above 0"),
        ({"hard_weight": 2.0}, "hard_weight is 2.0 and has no effect with rows='hard'; leave it at 1"),
        ({"penalty": -1}, "penalty is -1; it must be at least 0"),
        ({"penalty": float("nan")}, "penalty is nan; it must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LogLinear(**settings)


def test_numbers_that_are_none_are_refused():
    logits, labels, views, hard = drawn(n=12)
    spoilt = views[0].clone()
    spoilt[3, 1] = torch.inf
    with pytest.raises(ValueError, match=r"scores\[1\]\[3, 1\] is inf; a score must be finite, or NaN for a label"):
        LogLinear().fit(logits, labels, [views[1], spoilt], hard)
    with pytest.raises(ValueError, match=r"scores\[0\] have shape \(12, 3\); with these logits it must be \(12, 4\)"):
        LogLinear().fit(logits, labels, [views[0][:, :3]], hard)
    with pytest.raises(ValueError, match=r"logits\[3, 1\] is inf; every value must be finite"):
        LogLinear().fit(spoilt, labels, views, hard)
    with pytest.raises(ValueError, match=r"labels\[0\] is 9; with 4 classes it must be 0 to 3"):
        LogLinear().fit(logits, torch.full_like(labels, 9), views, hard)
