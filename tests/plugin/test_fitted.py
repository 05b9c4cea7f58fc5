"""The fitted rule in a reranker: it learns weights, says whether it pays, and stands aside where it does not."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny import LABELS, samples

from lrsl import LabelSimilarity, Lexical, Reranker
from lrsl.reranking.view import FittedView, View

TRAIN, VAL, TEST = samples(120, seed=1), samples(120, seed=2), samples(60, seed=3)


@dataclass(frozen=True)
class ViewOfNoise(View):
    """Says what has nothing to do with the texts."""

    cost = "nothing"

    def fit(self, given):
        return FittedNoise(torch.Generator().manual_seed(0))


@dataclass(frozen=True, eq=False)
class FittedNoise(FittedView):
    generator: torch.Generator

    def __call__(self, texts):
        return torch.randn(len(texts), 4, generator=self.generator)

    def learnt(self):
        return {}


def logits(texts, labels, seed, knows=1.0):
    """A classifier that knows a little."""
    noise = torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(seed))
    return noise + knows * torch.nn.functional.one_hot(torch.as_tensor(labels), 4)


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, rule="fitted")
    return reranker.fit(logits(VAL[0], VAL[1], 0), VAL[1], VAL[0], (*TRAIN, None), epochs=1)


def test_it_joins_views_and_pays(fitted):
    assert [type(view).__name__ for view in fitted.views] == ["LabelSimilarity", "Instances", "Lexical", "LinearProbe"]
    verdict = fitted.report_["verdict"]
    assert verdict["deploy"]
    assert verdict["reason"].startswith("reranking on: ")
    assert fitted.is_on
    asked = logits(TEST[0], TEST[1], 1)
    labels = torch.tensor(TEST[1])
    answers = fitted.predict(asked, TEST[0])
    assert (answers == labels).float().mean() > (asked.argmax(-1) == labels).float().mean() + 0.1
    easy = ~fitted.is_hard(asked)
    assert torch.equal(answers[easy], asked.argmax(-1)[easy])


def test_a_view_that_is_not_asked_costs_nothing(fitted, tiny_bert):
    wrong = ViewOfNoise()
    reranker = Reranker(str(tiny_bert), LABELS, rule="fitted", views=[wrong, LabelSimilarity(), Lexical()])
    reranker.fit(logits(VAL[0], VAL[1], 0), VAL[1], VAL[0], (*TRAIN, None), epochs=1)
    weights = reranker._fitted.fusion.beta.tolist()
    assert weights[0] == 0 < weights[2]
    costs = [view["seconds_per_1000_hard"] for view in reranker.cost_["views"].values()]
    assert [cost > 0 for cost in costs] == [weight > 0 for weight in weights]
    assert sum(costs) == pytest.approx(reranker.cost_["seconds_per_1000_hard"])
    every = fitted._fitted.fusion.beta
    of_fitted = fitted.cost_["views"].values()
    assert [view["seconds_per_1000_hard"] > 0 for view in of_fitted] == (every > 0).tolist()


def test_it_comes_back_as_it_was(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    again = Reranker.from_pretrained(tmp_path)
    asked = logits(TEST[0], TEST[1], 1)
    assert torch.equal(again.rerank(asked, TEST[0]), fitted.rerank(asked, TEST[0]))
    assert again.report_ == fitted.report_
    assert again.deploy == "auto"


def test_without_training_rows_there_is_the_similarity_alone(tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, rule="fitted")
    reranker.fit(logits(VAL[0], VAL[1], 0), VAL[1], VAL[0])
    assert [type(view) for view in reranker.views] == [LabelSimilarity]


def test_what_does_not_pay_is_off_unless_it_is_forced(tiny_bert, tmp_path):
    wrong = np.roll(LABELS, 1).tolist()  # what the texts mean is of no use
    values = logits(VAL[0], VAL[1], 0, knows=4.0)
    auto = Reranker(str(tiny_bert), wrong, rule="fitted", views=[LabelSimilarity()])
    auto.fit(values, VAL[1], VAL[0])
    assert not auto.report_["verdict"]["deploy"]
    assert auto.report_["verdict"]["reason"].startswith("reranking off: ")
    asked = logits(TEST[0], TEST[1], 1, knows=4.0)
    assert torch.equal(auto.predict(asked, TEST[0]), asked.argmax(-1))
    assert torch.equal(auto.rerank(asked, TEST[0]), asked.softmax(-1))
    auto.save_pretrained(tmp_path)
    assert not Reranker.from_pretrained(tmp_path).is_on
    forced = Reranker(str(tiny_bert), wrong, deploy="always")
    forced.fit(values, VAL[1], VAL[0])
    assert forced.is_on
    assert not forced.report_["verdict"]["deploy"]
    assert not torch.equal(forced.rerank(asked, TEST[0]), asked.softmax(-1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rule": "best"}, "rule is 'best'; it must be one of paper, fitted"),
        ({"deploy": "never"}, "deploy is 'never'; it must be one of always, auto"),
    ],
)
def test_what_is_unknown_is_one_sentence(tiny_bert, changed, message):
    with pytest.raises(ValueError, match=message):
        Reranker(str(tiny_bert), LABELS, **changed)
