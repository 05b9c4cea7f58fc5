import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from lrsl import BestGain, Paper, Sigma2Mis
from lrsl.reranking.rule import Rule, recorded_scores
from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD


def fitted(hardness, before, after):
    """The threshold for rows of which the classifier and reranking are right as said, label 0 being the true one."""
    before, after = torch.as_tensor(before), torch.as_tensor(after)
    logits = torch.where(before[:, None], torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    labels = torch.zeros(len(before)).long()
    hardness = torch.as_tensor(hardness, dtype=torch.float64)
    return BestGain().fit_on_answers(hardness, logits, labels, (~after).long())


def one_standard_error(hardness, change):
    """The rule written out: every threshold that sets rows apart, the best of them, and the smallest near it."""
    n = len(hardness)
    options = [(0, 0.0, 0.0)]
    for threshold in [*sorted(set(hardness))[1:], math.inf]:
        gains = [c if h < threshold else 0 for h, c in zip(hardness, change, strict=True)]
        error = np.std(gains, ddof=1) / math.sqrt(n) if n > 1 else math.inf
        options.append((sum(h < threshold for h in hardness), sum(gains) / n, error))
    _, best, error = max(options, key=lambda option: (option[1], -option[0]))
    return min(size for size, gain, _ in options if gain >= best - error - 1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_is_the_one_standard_error_rule_written_out(rows):
    hardness, before, after = (list(column) for column in zip(*rows, strict=True))
    found = fitted(np.array(hardness), np.array(before), np.array(after))
    change = [int(a) - int(b) for a, b in zip(after, before, strict=True)]
    assert sum(h < found for h in hardness) == one_standard_error(hardness, change)


def test_what_reranking_mends_is_hard():
    right = np.arange(200) >= 40  # the hardest fifth is wrong
    found = fitted(np.arange(200.0), right, np.arange(200) < 40)  # and the only one that reranking gets right
    assert 30 <= found <= 40


@pytest.mark.parametrize("after", ["the same", "worse"])
def test_nothing_is_hard_where_nothing_is_gained_also_among_rows_never_seen(after):
    before = np.arange(50) % 3 > 0
    found = fitted(np.arange(50.0), before, before if after == "the same" else np.zeros(50, dtype=bool))
    assert found == NOTHING_HARD < -1e30


def test_a_gain_that_chance_may_have_given_leaves_nothing_hard():
    before, after = np.ones(100, dtype=bool), np.ones(100, dtype=bool)
    before[[3, 5, 8]] = False  # three mended
    after[[4, 6]] = False  # two broken
    assert fitted(np.arange(100.0), before, after) == NOTHING_HARD


def test_everything_is_hard_where_every_row_is_mended():
    hardness = np.arange(100.0)
    assert fitted(hardness, hardness < 0, hardness == hardness) == EVERYTHING_HARD  # the fewer, the less
    assert fitted(np.zeros(100), hardness < 0, hardness == hardness) == EVERYTHING_HARD  # all or none


def test_it_cannot_be_fitted_without_answers():
    logits, labels = torch.randn(8, 3), torch.arange(8) % 3
    with pytest.raises(ValueError, match="BestGain weighs what reranking would answer; fit the rule with the views'"):
        BestGain().fit(torch.zeros(8), logits, labels)
    with pytest.raises(ValueError, match="BestGain finds the threshold from what reranking would answer; fit"):
        Rule(threshold=BestGain()).detection(logits, labels)
    assert BestGain.needs_answers
    assert not Sigma2Mis.needs_answers


def test_a_rule_without_need_of_answers_does_not_look_at_them():
    hardness, logits, labels = torch.rand(8), torch.randn(8, 3), torch.arange(8) % 3
    assert Sigma2Mis().fit_on_answers(hardness, logits, labels, labels) == Sigma2Mis().fit(hardness, logits, labels)


def gains_in_likelihood(before, after, labels):
    """What the rule goes by, written out: log-likelihoods at the temperature that fits best."""

    def calibrated(logits):
        def likelihood(log_temperature):
            told = (logits / math.exp(log_temperature)).log_softmax(-1)
            return told.gather(1, labels[:, None])[:, 0]

        found = minimize_scalar(lambda t: -float(likelihood(t).sum()), bounds=(-4, 4), options={"xatol": 1e-10})
        return likelihood(found.x)

    return calibrated(after) - calibrated(before)


@pytest.mark.parametrize("seed", range(4))
def test_likelihood_goes_by_what_each_row_s_label_gains(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (80,), generator=generator)
    logits = torch.randn(80, 3, generator=generator, dtype=torch.float64) + torch.eye(3)[labels]
    hardness = torch.rand(80, generator=generator, dtype=torch.float64)
    helped = logits + torch.eye(3)[labels] * (hardness < 0.4)[:, None]  # where it helps, and no further
    helped += 0.3 * torch.randn(80, 3, generator=generator)
    scores = helped.softmax(-1)
    found = BestGain().fit_on_scores(hardness, logits, labels, scores, probabilities=True)
    order = hardness.argsort()
    gains = gains_in_likelihood(logits, helped, labels)[order].numpy()
    sizes = sorted({math.floor(80 * step / 100) for step in range(101)})
    best = max(sizes, key=lambda size: gains[:size].sum())
    error = np.std(np.where(np.arange(80) < best, gains, 0), ddof=1) / math.sqrt(80)
    fewest = min(size for size in sizes if gains[:size].sum() / 80 >= gains[:best].sum() / 80 - error)
    assert 0 < (hardness < found).sum() == fewest < 40


def test_likelihood_hears_of_what_answers_do_not_tell():
    """True labels get likelier on the hardest half, and no answer changes."""
    labels = torch.zeros(400).long()
    wrong = torch.arange(400) % 8 == 0
    logits = torch.where(wrong[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    hardness = torch.arange(400.0)
    better = logits.clone()
    better[:200, 0] += torch.where(wrong[:200], 0.8, 0.5)
    given = hardness, logits, labels, better.softmax(-1)
    by_likelihood = BestGain().fit_on_scores(*given, probabilities=True)
    assert 100 < by_likelihood <= 220
    assert BestGain("likelihood").fit_on_scores(*given, probabilities=False) == by_likelihood
    for by_accuracy in (BestGain(), BestGain("accuracy")):
        assert by_accuracy.fit_on_scores(*given, probabilities=False) == NOTHING_HARD
    assert BestGain("accuracy").fit_on_scores(*given, probabilities=True) == NOTHING_HARD


def test_where_nothing_is_gained_the_mistakes_may_tell_what_is_hard():
    labels = torch.zeros(50).long()
    logits = torch.where((torch.arange(50) % 3 == 0)[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    hardness = torch.arange(50.0)
    given = hardness, logits, labels, logits.softmax(-1)
    assert BestGain().fit_on_scores(*given, probabilities=True) == NOTHING_HARD
    told = BestGain(without_gain="mistakes").fit_on_scores(*given, probabilities=True)
    assert told == Sigma2Mis().fit(hardness, logits, labels) == hardness[::3].mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"criterion": "loss"}, "criterion is 'loss'; it must be one of likelihood, accuracy"),
        ({"without_gain": "all"}, "without_gain is 'all'; it must be one of nothing, mistakes"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BestGain(**settings)


def test_answers_alone_do_not_tell_likelihood():
    with pytest.raises(ValueError, match="answers do not tell"):
        BestGain("likelihood").fit_on_answers(torch.zeros(8), torch.randn(8, 3), torch.zeros(8), torch.zeros(8))


class Remembering(Paper):
    """Eq. 10 that remembers which rows it was fitted on; their first logit is their number."""

    seen: list

    def fit(self, logits, labels, scores, hard):
        self.seen.append((set(logits[:, 0].tolist()), bool(hard.all())))
        return self


def test_a_whole_rule_is_fitted_on_answers_of_fusions_that_did_not_see_the_row():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 4, (60,), generator=generator)
    logits = torch.rand(60, 4, generator=generator) + 100
    logits[:, 0] = torch.arange(60.0)  # never the largest
    similarity = torch.eye(4)[labels]
    fusion = Remembering()
    object.__setattr__(fusion, "seen", [])
    rule = Rule(threshold=BestGain(), fusion=fusion)
    fitted = rule.fit(logits, labels, [recorded_scores(similarity)])
    *folds, last = fusion.seen
    assert len(folds) == 5
    assert all(every and len(rows) == 48 for rows, every in folds)
    held_out = [set(range(60)) - rows for rows, _ in folds]
    assert sorted(row for rows in held_out for row in rows) == list(range(60))
    hard = fitted.detection.is_hard(logits)
    assert last[0] == set(range(60))
    assert not last[1]
    assert 0.4 < hard.double().mean() < 1  # two of three answers are wrong, and reranking mends them all
    again = rule.fit(logits, labels, [recorded_scores(similarity)])
    assert again.detection.threshold == fitted.detection.threshold


class Broken(Paper):
    """Gives what no row can be ranked by."""

    def __call__(self, logits, scores):
        return logits[:, :1] if self.power == 2 else logits * math.nan


@pytest.mark.parametrize("power", [1, 2])
def test_a_fusion_that_gives_no_number_for_a_label_is_refused_while_the_gain_is_found(power):
    logits, labels = torch.eye(4).repeat(5, 1), torch.arange(20) % 4  # all right: nothing would ever be hard
    with pytest.raises(ValueError, match="a fusion gives a number for every label"):
        Rule(threshold=BestGain(), fusion=Broken(power)).fit(logits, labels, [recorded_scores(logits)])
