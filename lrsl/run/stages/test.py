"""The rules fitted on validation, judged there, and the hard samples of test reranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrsl.config.schema import TrainerConfig
from lrsl.data.corpus import Corpus
from lrsl.reranking.folds import first_alike
from lrsl.reranking.rule import FittedRule, Reranked, RowScores, recorded_scores
from lrsl.reranking.threshold.fixed import Fixed
from lrsl.reranking.verdict import Verdict, verdict
from lrsl.run.rules import CONTROL, FITTED, NamedRule
from lrsl.run.stages.context import RunContext
from lrsl.training.callback import RerankingCallback
from lrsl.training.recorded import RecordedLogits
from lrsl.training.trainer import build_trainer

Scores = Mapping[str, Sequence[Tensor]]
"""What each view of a rule makes of the texts of each split, `(n, classes)`."""


@dataclass(frozen=True)
class Judged:
    """What became of a rule.

    Attributes:
        named: the rule.
        fitted: the same, fitted on validation.
        validation: what it makes of validation.
        test: what it makes of the test.
        verdict: whether it pays, by cross-fitting on validation.
        if_hard: what it would answer to each row of the test if that were hard, `(n,)`.
    """

    named: NamedRule
    fitted: FittedRule
    validation: Reranked
    test: Reranked
    verdict: Verdict
    if_hard: Tensor


@dataclass
class Tested:
    """What a run has found, to be measured.

    Attributes:
        logits: the classifier's, `(n, classes)`, on val and test.
        similarity: the view's scores of the texts of val and test, `(n, classes)`.
        paper: what became of the rule that is the paper's unless changed.
        beside: what became of the other rules.
    """

    logits: Mapping[str, Tensor]
    similarity: Mapping[str, Tensor]
    paper: Judged
    beside: Sequence[Judged] = ()

    def deployed(self, deploy: str) -> Judged | None:
        """Return the rule that a user of the run gets; None where that is the classifier alone.

        Args:
            deploy: origin, rerank or fitted, or auto: the fitted rule where it pays, else the paper's where that does.
        """
        fitted = next((judged for judged in self.beside if judged.named.name == FITTED), None)
        if deploy == FITTED or (deploy == "auto" and fitted is not None and fitted.verdict.deploy):
            return fitted
        return self.paper if deploy == "rerank" or (deploy == "auto" and self.paper.verdict.deploy) else None

    def telling(self, deploy: str) -> Judged:
        """Return the rule that tells what is hard: the deployed one, or else the fitted one, or else the paper's."""
        fitted = next((judged for judged in self.beside if judged.named.name == FITTED), self.paper)
        return self.deployed(deploy) or fitted


@dataclass(frozen=True)
class Judge:
    """Fits rules on validation and applies them to the test.

    Args:
        corpus: the data of the run.
        logits: the classifier's on val and test, `(n, classes)`.
    """

    corpus: Corpus
    logits: Mapping[str, Tensor]

    def through_callback(self, named: NamedRule, scores: Scores, context: RunContext) -> Judged:
        """Judge the rule with the callback that any trainer can have, which logs what it finds.

        Args:
            named: the rule.
            scores: its views' on val and test.
            context: the run.
        """
        labels = {"val": self.corpus.val.labels, "test": self.corpus.test.labels}
        fitted = self._fitted(named, scores)
        callback = RerankingCallback(named.rule, _recorded(scores["test"]), fitted.fusion, fitted.detection)
        settings = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)
        trainer = build_trainer(settings, "test", context.folder, logger=context.tracker.logger, callbacks=[callback])
        recorded = RecordedLogits()
        trainer.validate(recorded, recorded.loader(self.logits["val"], labels["val"]), verbose=False)
        trainer.test(recorded, recorded.loader(self.logits["test"], labels["test"]), verbose=False)
        assert callback.reranked is not None
        return self._judged(named, scores, fitted, callback.reranked)

    def beside(self, rules: Sequence[NamedRule], scores: Mapping[str, Scores]) -> list[Judged]:
        """Judge rules, the control on the hard rows of the fitted rule: a gain elsewhere would be another gain.

        Args:
            rules: in any order but that the fitted rule comes before the control.
            scores: each rule's views' on val and test.
        """
        judged: dict[str, Judged] = {}
        for named in rules:
            if named.name == CONTROL and FITTED in judged:
                same = Fixed(judged[FITTED].fitted.detection.threshold)
                named = replace(named, rule=replace(named.rule, threshold=same))  # noqa: PLW2901
            judged[named.name] = self(named, scores[named.name])
        return [*judged.values()]

    def __call__(self, named: NamedRule, scores: Scores) -> Judged:
        """Judge a rule.

        Args:
            named: the rule.
            scores: its views' on val and test.
        """
        fitted = self._fitted(named, scores)
        return self._judged(named, scores, fitted, fitted.rerank(self.logits["test"], _recorded(scores["test"])))

    @property
    def _held_out(self) -> tuple[Tensor, Tensor]:
        """Labels of validation, `(n,)`, and of each row the first with the same text, `(n,)`."""
        val = self.corpus.val
        return torch.tensor(val.labels), first_alike(val.texts)

    def _fitted(self, named: NamedRule, scores: Scores) -> FittedRule:
        labels, alike = self._held_out
        return named.rule.fit(self.logits["val"], labels, _recorded(scores["val"]), alike=alike)

    def _judged(self, named: NamedRule, scores: Scores, fitted: FittedRule, reranked: Reranked) -> Judged:
        labels, alike = self._held_out
        validation = fitted.rerank(self.logits["val"], _recorded(scores["val"]))
        pays = verdict(named.rule, self.logits["val"], labels, scores["val"], alike=alike)
        if_hard = fitted.fusion(self.logits["test"], scores["test"]).argmax(dim=-1)
        return Judged(named, fitted, validation, reranked, pays, if_hard)


def _recorded(scores: Sequence[Tensor]) -> list[RowScores]:
    return [recorded_scores(score) for score in scores]
