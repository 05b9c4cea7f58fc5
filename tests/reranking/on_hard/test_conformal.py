"""Sets of labels: as often right as stated, larger with more coverage, one label for easy rows."""

import builtins
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lrsl import BestGain, Budget, LogLinear, Margin, Paper
from lrsl.errors import InputError
from lrsl.reranking.fusion import FittedFusion, Fusion
from lrsl.reranking.on_hard.conformal import Conformal, calibrated, check_installed, label_sets, restored
from lrsl.reranking.rule import Rule, recorded_scores

RULE = Rule(Margin(), Budget(0.5), LogLinear())


@pytest.fixture
def crepes():
    return pytest.importorskip("crepes")


def drawn(n, seed, classes=5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += 1
    view = 0.3 * torch.randn(n, classes, generator=generator)
    view[torch.arange(n), labels] += 0.4
    return logits, labels, [view]


def made(held_out, new, rule=RULE, reranks=True):
    """The conformal part, and what the fitted rule makes of new rows."""
    logits, labels, scores = held_out
    fitted = rule.fit(logits, labels, [recorded_scores(score) for score in scores])
    reranked = fitted.rerank(new[0], [recorded_scores(score) for score in new[2]])
    return calibrated(rule, logits, labels, scores, reranks=reranks), reranked


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_exchangeable_rows_are_covered_as_stated(crepes, coverage):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(2000, 99, generator=generator, dtype=torch.float64)
    covered = 0
    for row in scores.split(1):  # in each world 98 rows teach, and one is new, with its true label's non-conformity
        world = row[0]
        largest = Conformal(world[:-1], 1.0)._largest(coverage)
        covered += bool(world[-1] <= largest)
    low, high = binom.ppf([0.0005, 0.9995], len(scores), coverage)
    assert low <= covered <= high + len(scores) / 99  # a p-value has 99 steps


@pytest.mark.parametrize("reranks", [True, False])
@pytest.mark.parametrize("rule", [RULE, replace(RULE, fusion=Paper()), replace(RULE, threshold=BestGain())])
def test_hard_rows_of_a_rule_are_covered_as_stated(crepes, rule, reranks):
    new = drawn(6000, seed=1)
    conformal, reranked = made(drawn(2000, seed=0), new, rule, reranks)
    sets = label_sets(conformal, reranked, new[0], 0.9, reranks=reranks)
    hit = sets[torch.arange(len(sets)), new[1]][reranked.hard]
    n, m = len(hit), len(conformal.nonconformity)
    assert min(n, m) > 500
    error = 4 * np.sqrt(0.09 / n + 0.09 / m)
    assert 0.9 - error <= hit.double().mean() <= 0.9 + error
    assert 1 < sets[reranked.hard].sum(-1).double().mean() < 4


@given(st.integers(0, 40), st.integers(0, 1000), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=30)
def test_sets_grow_with_the_coverage_and_hold_the_best_label(n, seed, one, other):
    pytest.importorskip("crepes")
    generator = torch.Generator().manual_seed(seed)
    conformal = Conformal(torch.rand(n, generator=generator).double(), 1.3)
    scores = torch.rand(7, 4, generator=generator)
    small, large = (conformal.sets(scores, coverage) for coverage in sorted((one, other)))
    assert (small <= large).all()
    assert small.gather(1, scores.argmax(-1, keepdim=True)).all()
    assert conformal.suffices(one) == (n >= 1 / (1 - one) - 1 - 1e-6)
    if not conformal.suffices(max(one, other)):
        assert large.all()


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 99))
def test_the_largest_allowed_is_the_quantile_of_split_conformal_prediction(numbers, percent):
    pytest.importorskip("crepes")
    values = sorted(number / 20 for number in numbers)
    place = -(-(len(values) + 1) * percent // 100)
    expected = values[place - 1] if place <= len(values) else np.inf
    assert Conformal(torch.tensor(values, dtype=torch.float64), 1.0)._largest(percent / 100) == expected


def test_easy_rows_have_the_classifiers_one_label(crepes):
    new = drawn(300, seed=1)
    conformal, reranked = made(drawn(300, seed=0), new)
    sets = label_sets(conformal, reranked, new[0], 0.9)
    easy = ~reranked.hard
    assert easy.any()
    assert torch.equal(sets[easy], torch.nn.functional.one_hot(new[0].argmax(-1), 5).bool()[easy])


def test_without_hard_rows_nothing_is_asked_of_the_library(monkeypatch):
    new = drawn(30, seed=1)
    conformal, reranked = made(drawn(30, seed=0), new, replace(RULE, threshold=Budget(1e-9)))
    monkeypatch.setattr(builtins, "__import__", refusing(builtins.__import__))
    assert not reranked.hard.any()
    assert (label_sets(conformal, reranked, new[0], 0.9).sum(-1) == 1).all()


@dataclass(frozen=True)
class Memory(Fusion, FittedFusion):
    """Knows the labels of the rows that it was fitted on, and nothing else."""

    seen: tuple[tuple[float, ...], ...] = ()
    labels: tuple[int, ...] = ()

    def fit(self, logits, labels, scores, hard):
        return Memory(tuple(map(tuple, logits.tolist())), tuple(labels.tolist()))

    def __call__(self, logits, scores):
        known = dict(zip(self.seen, self.labels, strict=True))
        rows = [known.get(tuple(row), -1) for row in logits.tolist()]
        given = torch.tensor([[float(label == column) for column in range(logits.shape[1])] for label in rows])
        return given.where((torch.tensor(rows) >= 0)[:, None], logits.softmax(-1))


def test_no_row_is_judged_by_what_was_fitted_on_it():
    rule = replace(RULE, fusion=Memory())
    logits, labels, scores = drawn(200, seed=0)
    fitted = rule.fit(logits, labels, [recorded_scores(score) for score in scores])
    again = fitted.rerank(logits, [recorded_scores(score) for score in scores])
    assert torch.equal(again.labels[again.hard], labels[again.hard])
    found = calibrated(rule, logits, labels, scores).nonconformity
    assert (found > 0.5).double().mean() > 0.3
    assert abs(len(found) - int(again.hard.sum())) < 20
    assert len(calibrated(rule, logits[:1], labels[:1], [scores[0][:1]]).nonconformity) == 0


def test_it_comes_back_as_it_was(crepes):
    conformal = Conformal(torch.rand(30).double(), 0.7)
    scores = torch.rand(10, 4)
    assert torch.equal(restored(conformal.learnt()).sets(scores, 0.8), conformal.sets(scores, 0.8))


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, float("nan")])
def test_a_coverage_out_of_range_is_refused(coverage):
    with pytest.raises(ValueError, match=r"coverage is .*; it must be above 0 and below 1"):
        Conformal(torch.rand(3).double(), 1.0).sets(torch.rand(2, 3), coverage)


def refusing(original):
    def imported(name, *args, **kwargs):
        if name == "crepes":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    return imported


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(builtins, "__import__", refusing(builtins.__import__))
    with pytest.raises(InputError, match=r"pip install 'lrsl\[conformal\]' adds it$"):
        check_installed()


def test_the_library_leaves_warnings_as_they_are(crepes):
    before = list(warnings.filters)
    check_installed()
    assert list(warnings.filters) == before
