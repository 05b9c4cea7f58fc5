"""The reranking callback: σ²_mis from validation, origin and rerank on test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor

from lrsl.nn.batches import Batch
from lrsl.reranking.fusion import FittedFusion
from lrsl.reranking.positional import labels_of, logits_of
from lrsl.reranking.rule import Detection, FittedRule, Reranked, RowScores, Rule


class RerankingCallback(pl.Callback):
    """Learn the threshold on each validation epoch and rerank the hard samples of a test.

    The threshold is saved with every checkpoint and comes back with it, so that a test uses the threshold of the
    weights it tests. At test time the views are asked for the hard samples only.

    Logs `val/sigma2_mis`; and on test `test/hard_fraction` and, for origin and rerank,
    `test/{origin,rerank}_acc`, `…_acc_hard` and `…_acc_easy`. An accuracy over no sample is not logged.

    Args:
        rule: detector, threshold rule and fusion.
        scores: what each view makes of the test's rows, numbered as the batches' `index`; or a function that gives
            that when a test begins, since there may be no view before. Without it there can be no test.
        fusion: the rule's fusion with what it has learnt, where it learns anything.
        detection: which samples are hard, where that is known: then validation teaches no other threshold, and a
            checkpoint brings none. A threshold rule that needs to know what reranking would answer learns nothing from
            validation, and a test with it must be given this.

    Attributes:
        detection: which samples are hard: what was given, else by the latest validation epoch or the loaded checkpoint;
            None before.
        test_logits: the classifier's logits on test, `(n, classes)`, in the order of the split, after a test.
        reranked: what reranking made of them, after a test.

    Raises:
        RuntimeError: a test without a threshold or without a view.
        ValueError: at the end of an epoch, logits that are probabilities or not finite, or labels that are no classes.

    Example:
        >>> def scores():
        ...     view = LabelSimilarity()
        ...     fitted = view.fit(Given(label_texts, load_embedding=lambda: embedding))
        ...     return [scores_of_texts(view, fitted, test.texts, k=3)]
        >>> callback = RerankingCallback(Rule(TopKVariance(k=3)), scores)
        >>> trainer = pl.Trainer(callbacks=[callback, ModelCheckpoint(monitor="val/acc", mode="max")])
        >>> trainer.fit(classifier, train_loader, val_loader)
        >>> trainer.test(classifier, test_loader, ckpt_path="best", weights_only=True)
    """

    def __init__(
        self,
        rule: Rule,
        scores: Sequence[RowScores] | Callable[[], Sequence[RowScores]] | None = None,
        fusion: FittedFusion | None = None,
        detection: Detection | None = None,
    ) -> None:
        self.rule = rule
        self.scores = scores
        self.fusion = fusion
        self.detection = detection
        self._given = detection
        self.test_logits: Tensor | None = None
        self.reranked: Reranked | None = None
        self._outputs: list[Batch] = []

    @property
    def state_key(self) -> str:
        """The name under which checkpoints hold the state."""
        return "lrsl.RerankingCallback"

    def state_dict(self) -> dict[str, Any]:
        """Return σ²_mis of the latest validation epoch."""
        if self.detection is None:
            return {"sigma2_mis": None}
        learnt = dict(self.detection.detector.learnt())
        return {"sigma2_mis": self.detection.threshold, **({"detector": learnt} if learnt else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take σ²_mis back from a checkpoint."""
        if self._given is not None:
            return
        threshold = state_dict["sigma2_mis"]
        detector = self.rule.detector.restore(state_dict.get("detector", {}))
        self.detection = None if threshold is None else Detection(detector, threshold)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the batches of the epoch before."""
        self._outputs = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep logits and labels."""
        self._keep(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn the threshold, except from the few batches of a sanity check."""
        if trainer.sanity_checking:
            return
        logits, labels, _ = self._collect(trainer)
        if self._given is None:
            if self.rule.threshold.needs_answers:
                return
            self.detection = self.rule.detection(logits, labels)
        assert self.detection is not None
        pl_module.log("val/sigma2_mis", self.detection.threshold, rank_zero_only=True)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the batches of validation."""
        self._outputs = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep logits and labels."""
        self._keep(outputs)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rerank the hard samples and log accuracies."""
        logits, labels, index = self._collect(trainer)
        self.test_logits = logits
        self.reranked = self._fitted().rerank(logits, self._scores(), index)
        hard = self.reranked.hard
        pl_module.log("test/hard_fraction", hard.float().mean(), rank_zero_only=True)
        for name, answers in (("origin", logits.argmax(dim=-1)), ("rerank", self.reranked.labels)):
            correct = (answers == labels).float()
            for suffix, rows in (("", torch.ones_like(hard)), ("_hard", hard), ("_easy", ~hard)):
                if rows.any():
                    pl_module.log(f"test/{name}_acc{suffix}", correct[rows].mean(), rank_zero_only=True)

    def _fitted(self) -> FittedRule:
        if self.detection is None and self.rule.threshold.needs_answers:
            raise RuntimeError(
                f"no threshold yet; {type(self.rule.threshold).__name__} needs to know what reranking would answer, so "
                "give the callback the detection that Rule.fit finds"
            )
        if self.detection is None:
            raise RuntimeError("no threshold yet; validate first, or load a checkpoint that has one")
        return FittedRule(self.detection, self.fusion or self.rule.fusion.restore({}))

    def _scores(self) -> Sequence[RowScores]:
        if self.scores is None:
            raise RuntimeError("no view yet; give the callback what views make of the test's rows")
        return self.scores() if callable(self.scores) else self.scores

    def _keep(self, outputs: Batch) -> None:
        self._outputs.append({key: value.detach().cpu() for key, value in outputs.items()})

    def _collect(self, trainer: pl.Trainer) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, labels and row numbers of the epoch, in the order of the split, each sample once."""
        outputs, self._outputs = self._outputs, []
        if trainer.world_size > 1:
            parts: list[list[Batch] | None] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, outputs)
            outputs = [batch for part in parts if part is not None for batch in part]
        index = torch.cat([batch["index"] for batch in outputs])
        index, order = index.sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        rows = order[first]
        logits = logits_of(torch.cat([batch["logits"] for batch in outputs])[rows])
        labels = labels_of(torch.cat([batch["label"] for batch in outputs])[rows], logits.shape[1])
        return logits, labels, index[first]
