"""LRSL as a plug-in: rerank the hard samples of a classifier somebody already has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import metrics
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.embedding.text_embedding import load_embedding, save_embedding
from lrsl.reranking.detector import TopKVariance
from lrsl.reranking.hard_sample_reranking import HardSampleReranking
from lrsl.reranking.view import LabelSimilarity

Array = TypeVar("Array", Tensor, NDArray[Any])

CONFIG = "reranker.json"


class Reranker:
    """Finds the samples a classifier hesitates on and ranks their labels anew by what the labels mean.

    The classifier is never touched: all that is needed are its logits. Logits come as numpy arrays or torch tensors
    `(n, classes)`, and what is returned is of the same kind.

    Args:
        embedder: a SentenceTransformer, or the folder or hub id of one or of any encoder.
        label_texts: a readable text per class, in the order of the logits' columns, no two alike.
        k: number of largest logits whose variance tells hard samples from easy ones.
        power: exponent on the similarity (eq. 10).

    Attributes:
        report_: what `fit` found on the held-out rows: `sigma2_mis`, `hard_fraction`, `n`, the accuracies of
            `origin`, `rerank` and `similarity` on all, hard and easy rows, and `embedding_accuracy` per epoch when
            the embedding was fine-tuned. The threshold was learnt on the same rows; measure the gain on others.

    Raises:
        ValueError: a label text twice, fewer than two classes, or k out of range.
        InputError: the embedder is neither a folder with a model nor reachable.

    Example:
        >>> reranker = Reranker("sentence-transformers/all-MiniLM-L6-v2", ["card arrival", "lost card", ...])
        >>> reranker.fit(val_logits, val_labels, val_texts, train=(train_texts, train_labels, train_logits))
        >>> labels = reranker.predict(logits, texts)
    """

    def __init__(
        self, embedder: SentenceTransformer | str | Path, label_texts: Sequence[str], k: int = 3, power: float = 1.0
    ) -> None:
        self.label_texts = list(label_texts)
        twice = sorted({text for text in self.label_texts if self.label_texts.count(text) > 1})
        if twice:
            raise ValueError(f"label text {twice[0]!r} stands for two classes; every class needs a text of its own")
        if not 2 <= k <= len(self.label_texts):
            raise ValueError(f"k is {k}; with {len(self.label_texts)} classes it must be 2 to {len(self.label_texts)}")
        if not power > 0:
            raise ValueError(f"power is {power}; it must be above 0")
        self.k = k
        self.power = power
        self.embedding = embedder if isinstance(embedder, SentenceTransformer) else load_embedding(str(embedder))
        self.report_: dict[str, Any] = {}
        self._reranking = HardSampleReranking(TopKVariance(k), power)

    def fit(
        self,
        logits: Tensor | NDArray[Any],
        labels: Tensor | NDArray[Any] | Sequence[int],
        texts: Sequence[str],
        train: tuple[Sequence[str], Any, Any] | None = None,
        **recipe: Any,
    ) -> Reranker:
        """Learn the threshold on held-out rows, and fine-tune the embedding when training rows are given.

        Args:
            logits: the classifier's logits of rows it was not trained on, `(n, classes)`.
            labels: their true classes, `(n,)`.
            texts: their texts.
            train: texts, labels and logits of the rows to fine-tune the embedding on. The embedder that was handed in
                stays as it is: a copy is trained, and its best epoch on the held-out rows kept. The logits are needed
                for `negatives=confused` alone and may be None otherwise.
            recipe: how to fine-tune, by the names of the configuration's `embedding` keys, such as `epochs=2`.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, there is no row, or a logit is not finite.
            InputError: a key of the recipe is unknown, has no effect here, or its value is out of range.
        """
        values, gold = self._check(logits, texts), torch.as_tensor(labels).long()
        if len(gold) != len(values):
            raise ValueError(f"there are {len(gold)} labels for {len(values)} rows of logits")
        if not len(values):
            raise ValueError("there are no held-out rows; the threshold is learnt from some the classifier gets wrong")
        if train is None and recipe:
            raise ValueError(f"{min(recipe)} has no effect without train, the rows to fine-tune the embedding on")
        how = embedding_settings(**recipe)
        threshold = self._reranking.fit(values, gold)
        self.report_ = {"n": len(values), "sigma2_mis": threshold}
        if train is not None:
            train_texts, train_labels, train_logits = train
            train_gold = torch.as_tensor(train_labels).long()
            if len(train_texts) != len(train_gold):
                raise ValueError(f"train has {len(train_texts)} texts and {len(train_gold)} labels")
            self.embedding, self.report_["embedding_accuracy"] = finetuned(
                self.embedding,
                self.label_texts,
                (train_texts, train_gold, None if train_logits is None else self._check(train_logits, train_texts)),
                (texts, gold),
                how,
            )
        self._reranking.view = LabelSimilarity().fit(self.embedding, self.label_texts)
        reranked = self._reranking.rerank(values, texts)
        self.report_["hard_fraction"] = reranked.hard.double().mean().item()
        similarity = self._reranking.view(texts)
        for name, scores in (("origin", values), ("rerank", reranked.scores), ("similarity", similarity)):
            self.report_[name] = metrics.accuracies(scores.argmax(-1), gold, reranked.hard)
        return self

    def is_hard(self, logits: Array) -> Array:
        """Return which rows are hard, `(n,)` bool: top-k variance strictly below σ²_mis."""
        hard = self._reranking.is_hard(torch.as_tensor(logits))
        return _like(logits, hard)

    def rerank(self, logits: Array, texts: Sequence[str]) -> Array:
        """Return scores `(n, classes)` to rank by: eq. 10 for hard rows, softmax(logits) for easy ones.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, or a logit is not finite.
            RuntimeError: `fit` was not called.
        """
        self._ready()
        return _like(logits, self._reranking.rerank(self._check(logits, texts), texts).scores)

    def predict(self, logits: Array, texts: Sequence[str]) -> Array:
        """Return the best class of each row after reranking, `(n,)`; easy rows keep the classifier's answer."""
        self._ready()
        values = self._check(logits, texts)
        reranked = self._reranking.rerank(values, texts)
        best = torch.where(reranked.hard, reranked.scores.argmax(-1), values.argmax(-1))
        return _like(logits, best)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the threshold, the label texts and the embedding, readable by `from_pretrained`."""
        self._ready()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_embedding(self.embedding, folder / "embedding")
        saved = {**settings(self.k, self._reranking, self.label_texts), "report": self.report_}
        (folder / CONFIG).write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Reranker:
        """Load what `save_pretrained` saved; nothing in the folder is executed.

        Raises:
            ValueError: there is no reranker in the folder.
        """
        path = Path(folder) / CONFIG
        if not path.is_file():
            raise ValueError(f"{folder} holds no reranker: {CONFIG} is missing; save one with save_pretrained")
        saved: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        reranker = cls(Path(folder) / "embedding", saved["label_texts"], k=saved["k"], power=saved["power"])
        reranker.report_ = dict(saved["report"])
        reranker._reranking.threshold = saved["sigma2_mis"]
        reranker._reranking.view = LabelSimilarity().fit(reranker.embedding, reranker.label_texts)
        return reranker

    def _check(self, logits: Any, texts: Sequence[str]) -> Tensor:
        values = torch.as_tensor(logits).detach().cpu()
        classes = len(self.label_texts)
        if values.ndim != 2 or values.shape[1] != classes:
            raise ValueError(
                f"logits have shape {tuple(values.shape)}; with {classes} label texts it is (n, {classes})"
            )
        if len(texts) != len(values):
            raise ValueError(f"there are {len(texts)} texts for {len(values)} rows of logits")
        return values if values.is_floating_point() else values.double()

    def _ready(self) -> None:
        if self._reranking.threshold is None or self._reranking.view is None:
            raise RuntimeError("the reranker is not fitted; call fit with held-out logits, labels and texts first")


def settings(k: int, reranking: HardSampleReranking, label_texts: Sequence[str]) -> dict[str, Any]:
    """Return what a saved reranker says of itself, besides its report."""
    return {
        "k": k,
        "power": reranking.power,
        "sigma2_mis": reranking.threshold,
        "label_texts": list(label_texts),
    }


def _like(given: Array, result: Tensor) -> Array:
    return result.numpy() if isinstance(given, np.ndarray) else result.to(given.device)
