"""The threshold from validation, and the hard samples of test reranked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lrsl.config.schema import TrainerConfig
from lrsl.reranking.hard_sample_reranking import HardSampleReranking, Reranked
from lrsl.run.stages.job import Job
from lrsl.training.callback import RerankingCallback
from lrsl.training.recorded import RecordedLogits
from lrsl.training.trainer import build_trainer


def rerank(job: Job, reranking: HardSampleReranking, logits: Mapping[str, Tensor]) -> Reranked:
    """Take the threshold from validation and rerank the hard samples of test, as the callback does in any trainer.

    Args:
        job: the run.
        reranking: gets the threshold; its view knows the test's texts.
        logits: the classifier's on val and test.
    """
    callback = RerankingCallback(reranking, job.corpus.test.texts)
    settings = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)
    trainer = build_trainer(settings, "test", job.folder, logger=job.tracker.logger, callbacks=[callback])
    recorded = RecordedLogits()
    trainer.validate(recorded, recorded.loader(logits["val"], job.corpus.val.labels), verbose=False)
    trainer.test(recorded, recorded.loader(logits["test"], job.corpus.test.labels), verbose=False)
    assert callback.reranked is not None
    return callback.reranked
