import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import BestGain, Budget, LogLinear, Margin, Paper
from lrsl.reranking.fusion import FittedFusion, Fusion
from lrsl.reranking.rule import Rule
from lrsl.reranking.verdict import LEAST_HARD, WORTH, Mean, _decided, verdict, verdicts

RULE = Rule(Margin(), Budget(0.5), LogLinear())


def drawn(n=600, classes=4, knows=0.6, sharpness=1.0, seed=0):
    """Logits, labels, and a view that knows more or less of the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += 1
    view = 0.3 * torch.randn(n, classes, generator=generator)
    view[torch.arange(n), labels] += knows
    return sharpness * logits, labels, [view]


def test_a_view_that_knows_something_is_deployed():
    found = verdict(RULE, *drawn())
    assert found.deploy
    assert found.gain > 0.1
    assert 0 < found.likelihood_low < found.likelihood_gain < found.likelihood_high
    assert found.gain_low < found.gain < found.gain_high
    assert found.n == 600
    assert 200 < found.n_hard < 320  # the share of the folds that were learnt on
    assert found.reason.startswith(f"reranking on: it brings {found.likelihood_gain:+.3f} nats per hard row (at least ")
    assert f"{100 * found.gain:+.2f} points of accuracy" in found.reason
    assert f"on {found.n_hard} hard of 600 held-out rows" in found.reason


@pytest.mark.parametrize("criterion", ["likelihood", "accuracy"])
def test_noise_is_rarely_deployed(criterion):
    deployed = [
        verdict(RULE, *drawn(200, knows=0.0, seed=seed), criterion=criterion, folds=5).deploy for seed in range(40)
    ]
    assert sum(deployed) <= 5  # of 40, at 5 %


def test_copies_of_rows_are_no_more_evidence_than_one_of_them():
    logits, labels, (view,) = drawn(60)
    logits, labels, view = (part.repeat_interleave(20, 0) for part in (logits, labels, view))
    alike = torch.arange(60).repeat_interleave(20)
    together = verdict(RULE, logits, labels, [view], alike=alike, folds=3)
    apart = verdict(RULE, logits, labels, [view], folds=3)
    for bounds in ("gain", "likelihood"):
        width, too_narrow = (
            getattr(found, f"{bounds}_high") - getattr(found, f"{bounds}_low") for found in (together, apart)
        )
        assert width > 3 * too_narrow
    assert "hard of 1,200 held-out rows, which have " in together.reason
    assert "which have" not in apart.reason


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_copies_leave_bounds_as_wide_as_they_were(seed, copies):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(20, generator=generator, dtype=torch.float64)
    alike = torch.arange(20)
    one = Mean.of(values, alike)
    many = Mean.of(values.repeat(copies), alike.repeat(copies))
    assert many.interval == pytest.approx(one.interval)
    assert (many.n, many.texts) == (20 * copies, 20)
    assert one.error == pytest.approx(values.std().item() / math.sqrt(20))


def test_one_text_that_stands_often_is_no_more_than_one_text():
    gains = torch.cat([torch.ones(100), torch.zeros(10)]).double()
    alike = torch.cat([torch.zeros(100, dtype=torch.int64), torch.arange(100, 110)])
    found = Mean.of(gains, alike)
    assert found.value == pytest.approx(100 / 110)
    assert found.interval[1] < 0  # ten texts gain nothing, and one does


def test_hard_rows_of_few_texts_are_too_few():
    logits, labels, (view,) = drawn(16)
    times = [part.repeat_interleave(10, 0) for part in (logits, labels, view)]
    found = verdict(RULE, times[0], times[1], times[2:], alike=torch.arange(16).repeat_interleave(10))
    assert not found.deploy
    assert found.n_hard >= 10
    assert "held-out rows are hard, which have " in found.reason
    assert "texts, too few to tell whether it pays (at least 10)" in found.reason


def test_a_view_of_no_weight_changes_nothing_at_all():
    found = verdict(replace(RULE, fusion=LogLinear(penalty=1e9)), *drawn())
    assert (found.gain, found.gain_low, found.gain_high) == (0.0, 0.0, 0.0)
    assert (found.likelihood_gain, found.likelihood_low, found.likelihood_high) == (0.0, 0.0, 0.0)
    assert not found.deploy
    assert found.reason == f"reranking off: it changes nothing on {found.n_hard} hard of 600 held-out rows"


@dataclass(frozen=True)
class Cooler(Fusion, FittedFusion):
    """The classifier with another temperature, and nothing else."""

    temperature: float = 5.0

    def fit(self, logits, labels, scores, hard):
        return self

    def restore(self, learnt):
        return self

    def __call__(self, logits, scores):
        return (logits / self.temperature).softmax(-1)


@given(st.integers(0, 2**32 - 1), st.floats(1.5, 3))
def test_what_calibration_alone_would_do_is_no_gain(seed, temperature):
    logits, labels, views = drawn(150, seed=seed, sharpness=2.0)
    found = verdict(Rule(Margin(), Budget(0.5), Cooler(temperature)), logits.double(), labels, views, folds=3)
    assert found.gain == 0
    assert found.likelihood_gain == pytest.approx(0, abs=5e-3)  # uncalibrated it would be 0.1 and more


def test_the_papers_products_become_a_distribution():
    logits, labels, (view,) = drawn(knows=0.6)
    found = verdict(Rule(Margin(), Budget(0.5), Paper(2.0)), logits, labels, [view])
    assert found.deploy
    scaled = verdict(Rule(Margin(), Budget(0.5), Paper(2.0)), logits, labels, [100 * view])
    assert scaled.likelihood_gain == pytest.approx(found.likelihood_gain, rel=1e-4)
    letter = Rule(Margin(), Budget(0.5), Paper(1.0, letter=True))
    negative = verdict(letter, logits, labels, [-view.abs()])
    assert math.isfinite(negative.likelihood_gain)
    assert negative.likelihood_gain < 0
    assert not negative.deploy
    assert negative.reason.endswith("held-out rows are a loss")
    by_accuracy = verdict(letter, logits, labels, [-view.abs()], criterion="accuracy")
    assert not by_accuracy.deploy
    assert by_accuracy.reason.endswith("held-out rows are a loss")


def test_answers_that_get_better_while_likelihoods_get_worse():
    """A view that prefers the true label, or rules it out in half of the rows that are wrong anyway."""
    logits, labels, _ = drawn()
    rows = torch.arange(600)
    ruled_out = (rows % 2 == 0) & (logits.argmax(-1) != labels)
    view = torch.full_like(logits, 0.5)
    view[rows, labels] = torch.where(ruled_out, -1.0, 0.9)
    rule = Rule(Margin(), Budget(0.5), Paper(2.0))
    found = verdict(rule, logits, labels, [view], criterion="likelihood")
    assert found.gain_low > 0.05
    assert found.likelihood_high < 0
    assert found.deploy
    assert "though the true labels get no likelier" in found.reason
    by_accuracy = verdict(rule, logits, labels, [view], criterion="accuracy")
    assert by_accuracy.deploy
    assert by_accuracy.reason.startswith(
        "reranking on: it brings +10.50 points of accuracy (at least +8.44) on 303 hard"
    )
    assert replace(by_accuracy, reason=found.reason) == found


@dataclass(frozen=True)
class Spying(LogLinear):
    """Remembers the labels of the rows that it was fitted on; the first logit of a row is its number."""

    def fit(self, logits, labels, scores, hard):
        assert all(torch.equal(score[:, 0], logits[:, 0]) for score in scores)
        self.fitted_on.append(logits[:, 0].tolist())
        return super().fit(logits, labels, scores, hard)


def test_no_row_is_judged_by_what_was_learnt_from_it():
    logits, labels, (view,) = drawn(50)
    logits[:, 0] = view[:, 0] = torch.arange(50.0) / 1000
    fusion = Spying()
    object.__setattr__(fusion, "fitted_on", [])
    verdict(replace(RULE, fusion=fusion), logits, labels, [view], folds=10)
    assert [len(rows) for rows in fusion.fitted_on] == [45] * 10
    for row in logits[:, 0].tolist():
        assert sum(row in rows for rows in fusion.fitted_on) == 9  # and the tenth judges it


def test_a_loss_in_accuracy_is_not_deployed_however_likely_the_labels_become():
    """A view that tells the true label from the others where the answer is wrong anyway, and misleads elsewhere."""
    generator = torch.Generator().manual_seed(0)
    n = 1000
    labels = torch.zeros(n).long()
    labels[::2] = 1
    labels[::5] = 2
    logits = torch.zeros(n, 3)
    logits[torch.arange(n), labels] = 0.2  # right
    wrong = torch.arange(n) % 10 > 3
    logits[wrong] = torch.tensor([0.0, 0.0, 0.0])
    logits[wrong, (labels[wrong] + 1) % 3] = 4.0  # sure, and wrong
    view = torch.zeros(n, 3)
    view[wrong, labels[wrong]] = 3.9  # almost as likely as the answer
    view[~wrong, (labels[~wrong] + 1) % 3] = 0.3  # and where it was right, just likelier than the answer
    logits += 1e-3 * torch.randn(n, 3, generator=generator)

    @dataclass(frozen=True)
    class Product(Fusion, FittedFusion):
        """Log-probabilities and view with a weight of 1."""

        def fit(self, logits, labels, scores, hard):
            return self

        def restore(self, learnt):
            return self

        def __call__(self, logits, scores):
            return (logits + scores[0]).softmax(-1)

    found = verdict(Rule(Margin(), Budget(1.0), Product()), logits, labels, [view], criterion="likelihood")
    assert found.gain == -0.4
    assert found.likelihood_low > 0
    assert not found.deploy
    assert found.reason.startswith("reranking off: the true labels get likelier")
    assert "it costs -40.00 points" in found.reason


def test_a_gain_in_likelihood_that_is_certain_and_tiny_is_not_worth_it():
    """On thousands of rows a hundredth of a nat is beyond chance, and mends nothing."""
    none = Mean(-0.0007, 0.003, 3000, 3000)
    deploy, reason = _decided(none, Mean(0.012, 0.003, 1990, 1990), "likelihood", nowhere=False)
    assert not deploy
    assert reason == (
        "reranking off: the true labels get hardly likelier, +0.012 nats per hard row (at least +0.007), and -0.07 "
        "points of accuracy (at least -0.56) on 1,990 hard of 3,000 held-out rows may be chance"
    )
    assert _decided(none, Mean(WORTH, 0.003, 1990, 1990), "likelihood", nowhere=False)[0]
    loss, reason = _decided(replace(none, value=-0.02), Mean(0.012, 0.003, 1990, 1990), "likelihood", nowhere=False)
    assert not loss
    assert reason.endswith("are a loss")


@pytest.mark.parametrize(("points", "pays"), [(0.002, True), (0.0014, False), (0.0, False)])
def test_a_tiny_gain_in_likelihood_takes_answers_that_speak_for_it(points, pays):
    """Half a standard error above 0, as a gain that is worth it may be half a standard error below."""
    deploy, reason = _decided(
        Mean(points, 0.003, 5000, 5000), Mean(0.015, 0.003, 3900, 3900), "likelihood", nowhere=False
    )
    assert deploy == pays
    assert reason.startswith("reranking on: it brings +0.015 nats" if pays else "reranking off")


def test_a_loss_that_may_be_chance_is_called_one():
    deploy, reason = _decided(Mean(-0.005, 0.02, 200, 200), Mean(0.27, 0.05, 60, 60), "likelihood", nowhere=False)
    assert deploy
    assert reason == (
        "reranking on: it brings +0.270 nats per hard row (at least +0.186) at -0.50 points of accuracy (at least "
        "-3.81) on 60 hard of 200 held-out rows, a loss that may be chance"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.zeros(60)}, "labels are of torch.float32; they must be whole numbers"),
        ({"alike": torch.arange(59)}, r"alike has shape \(59,\); with 60 rows it must be \(60,\)"),
    ],
)
def test_labels_and_texts_that_do_not_fit_are_refused(wrong, message):
    logits, labels, views = drawn(60)
    given = {"rule": RULE, "logits": logits, "labels": labels, "scores": views} | wrong
    with pytest.raises(ValueError, match=message):
        verdict(**given)


def test_answers_alone_may_tell_a_gain():
    gain = Mean(0.01, 0.003, 3000, 3000)
    deploy, reason = _decided(gain, Mean(0.0, 0.003, 1990, 1990), "likelihood", nowhere=False)
    assert deploy
    assert "though the true labels get no likelier" in reason


def test_nothing_in_either_is_no_gain():
    assert not _decided(Mean(0.0, 0.0, 50, 50), Mean(0.01, 0.001, 20, 20), "likelihood", nowhere=False)[0]


@pytest.mark.parametrize("rows", [200, 1])
def test_both_criteria_are_told_from_one_cross_fitting(rows):
    logits, labels, views = drawn(rows)
    for criterion, found in verdicts(RULE, logits, labels, views).items():
        assert str(found) == str(verdict(RULE, logits, labels, views, criterion=criterion))


def test_a_single_row_tells_nothing():
    found = verdict(RULE, torch.zeros(1, 4), torch.zeros(1).long(), [torch.zeros(1, 4)])
    assert (found.deploy, found.reason) == (False, "reranking off: one held-out row tells nothing")


def test_what_tells_few_rows_apart_without_a_mistake_is_deployed():
    """Weights without a prior run away, and a single miss would outweigh every hit."""
    logits, labels, _ = drawn(60, seed=3)
    view = 0.3 * torch.nn.functional.one_hot(labels, logits.shape[1]).float()
    view[::9] = view[::9].roll(1, dims=1)  # a few misses
    found = verdict(replace(RULE, fusion=LogLinear()), logits, labels, [view])
    assert found.deploy
    assert found.likelihood_gain > 0


def test_too_few_hard_rows_to_tell():
    logits, labels, views = drawn(100)
    found = verdict(replace(RULE, threshold=Budget(0.05)), logits, labels, views)
    assert found.n_hard < LEAST_HARD
    assert not found.deploy
    assert found.reason == (
        f"reranking off: {found.n_hard} of 100 held-out rows are hard, too few to tell whether it pays (at least 10)"
    )
    none = verdict(replace(RULE, threshold=Budget(1e-9)), 0 * logits, labels, views)
    assert none.n_hard == 0
    assert math.isnan(none.likelihood_gain)
    assert none.gain == 0


def test_the_same_rows_give_the_same_verdict():
    assert verdict(RULE, *drawn(100)) == verdict(RULE, *drawn(100))


def test_labels_that_are_not_scored_do_not_matter():
    logits, labels, (view,) = drawn()
    partly = view.where(view >= view.topk(2).values[:, 1:], torch.nan)
    assert verdict(RULE, logits, labels, [partly]).deploy


def test_bounds_are_students():
    from scipy import stats

    values = torch.tensor([0.3, -0.1, 0.5, 0.2, 0.0], dtype=torch.float64)
    mean, low, high = Mean.of(values, torch.arange(len(values))).interval
    assert mean == pytest.approx(0.18)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 4, loc=mean, scale=stats.sem(values.numpy())))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"criterion": "luck"}, "criterion is 'luck'; it must be one of likelihood, accuracy"),
        ({"folds": 1}, "folds is 1; it must be at least 2"),
        ({"labels": torch.full((600,), 4)}, r"labels\[0\] is 4; with 4 classes it must be 0 to 3"),
        ({"scores": [torch.zeros(600, 3)]}, r"scores\[0\] have shape \(600, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        verdict(RULE, **{**dict(zip(("logits", "labels", "scores"), drawn(), strict=True)), **changed})


def test_where_no_similarity_is_positive_nothing_is_gained_or_lost():
    logits, labels, (view,) = drawn(knows=0.6)
    kept = verdict(Rule(Margin(), Budget(0.5), Paper(1.0)), logits, labels, [-view.abs()])
    assert kept.likelihood_gain == kept.gain == 0
    assert not kept.deploy


def test_probabilities_are_no_logits():
    logits, labels, (view,) = drawn()
    with pytest.raises(ValueError, match=r"^logits are probabilities"):
        verdict(Rule(Margin(), Budget(0.5), Paper(1.0)), logits.softmax(-1), labels, [view])


def test_where_nothing_is_gained_anywhere_the_reason_says_so():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    logits = torch.eye(3)[labels] * 3 + torch.randn(90, 3, generator=generator)
    found = verdict(Rule(Margin(), BestGain("accuracy"), LogLinear()), logits, labels, [torch.zeros(90, 3)])
    assert not found.deploy
    assert found.n_hard == 0
    assert found.reason == "reranking off: nowhere among 90 held-out rows does it gain anything"
