import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import Paper, core
from lrsl.reranking.fusion.likelihood import maximum_likelihood
from lrsl.reranking.fusion.paper import FLOOR, PaperWithPower


def drawn(n=400, classes=5, power=2.0, seed=0):
    """Logits, similarities, and labels drawn by eq. 10 with a power."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    similarity = 2 * torch.rand(n, classes, generator=generator) - 1
    weight = similarity.clamp(min=0.01) ** power * logits.softmax(-1)
    return logits, similarity, torch.multinomial(weight, 1, generator=generator)[:, 0]


EVERY = torch.ones(400, dtype=torch.bool)


def test_a_power_that_is_given_is_taken_and_nothing_is_learnt():
    logits, similarity, labels = drawn()
    for power in (1.0, 2, 0.5):
        for fusion in (Paper(power), Paper(power, letter=True)):
            assert fusion.fit(logits, labels, [similarity], EVERY) is fusion is fusion.restore({})
            assert fusion.learnt() == {}
        assert torch.equal(fusion(logits, [similarity]), core.rerank(logits, similarity, float(power)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1, 2.0, 3]))
def test_a_row_without_a_positive_score_keeps_the_classifiers_ranking_and_any_other_is_eq_10s(seed, power):
    logits, similarity, _ = drawn(60, classes=3, seed=seed)
    similarity[::20] = 0
    negative = (similarity <= 0).all(-1)
    assert 0 < negative.sum() < 60
    for fusion in (Paper(power), PaperWithPower(power)):
        scores = fusion(logits, [similarity])
        assert torch.equal(scores[negative], logits.softmax(-1)[negative])
        assert torch.equal(scores[~negative], core.rerank(logits, similarity, float(power))[~negative])
    for fusion in (Paper(power, letter=True), PaperWithPower(power, letter=True)):
        assert torch.equal(fusion(logits, [similarity]), core.rerank(logits, similarity, float(power)))


def test_where_none_of_the_scored_labels_is_positive_those_that_are_not_scored_count_for_nothing():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3)
    scores = torch.tensor([[torch.nan, -0.2, -0.1, torch.nan], [torch.nan] * 4, [torch.nan, 0.2, -0.1, torch.nan]])
    for power in (1.0, 2.0):
        order = Paper(power)(logits, [scores]).argsort(descending=True)
        assert order.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 0, 3]]
    assert Paper(1.0, letter=True)(logits, [scores])[0].argmax() == 2


def test_the_letter_is_among_the_settings_where_it_is_set():
    for settings in ({"power": 2.0}, {"power": "auto", "letter": True}):
        assert Paper(**settings).settings() == settings
    fitted = Paper("auto", letter=True).restore({"power": torch.tensor(1.0)})
    assert fitted == PaperWithPower(1.0, letter=True)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_auto_finds_the_power_that_the_labels_were_drawn_by(power):
    logits, similarity, labels = drawn(20000, power=power)
    positive = similarity.clamp(min=0.01)
    fitted = Paper("auto").fit(logits, labels, [positive], torch.ones(20000, dtype=torch.bool))
    assert fitted.power == pytest.approx(power, rel=0.1)


def test_auto_looks_at_hard_rows_alone():
    logits, similarity, labels = drawn()
    hard = torch.arange(400) % 2 > 0
    found = maximum_likelihood(logits[hard], labels[hard], [similarity[hard].double().clamp(min=FLOOR).log()])
    fitted = Paper("auto").fit(logits, labels, [similarity], hard)
    assert fitted.power == found.beta[0] * found.temperature
    spoilt = torch.where(hard, labels, 0)
    assert Paper("auto").fit(logits, spoilt, [similarity], hard).power == fitted.power


@given(st.integers(0, 2**32 - 1))
def test_it_ranks_as_eq_10_with_that_power_and_as_the_weighted_sum_does(seed):
    logits, similarity, labels = drawn(60, seed=seed)
    similarity = similarity.abs().clamp(min=2 * FLOOR).double()
    fitted = Paper("auto").fit(logits.double(), labels, [similarity], torch.ones(60, dtype=torch.bool))
    temperature, (beta,) = maximum_likelihood(logits.double(), labels, [similarity.log()])
    scores = fitted(logits.double(), [similarity])
    summed = logits.double() / temperature + beta * similarity.log()
    if fitted.power:  # every score is above 0
        assert torch.equal(scores, core.rerank(logits.double(), similarity, fitted.power))
    assert torch.equal(scores.argsort(-1), summed.argsort(-1))


def test_a_view_that_misleads_leaves_the_classifiers_ranking():
    logits, similarity, labels = drawn()
    worst = similarity.argmin(-1)
    fitted = Paper("auto").fit(logits, worst, [similarity], EVERY)
    assert fitted.power == 0
    assert torch.equal(fitted(logits, [similarity]), logits.softmax(-1))
    for nothing in (torch.zeros_like(EVERY), torch.arange(400) < 3):  # nothing hard, and hardly anything
        assert Paper("auto").fit(logits, labels, [similarity], nothing).power == 0


def test_what_auto_has_learnt_comes_back():
    logits, similarity, labels = drawn()
    fitted = Paper("auto").fit(logits, labels, [similarity], EVERY)
    again = Paper("auto").restore(fitted.learnt())
    assert isinstance(again, PaperWithPower)
    assert again.power == fitted.power > 0
    assert Paper("auto").settings() == {"power": "auto"}


def test_candidates_alone_may_be_scored():
    logits, similarity, labels = drawn()
    top = logits.topk(3).indices
    partly = torch.full_like(similarity, torch.nan).scatter(1, top, similarity.gather(1, top))
    scores = Paper("auto").fit(logits, labels, [partly], EVERY)(logits, [partly])
    assert scores.isfinite().all()
    assert torch.equal(scores.topk(3).indices.sort(-1).values, top.sort(-1).values)


@pytest.mark.parametrize("power", ["automatic", "2", ""])
def test_a_word_that_is_not_auto_is_refused(power):
    with pytest.raises(ValueError, match=f"power is '{power}'; it must be a number above 0, or 'auto'"):
        Paper(power)


def test_auto_needs_to_be_fitted_and_one_view():
    logits, similarity, labels = drawn()
    with pytest.raises(ValueError, match="power is 'auto' and has yet to be found; fit the fusion first"):
        Paper("auto")(logits, [similarity])
    for wrong in ([], [similarity, similarity]):
        with pytest.raises(ValueError, match=f"joins the logits with one view, and there are {len(wrong)}"):
            Paper("auto").fit(logits, labels, wrong, EVERY)
        for power in (0.0, 2.0):
            with pytest.raises(ValueError, match=f"joins the logits with one view, and there are {len(wrong)}"):
                PaperWithPower(power)(logits, wrong)


@pytest.mark.parametrize("sure", [1.0, 5.0])
def test_a_large_power_ranks_as_its_logarithm_does(sure):
    generator = torch.Generator().manual_seed(0)
    logits = sure * torch.randn(40, 5, generator=generator)
    cosines = 0.05 + 0.2 * torch.rand(40, 5, generator=generator)
    power = 20.0 * sure
    exact = (logits.double().log_softmax(-1) + power * cosines.double().log()).argmax(-1)
    assert torch.equal(Paper(power)(logits, [cosines]).argmax(-1), exact)
    gaps = cosines.masked_fill(torch.eye(5).bool().repeat(8, 1), torch.nan)
    assert Paper(power)(logits, [gaps]).isfinite().all()
