"""LRSL as a plug-in: rerank the hard samples of a classifier somebody already has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import metrics
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.embedding.text_embedding import load_embedding, save_embedding
from lrsl.reranking.detector import Detector
from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.fusion.log_linear import LogLinear
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.rule import Detection, FittedRule, RowScores, Rule, recorded_scores, scores_of_texts
from lrsl.reranking.saving import described, made_again, under
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis
from lrsl.reranking.verdict import verdict
from lrsl.reranking.view import FittedCandidateView, FittedView, Given, View
from lrsl.reranking.view.instances import Instances
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.reranking.view.lexical import Lexical

Array = TypeVar("Array", Tensor, NDArray[Any])

CONFIG = "reranker.json"
LEARNT = "learnt.safetensors"
EMBEDDING = "embedding"
RULES = ("paper", "fitted")
DEPLOY = ("always", "auto")
FORMAT = 1
"""Version of what `save_pretrained` writes; 0 is what version 0.1 wrote, which did not say."""


class Reranker:
    """Finds the samples a classifier hesitates on and ranks their labels anew by what the labels mean.

    The classifier is never touched: all that is needed are its logits. Logits come as numpy arrays or torch tensors
    `(n, classes)`, and what is returned is of the same kind.

    Args:
        embedder: a SentenceTransformer, or the folder or hub id of one or of any encoder.
        label_texts: a readable text per class, in the order of the logits' columns, no two alike.
        k: number of largest logits whose variance tells hard samples from easy ones, and of candidates for a view that
            scores a few labels only.
        power: exponent on the similarity (eq. 10), or `auto`, which finds it on the hard held-out rows.
        detector: what tells hard samples from easy ones; `TopKVariance(k)` unless given.
        threshold: where hard samples end; `Sigma2Mis()` unless given.
        views: what scores the labels of hard samples; `[LabelSimilarity()]` unless given. With views that need no
            embedding the embedder may be None; it is loaded only when one asks for it.
        fusion: how logits and views become one ranking; `Paper(power)` unless given.
        rule: `paper`, or `fitted`: margin, label similarity, nearest training texts, words and characters, joined by
            weights that held-out rows give them (of these views the first alone where `fit` gets no training rows).
            What is given above replaces its part of either.
        deploy: whether hard rows are reranked: `always`; or `auto`, only where held-out rows say that it pays, so that
            `predict` and `rerank` give the classifier's own answers elsewhere. `always` with the rule `paper`, and
            `auto` with `fitted`, unless given.

    Attributes:
        report_: what `fit` found on the held-out rows: `sigma2_mis`, `hard_fraction`, `n`, the accuracies of
            `origin`, `rerank` and `similarity` on all, hard and easy rows, `embedding_accuracy` per epoch when the
            embedding was fine-tuned, and the `verdict`: what reranking gains on held-out rows it was not fitted on, by
            cross-fitting, whether it pays, and why. The accuracies are of the very rows the rule was fitted on.

    Raises:
        ValueError: a label text twice, fewer than two classes, k or power out of range, or no embedder for the default
            view.
        InputError: the embedder is neither a folder with a model nor reachable.

    Example:
        >>> reranker = Reranker("sentence-transformers/all-MiniLM-L6-v2", ["card arrival", "lost card", ...])
        >>> reranker.fit(val_logits, val_labels, val_texts, train=(train_texts, train_labels, train_logits))
        >>> labels = reranker.predict(logits, texts)
    """

    def __init__(
        self,
        embedder: SentenceTransformer | str | Path | None,
        label_texts: Sequence[str],
        k: int = 3,
        power: float | str = 1.0,
        *,
        detector: Detector | None = None,
        threshold: ThresholdRule | None = None,
        views: Sequence[View] | None = None,
        fusion: Fusion | None = None,
        rule: str = "paper",
        deploy: str | None = None,
    ) -> None:
        self.label_texts = list(label_texts)
        twice = sorted({text for text in self.label_texts if self.label_texts.count(text) > 1})
        if twice:
            raise ValueError(f"label text {twice[0]!r} stands for two classes; every class needs a text of its own")
        if not 2 <= k <= len(self.label_texts):
            raise ValueError(f"k is {k}; with {len(self.label_texts)} classes it must be 2 to {len(self.label_texts)}")
        if embedder is None and views is None:
            raise ValueError("there is no embedder; give one, or views that need none")
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}; it must be one of {', '.join(RULES)}")
        if deploy not in (None, *DEPLOY):
            raise ValueError(f"deploy is {deploy!r}; it must be one of {', '.join(DEPLOY)}")
        papers = rule == "paper"
        self.k = k
        self.power = power
        self.deploy = deploy or ("always" if papers else "auto")
        self.rule = Rule(
            detector or (TopKVariance(k) if papers else Margin()),
            threshold or Sigma2Mis(),
            fusion or (Paper(power) if papers else LogLinear()),
        )
        self._from_rows: list[View] = [] if papers or views is not None else [Instances(), Lexical()]
        self.views: list[View] = [LabelSimilarity()] if views is None else list(views)
        self.report_: dict[str, Any] = {}
        self._embedder = embedder
        if views is None:
            self._embedder = self.embedding  # what cannot be loaded is said at once
        self._fitted: FittedRule | None = None
        self._fitted_views: list[FittedView | FittedCandidateView] = []

    @property
    def embedding(self) -> SentenceTransformer:
        """The text embedding, loaded when it is first asked for.

        Raises:
            RuntimeError: there is none.
            InputError: the embedder is neither a folder with a model nor reachable.
        """
        if self._embedder is None:
            raise RuntimeError("this reranker has no embedder; give one when it is made")
        if not isinstance(self._embedder, SentenceTransformer):
            self._embedder = load_embedding(str(self._embedder))
        return self._embedder

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
                for `negatives=confused` alone and may be None otherwise. Views learn from these rows too.
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
        if recipe and (train is None or self._embedder is None):
            missing = "train, the rows to fine-tune the embedding on" if train is None else "an embedder"
            raise ValueError(f"{min(recipe)} has no effect without {missing}")
        how = embedding_settings(**recipe)
        needs_answers = self.rule.threshold.needs_answers
        detection = None if needs_answers else self.rule.detection(values, gold)  # before anything is trained
        report: dict[str, Any] = {"n": len(values), "sigma2_mis": None}
        load = None if self._embedder is None else lambda: self.embedding
        given = Given(self.label_texts, load_embedding=load)
        if train is not None:
            train_texts, train_labels, train_logits = train
            train_gold = torch.as_tensor(train_labels).long()
            if len(train_texts) != len(train_gold):
                raise ValueError(f"train has {len(train_texts)} texts and {len(train_gold)} labels")
            given = replace(given, texts=list(train_texts), labels=train_gold.tolist())
            self.views += self._from_rows
            self._from_rows = []
            if self._embedder is not None:
                self._embedder, report["embedding_accuracy"] = finetuned(
                    self.embedding,
                    self.label_texts,
                    (train_texts, train_gold, None if train_logits is None else self._check(train_logits, train_texts)),
                    (texts, gold),
                    how,
                )
        self._fitted_views = [view.fit(given) for view in self.views]
        every = torch.arange(len(values))
        scores = [score(every, values).cpu() for score in self._scores(texts)]
        self._fitted = self.rule.fit(values, gold, [recorded_scores(score) for score in scores], detection)
        report["sigma2_mis"] = self._fitted.detection.threshold
        reranked = self._fitted.rerank(values, [recorded_scores(score) for score in scores])
        report["hard_fraction"] = reranked.hard.double().mean().item()
        answers = {"origin": values.argmax(-1), "rerank": reranked.labels}
        if len(scores) == 1:
            answers["similarity"] = scores[0].nan_to_num(nan=-torch.inf).argmax(-1)
        for name, answer in answers.items():
            report[name] = metrics.accuracies(answer, gold, reranked.hard)
        report["verdict"] = verdict(self.rule, values, gold, scores).plain()
        self.report_ = report
        return self

    @property
    def is_on(self) -> bool:
        """Whether hard rows are reranked: always, or because held-out rows say that it pays."""
        return self.deploy == "always" or bool(self.report_.get("verdict", {}).get("deploy"))

    def is_hard(self, logits: Array) -> Array:
        """Return which rows are hard, `(n,)` bool: the detector's number strictly below the threshold.

        Raises:
            RuntimeError: `fit` was not called.
        """
        return _like(logits, self._ready().detection.is_hard(torch.as_tensor(logits)))

    def rerank(self, logits: Array, texts: Sequence[str]) -> Array:
        """Return scores `(n, classes)` to rank by: the fusion's for hard rows (eq. 10), softmax(logits) for easy ones.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, or a logit is not finite.
            RuntimeError: `fit` was not called.
        """
        fitted, values = self._ready(), self._check(logits, texts)
        if not self.is_on:
            return _like(logits, values.softmax(dim=-1))
        return _like(logits, fitted.rerank(values, self._scores(texts)).scores)

    def predict(self, logits: Array, texts: Sequence[str]) -> Array:
        """Return the best class of each row after reranking, `(n,)`; easy rows keep the classifier's answer."""
        fitted, values = self._ready(), self._check(logits, texts)
        if not self.is_on:
            return _like(logits, values.argmax(dim=-1))
        return _like(logits, fitted.rerank(values, self._scores(texts)).labels)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save settings, what was learnt, the label texts and the embedding, readable by `from_pretrained`.

        Raises:
            ValueError: a component of your own cannot be written down.
        """
        about, learnt = saved_rule(
            self.rule,
            self._ready(),
            self.views,
            [view.learnt() for view in self._fitted_views],
            label_texts=self.label_texts,
            k=self.k,
        )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self._embedder is not None:
            save_embedding(self.embedding, folder / EMBEDDING)
        if learnt:
            save_file(learnt, folder / LEARNT)
        saved = {**about, "deploy": self.deploy, "report": self.report_}
        (folder / CONFIG).write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Reranker:
        """Load what `save_pretrained` saved; nothing in the folder is executed, and nothing that it names is imported.

        A component of your own is found when its module has been imported before.

        Raises:
            ValueError: there is no reranker in the folder, it is damaged or of a later version, or a component is not
                imported.
        """
        folder = Path(folder)
        path = folder / CONFIG
        if not path.is_file():
            raise ValueError(f"{folder} holds no reranker: {CONFIG} is missing; save one with save_pretrained")
        try:
            saved: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            saved = None
        version = saved.get("format", 0) if isinstance(saved, dict) else None
        if not isinstance(version, int):
            raise ValueError(f"{path} is damaged; fit and save the reranker anew")
        if version > FORMAT:
            raise ValueError(
                f"{path} has format {version}, and this version of lrsl reads up to {FORMAT}; install a later one"
            )
        try:
            return cls._restored(folder, saved if version else _of_format_0(saved))
        except KeyError as error:
            raise ValueError(f"{path} lacks {error.args[0]}; fit and save the reranker anew") from None

    @classmethod
    def _restored(cls, folder: Path, saved: Mapping[str, Any]) -> Reranker:
        embedding = folder / EMBEDDING
        rule = saved["rule"]
        reranker = cls(
            embedding if embedding.is_dir() else None,
            saved["label_texts"],
            k=saved["k"],
            detector=made_again(rule["detector"], Detector),
            threshold=made_again(rule["threshold"], ThresholdRule),
            views=[made_again(view, View) for view in rule["views"]],
            fusion=made_again(rule["fusion"], Fusion),
            deploy=saved.get("deploy", "always"),
        )
        fusion = reranker.rule.fusion
        reranker.power = fusion.power if isinstance(fusion, Paper) else 1.0
        tensors = load_file(folder / LEARNT) if (folder / LEARNT).is_file() else {}
        load = None if reranker._embedder is None else lambda: reranker.embedding
        given = Given(reranker.label_texts, load_embedding=load)
        detector = reranker.rule.detector.restore(under("detector", tensors))
        reranker._fitted = FittedRule(
            Detection(detector, float(saved["sigma2_mis"])), fusion.restore(under("fusion", tensors))
        )
        reranker._fitted_views = [
            view.restore(learnt, given) if (learnt := under(f"view.{number}", tensors)) else view.fit(given)
            for number, view in enumerate(reranker.views)
        ]
        reranker.report_ = dict(saved["report"])
        return reranker

    def _scores(self, texts: Sequence[str]) -> list[RowScores]:
        pairs = zip(self.views, self._fitted_views, strict=True)
        return [scores_of_texts(view, fitted, texts, self.k) for view, fitted in pairs]

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

    def _ready(self) -> FittedRule:
        if self._fitted is None:
            raise RuntimeError("the reranker is not fitted; call fit with held-out logits, labels and texts first")
        return self._fitted


def saved_rule(
    rule: Rule,
    fitted: FittedRule,
    views: Sequence[View],
    learnt_by_views: Sequence[Mapping[str, Tensor]],
    *,
    label_texts: Sequence[str],
    k: int,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a saved reranker says of itself, besides its report, and the tensors that were learnt.

    Raises:
        ValueError: a component cannot be written down.
    """
    about = {
        "format": FORMAT,
        "k": k,
        "sigma2_mis": fitted.detection.threshold,
        "label_texts": list(label_texts),
        "rule": {
            "detector": described(rule.detector, Detector),
            "threshold": described(rule.threshold, ThresholdRule),
            "views": [described(view, View) for view in views],
            "fusion": described(rule.fusion, Fusion),
        },
    }
    parts = {"detector": fitted.detection.detector.learnt(), "fusion": fitted.fusion.learnt()}
    parts |= {f"view.{number}": learnt for number, learnt in enumerate(learnt_by_views)}
    tensors = {f"{part}.{name}": tensor for part, learnt in parts.items() for name, tensor in learnt.items()}
    # views may share tensors, which safetensors does not write
    return about, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _of_format_0(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 0.1 saved, which had the paper's rule only, as this version would have written it."""
    rule = {
        "detector": {"kind": "lrsl.TopKVariance", "settings": {"k": saved["k"]}},
        "threshold": {"kind": "lrsl.Sigma2Mis", "settings": {}},
        "views": [{"kind": "lrsl.LabelSimilarity", "settings": {}}],
        "fusion": {"kind": "lrsl.Paper", "settings": {"power": saved["power"]}},
    }
    return {**saved, "rule": rule}


def _like(given: Array, result: Tensor) -> Array:
    return result.numpy() if isinstance(given, np.ndarray) else result.to(given.device)
