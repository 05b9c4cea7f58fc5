"""The rule fitted on validation, and the hard samples of test reranked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrsl.config.schema import TrainerConfig
from lrsl.reranking.rule import FittedRule, Reranked, Rule, recorded_scores
from lrsl.run.stages.job import Job
from lrsl.training.callback import RerankingCallback
from lrsl.training.recorded import RecordedLogits
from lrsl.training.trainer import build_trainer


def rerank(
    job: Job, rule: Rule, logits: Mapping[str, Tensor], similarity: Mapping[str, Tensor]
) -> tuple[FittedRule, Reranked]:
    """Fit the rule on validation and rerank the hard samples of test, as the callback does in any trainer.

    Args:
        job: the run.
        rule: what is fitted.
        logits: the classifier's on val and test, `(n, classes)`.
        similarity: the view's scores of the texts of val and test, `(n, classes)`.
    """
    labels = {split: job.split(split).labels for split in ("val", "test")}
    fitted = rule.fit(logits["val"], torch.tensor(labels["val"]), [recorded_scores(similarity["val"])])
    callback = RerankingCallback(rule, [recorded_scores(similarity["test"])], fitted.fusion, fitted.detection)
    settings = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)
    trainer = build_trainer(settings, "test", job.folder, logger=job.tracker.logger, callbacks=[callback])
    recorded = RecordedLogits()
    trainer.validate(recorded, recorded.loader(logits["val"], labels["val"]), verbose=False)
    trainer.test(recorded, recorded.loader(logits["test"], labels["test"]), verbose=False)
    assert callback.reranked is not None
    return fitted, callback.reranked
