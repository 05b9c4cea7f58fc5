"""LRSL as a plug-in: rerank the hard samples of a classifier somebody already has."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.onnx import OnnxEmbedding, onnx_embedding
from lrsl.embedding.text_embedding import load_embedding, say_what_is_compared
from lrsl.nn.onnx import TORCH, check_backend
from lrsl.plugin import answers, checked, fitting, report
from lrsl.plugin import columns as order
from lrsl.plugin.answers import Answer, Candidate, Explanation, Neighbour
from lrsl.plugin.calibration import Calibration
from lrsl.plugin.cut_off import warns_what_is_cut
from lrsl.plugin.pretrained import Pretrained
from lrsl.reranking.detector import Detector
from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.folds import first_alike
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.fusion.log_linear import LogLinear
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.on_hard import NO_LABEL
from lrsl.reranking.on_hard.conformal import Conformal, label_sets
from lrsl.reranking.on_hard.defer import Defer, deferred
from lrsl.reranking.positional import like, texts_of
from lrsl.reranking.rule import Detection, FittedRule, Reranked, RowScores, Rule, recorded_scores, scores_of_texts
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.threshold.best_gain import fitted_threshold
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis
from lrsl.reranking.view import FittedCandidateView, FittedView, Given, View
from lrsl.reranking.view.instances import FittedInstances, Instances
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.reranking.view.lexical import Lexical
from lrsl.reranking.view.linear_probe import LinearProbe

Array = TypeVar("Array", Tensor, NDArray[Any])

TIMED = 200
"""Rows on which the cost is measured where views have scored others in another way, or some are not asked."""


class Reranker(Pretrained):
    """Finds the samples a classifier hesitates on and ranks their labels anew by what the labels mean.

    The classifier is never touched: all that is needed are its logits `(n, classes)`, or log-probabilities. Logits,
    texts and labels may be lists, tuples, arrays, tensors, Series or frames. They are taken by position, whatever index
    they have. What is returned is a tensor for logits that are a tensor, on the same device, and else a numpy array.
    Texts that are longer than what is read of them are cut off, and each call warns once of how many there were.

    Args:
        embedder: a SentenceTransformer, or the folder or hub id of one or of any encoder.
        label_texts: a readable text per class, in the order of the logits' columns, no two alike. Of two that differ in
            case, width or characters that are not seen alone, a warning tells.
        k: number of largest logits whose variance tells hard samples from easy ones, and of candidates for a view that
            scores a few labels only; 3, or 2 with two classes, unless given.
        power: exponent on the similarity (eq. 10), or `auto`, which finds it on the hard held-out rows.
        detector: what tells hard samples from easy ones; `TopKVariance(k)` unless given.
        threshold: where hard samples end; unless given `Sigma2Mis()`, and for the rule `fitted` with
            `on_hard="rerank"` it is `BestGain(without_gain="mistakes")`.
        views: what scores the labels of hard samples; `[LabelSimilarity()]` unless given. With views that need no
            embedding the embedder may be None; it is loaded only when one asks for it.
        fusion: how logits and views become one ranking; `Paper(power)` unless given.
        rule: `paper`, or `fitted`: margin, label similarity, nearest training texts, words and characters, and a
            regression on the embedder as it was handed in, joined by weights that held-out rows give them (of these
            views the first alone where `fit` gets no training rows). What is given above replaces its part of either.
        deploy: whether hard rows are reranked: `always`; or `auto`, only where held-out rows say that it pays, so that
            `predict` and `rerank` give the classifier's own answers elsewhere. `always` with the rule `paper`, and
            `auto` with `fitted`, unless given.
        on_hard: what `predict` does with hard rows: `rerank`, as `deploy` says; `abstain`, no answer; `set`, an answer
            only where `predict_set` gives one label; `defer`, the answer of `defer`.
        coverage: the least share of hard rows whose set, by `predict_set`, is to hold the true label.
        names: what each class is called, in the same order, where that is not its text: labels may be given by these,
            and candidates have them.
        defer: answers hard rows with `on_hard="defer"`: a function of a text, its k likeliest label texts, best first,
            and their scores, that returns a label text or None; or an `lrsl.Endpoint`. It is never saved.
        backend: what computes the embedding of texts: `torch`; `onnx`, ONNX Runtime on the CPU, whose vectors differ
            by rounding alone; or `onnx-int8`, with 8-bit integers. Fine-tuning takes torch, and so does the embedder
            as it was before that, which the rule `fitted` asks, too. An embedding that cannot be exported is computed
            by torch, and a warning says why.

    Attributes:
        report_: what `fit` found on the held-out rows: `sigma2_mis`, `hard_fraction`, `n`, the accuracies of
            `origin`, `rerank` and `similarity` on all, hard and easy rows, `embedding_accuracy` per epoch when the
            embedding was fine-tuned, and the `verdict`: what reranking gains on held-out rows it was not fitted on, by
            cross-fitting, whether it pays, and why. These accuracies are of the very rows the rule was fitted on; those
            under `cross_fitted` are of rules that were not fitted on the row. `n_train` counts the training rows, which
            are the held-out ones themselves where they are `out_of_fold`.
        cost_: what reranking takes where it was fitted, in seconds per 1,000 texts, and what its views say they cost;
            one without weight is not asked, and takes nothing.

    Raises:
        ValueError: label texts or names that are no strings in an order, one of them twice, fewer than two classes, k,
            power or coverage out of range, no embedder for the default view, or `defer` without `on_hard="defer"` or
            the other way round.
        InputError: the embedder is neither a folder with a model nor reachable, or `on_hard="set"` without crepes, or
            `backend="onnx"` without ONNX Runtime.

    Example:
        >>> reranker = Reranker("sentence-transformers/all-MiniLM-L6-v2", ["card arrival", "lost card", ...])
        >>> reranker.fit(val_logits, val_labels, val_texts, train=(train_texts, train_labels, train_logits))
        >>> labels = reranker.predict(logits, texts)
    """

    def __init__(
        self,
        embedder: SentenceTransformer | str | Path | None,
        label_texts: Iterable[str],
        k: int | None = None,
        power: float | str = checked.USUAL_POWER,
        *,
        detector: Detector | None = None,
        threshold: ThresholdRule | None = None,
        views: Sequence[View] | None = None,
        fusion: Fusion | None = None,
        rule: str = "paper",
        deploy: str | None = None,
        on_hard: str = "rerank",
        coverage: float = 0.9,
        names: Iterable[str] | None = None,
        defer: Defer | None = None,
        backend: str = TORCH,
    ) -> None:
        check_backend(backend)
        self.label_texts = checked.label_texts_of(label_texts)
        self.names = checked.names_of(names, len(self.label_texts))
        k = min(checked.USUAL_K, len(self.label_texts)) if k is None else k
        if not hasattr(k, "__index__") or not 2 <= k <= len(self.label_texts):
            raise ValueError(f"k is {k}; with {len(self.label_texts)} classes it must be 2 to {len(self.label_texts)}")
        if not isinstance(embedder, SentenceTransformer | str | Path | None):
            raise ValueError(
                f"the embedder is of type {type(embedder).__name__}; give a SentenceTransformer, or the folder or hub "
                "id of one or of an encoder"
            )
        if embedder is None and views is None:
            raise ValueError("there is no embedder; give one, or views that need none")
        checked.check_parts(detector=detector, threshold=threshold, fusion=fusion)
        checked.check_rule(rule, deploy, power, fusion)
        checked.check_on_hard(on_hard, coverage, defer)
        given_views = checked.views_of(views)
        papers = rule == "paper"
        self.k = operator.index(k)
        self.power = power
        self.deploy = deploy or ("always" if papers else "auto")
        self.on_hard = on_hard
        self.coverage = coverage
        self.defer = defer
        self.backend = backend
        self.rule = Rule(
            detector or (TopKVariance(self.k) if papers else Margin()),
            threshold or (Sigma2Mis() if papers else fitted_threshold(on_hard)),
            fusion or (Paper(power) if papers else LogLinear()),
        )
        self._from_rows: list[View] = [] if papers or views is not None else [Instances(), Lexical(), LinearProbe()]
        self._from_texts: list[View] = [LabelSimilarity()] if given_views is None else given_views
        self.views: list[View] = self._from_texts
        self.report_: dict[str, Any] = {}
        self.cost_: dict[str, Any] = {}
        self._handed_in = self._embedder = embedder
        self._is_tuned = False
        if isinstance(embedder, SentenceTransformer):
            say_what_is_compared(embedder, "the embedder")
        if views is None:
            self._embedder = self.embedding  # what cannot be loaded is said at once
        self._onnx: OnnxEmbedding | None = None
        self._saved_graphs: Path | None = None
        self._fitted: FittedRule | None = None
        self._fitted_views: list[FittedView | FittedCandidateView] = []
        self._conformal: Conformal | None = None
        self._calibration: Calibration | None = None

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

    @warns_what_is_cut
    def fit(
        self,
        logits: Tensor | NDArray[Any] | Sequence[Sequence[float]],
        labels: Tensor | NDArray[Any] | Iterable[int] | Iterable[str],
        texts: Iterable[str],
        train: tuple[Iterable[str], Any, Any] | None = None,
        *,
        classes: Any = None,
        columns: str = "checked",
        **recipe: Any,
    ) -> Reranker:
        """Learn the threshold on held-out rows, and fine-tune the embedding when training rows are given.

        Args:
            logits: the classifier's logits of rows it was not trained on, `(n, classes)`.
            labels: their true classes, `(n,)`, as numbers or by their label texts.
            texts: their texts.
            train: texts, labels and logits of the rows to fine-tune the embedding on. The embedder that was handed in
                stays as it is: a copy is trained, and its best epoch on the held-out rows kept. The logits are needed
                for `negatives=confused` alone and may be None otherwise. Views learn from these rows too.
            classes: what the classifier calls its classes, in the order of the logits' columns, such as `classes_` of
                scikit-learn or `id2label` of transformers; an order other than that of label texts is refused.
            columns: `checked`, which refuses logits whose columns are the classes in another order, as the held-out
                rows tell; `trusted` takes them as they are.
            recipe: how to fine-tune, by the names of the configuration's `embedding` keys, such as `epochs=2`. With
                `negatives="confused"`, k is the reranker's unless given. With `finetune=False` views alone learn from
                the training rows, and the embedder stays as it is.

        Raises:
            ValueError: logits, labels or texts have no order, differ in length, do not fit the classes or are of
                another kind, the logits are probabilities or one is not finite, or there is no row.
            InputError: the columns are the classes in another order, or the rows are of other texts; a key of the
                recipe is unknown, has no effect here, or its value is out of range; the embedder gives two label texts
                the same vector, or cannot be fine-tuned.
        """
        given_texts, values, gold = self._held_out(logits, labels, texts, classes, columns)
        training = None if train is None else fitting.training_rows(train, self._classes)
        if training is not None:
            fitting.warn_of_trained_on(given_texts, training.texts)
        how = fitting.settings_of(recipe, self.k, train=train is not None, embedder=self._embedder is not None)
        needs_answers = self.rule.threshold.needs_answers
        detection = None if needs_answers else self.rule.detection(values, gold)  # before anything is trained
        views = [*self._from_texts, *(self._from_rows if training is not None else [])]
        given = self._as_handed_in()
        given, embedder, accuracies = fitting.prepared(given, training, (given_texts, gold), views, how)
        if given.load_untuned is not None and not fitting.can_be_packed(self._handed_in):
            views = [view for view in views if view not in self._from_rows or not isinstance(view, LinearProbe)]
        fitted_views = [view.fit(given) for view in views]
        if self._is_tuned or embedder is not None:
            self._embedder = given.embedding
        self._is_tuned = embedder is not None
        self.views, self._fitted_views = views, fitted_views
        seconds = self._learn(given_texts, values, gold, self._scores(given_texts), detection)
        self.report_["n_train"] = 0 if training is None else len(training.texts)
        if accuracies is not None:
            self.report_["embedding_accuracy"] = accuracies
        if len(self._asked()) == len(self.views):
            self._note_cost(seconds, len(values))
        else:
            self._measure_cost(given_texts, values)
        return self

    @warns_what_is_cut
    def fit_out_of_fold(
        self,
        logits: Tensor | NDArray[Any] | Sequence[Sequence[float]],
        labels: Tensor | NDArray[Any] | Iterable[int] | Iterable[str],
        texts: Iterable[str],
        *,
        classes: Any = None,
        columns: str = "checked",
    ) -> Reranker:
        """Learn everything from rows whose logits come from classifiers that were not trained on the row.

        No rows need be held out: views learn from the same rows, and each row is scored as if they had not. The
        embedder is taken as it is.

        Args:
            logits: for each row those of a classifier trained on other rows, as in cross-validation, `(n, classes)`.
            labels: their true classes, `(n,)`, as numbers or by what the classes are called.
            texts: their texts.
            classes: as for `fit`.
            columns: as for `fit`.

        Raises:
            ValueError: as for `fit`.
            InputError: as for `fit`.
        """
        given_texts, values, gold = self._held_out(logits, labels, texts, classes, columns)
        detection = None if self.rule.threshold.needs_answers else self.rule.detection(values, gold)
        views = [*self._from_texts, *self._from_rows]
        given = self._as_handed_in()
        given, _, _ = fitting.prepared(given, None, (given_texts, gold), views, fitting.settings_of({}, self.k))
        given = replace(given, texts=given_texts, labels=gold.tolist(), candidates=lambda: values.topk(self.k).indices)
        self._fitted_views = [view.fit(given) for view in views]
        if self._is_tuned:
            self._embedder, self._is_tuned = given.embedding, False
        self.views = views
        scores = [
            fitting.scores_out_of_fold(view, fitted, given, values, self.k)
            for view, fitted in zip(self.views, self._fitted_views, strict=True)
        ]
        self._learn(given_texts, values, gold, [recorded_scores(score) for score in scores], detection)
        self.report_ |= {"n_train": len(values), "out_of_fold": True}
        self._measure_cost(given_texts, values)
        return self

    def _held_out(
        self, logits: Any, labels: Any, texts: Any, classes: Any, columns: str
    ) -> tuple[list[str], Tensor, Tensor]:
        """Return texts, logits and labels that have been checked, the order of the columns too."""
        if columns not in order.COLUMNS:
            raise ValueError(f"columns is {columns!r}; it must be one of {', '.join(order.COLUMNS)}")
        given, values, gold = fitting.held_out_rows(logits, labels, texts, self._classes)
        if classes is not None:
            order.check_names(classes, self._classes.called)
        if columns == order.CHECKED:
            order.check_order(values, gold, self._classes.called)
        return given, values, gold

    def _learn(
        self,
        texts: Sequence[str],
        values: Tensor,
        gold: Tensor,
        scores: Sequence[RowScores],
        detection: Detection | None,
    ) -> list[float]:
        """Learn the rule and what goes with it; return the seconds that each view took."""
        learnt = fitting.learnt(
            self.rule, values, gold, scores, detection=detection, deploy=self.deploy, alike=first_alike(texts)
        )
        self._fitted, self._conformal, self._calibration = learnt.rule, learnt.conformal, learnt.calibration
        self.report_ = learnt.report
        return learnt.seconds

    def _asked(self) -> list[int]:
        """Return the numbers of the views that have a weight: no other is asked."""
        fitted = self._ready()
        return [number for number in range(len(self.views)) if fitted.asks(number)]

    def _measure_cost(self, texts: Sequence[str], values: Tensor) -> None:
        """Note what a few rows cost by the views that are asked alone; one that is not cannot embed for the others."""
        few, asked = torch.arange(min(len(values), TIMED)), self._asked()
        scores = self._scores([texts[row] for row in few.tolist()])
        measured = fitting.scores_and_seconds([scores[number] for number in asked], values[few])[1]
        of_asked = dict(zip(asked, measured, strict=True))
        self._note_cost([of_asked.get(number, 0.0) for number in range(len(scores))], len(few))

    def _note_cost(self, seconds: Sequence[float], n: int) -> None:
        costs = dict(zip(self._view_names(), (view.cost for view in self.views), strict=True))
        self.cost_ = report.cost(dict(zip(costs, seconds, strict=True)), costs, n, self.report_["hard_fraction"])

    @property
    def is_on(self) -> bool:
        """Whether hard rows are reranked: always, or because held-out rows say that it pays."""
        return self.deploy == "always" or bool(self.report_.get("verdict", {}).get("deploy"))

    def is_hard(self, logits: Array) -> Array:
        """Return which rows are hard, `(n,)` bool: the detector's number strictly below the threshold.

        Raises:
            ValueError: the logits do not fit the classes, are probabilities, or one is not finite.
            RuntimeError: `fit` was not called.
        """
        fitted = self._ready()
        return like(logits, fitted.detection.is_hard(self._classes.logits(logits)))

    @warns_what_is_cut
    def rerank(self, logits: Array, texts: Iterable[str]) -> Array:
        """Return scores `(n, classes)` to rank by: the fusion's for hard rows (eq. 10), softmax(logits) for easy ones.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, the logits are probabilities, or one is
                not finite.
            RuntimeError: `fit` was not called.
        """
        fitted, asked = self._ready(), texts_of(texts)
        values = self._check(logits, asked)
        if not self.is_on:
            return like(logits, values.softmax(dim=-1))
        return like(logits, fitted.rerank(values, self._scores(asked)).scores)

    @warns_what_is_cut
    def predict(self, logits: Array, texts: Iterable[str]) -> Array:
        """Return the answer to each row, `(n,)`; easy rows keep the classifier's.

        Hard rows have the best class after reranking, or what `on_hard` says; -1 stands for no answer.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, the logits are probabilities or one is not
                finite, or what `defer` answers is no label text.
            RuntimeError: `fit` was not called, or no sets can be made.
        """
        fitted, asked = self._ready(), texts_of(texts)
        values = self._check(logits, asked)
        if self.on_hard == "abstain":
            return like(logits, values.argmax(dim=-1).masked_fill(fitted.detection.is_hard(values), NO_LABEL))
        if self.on_hard == "rerank" and not self.is_on:
            return like(logits, values.argmax(dim=-1))
        return like(logits, self._answers(values, asked, self._reranked(values, asked))[0])

    @warns_what_is_cut
    def answers(
        self, logits: Tensor | NDArray[Any] | Sequence[Sequence[float]], texts: Iterable[str], k: int | None = None
    ) -> list[Answer]:
        """Return what `predict`, `is_hard` and `candidates` do, and with `on_hard="set"` `predict_set`, in one pass.

        Args:
            logits: the classifier's, `(n, classes)`.
            texts: their texts.
            k: how many candidates; the reranker's k unless given.

        Raises:
            ValueError: as for `predict` and `candidates`.
            RuntimeError: `fit` was not called, or no sets can be made.
        """
        self._ready()
        asked, names = texts_of(texts), self._classes.called
        values = self._check(logits, asked)
        reranked = self._reranked(values, asked)
        labels, sets = self._answers(values, asked, reranked)
        found = answers.candidates(values, reranked, names, self._at_most(k))
        return [
            Answer(
                None if label == NO_LABEL else names[label],
                hard,
                of_row,
                None if sets is None else [names[column] for column in sets[row].nonzero().flatten().tolist()],
            )
            for row, (label, hard, of_row) in enumerate(
                zip(labels.tolist(), reranked.hard.tolist(), found, strict=True)
            )
        ]

    @warns_what_is_cut
    def predict_proba(self, logits: Array, texts: Iterable[str]) -> Array:
        """Return the probability of each label, `(n, classes)`, calibrated on the held-out rows.

        They are there whatever `on_hard` says. What hard rows are ranked by after reranking, divided by its sum, has a
        temperature of its own; so have the classifier's logits in easy rows. Both make the true labels of held-out rows
        likeliest, by cross-fitting. The likeliest label is that of `rerank`.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, the logits are probabilities, or one is
                not finite.
            RuntimeError: `fit` was not called, or the reranker was saved by a version that calibrated nothing.
        """
        self._ready()
        asked = texts_of(texts)
        values = self._check(logits, asked)
        if self._calibration is None:
            raise RuntimeError("this reranker was saved without what probabilities are calibrated with; fit it anew")
        return like(logits, self._calibration(values, self._reranked(values, asked), reranks=self.is_on))

    @warns_what_is_cut
    def candidates(
        self, logits: Tensor | NDArray[Any] | Sequence[Sequence[float]], texts: Iterable[str], k: int | None = None
    ) -> list[list[Candidate]]:
        """Return, for each row, the labels among the k best before or after reranking, with both scores, best first.

        Args:
            logits: the classifier's, `(n, classes)`.
            texts: their texts.
            k: how many; the reranker's unless given.

        Raises:
            ValueError: k is out of range, the parts differ in length or do not fit the classes, the logits are
                probabilities, or one is not finite.
            RuntimeError: `fit` was not called.
        """
        self._ready()
        asked, names = texts_of(texts), self._classes.called
        values = self._check(logits, asked)
        return answers.candidates(values, self._reranked(values, asked), names, self._at_most(k))

    @warns_what_is_cut
    def explain(
        self, logits: Tensor | NDArray[Any] | Sequence[Sequence[float]], texts: Iterable[str], k: int | None = None
    ) -> list[Explanation]:
        """Return why each row has its answer; `print` shows it: hardness, candidates, what each view makes of them.

        The views are asked for easy rows, too, and reranking's answer is given, whatever `on_hard` says.

        Args:
            logits: the classifier's, `(n, classes)`.
            texts: their texts.
            k: how many labels before and after; the reranker's unless given.

        Raises:
            ValueError: as for `candidates`.
            RuntimeError: `fit` was not called.
        """
        detection, asked = self._ready().detection, texts_of(texts)
        values = self._check(logits, asked)
        reranked, every = self._reranked(values, asked), torch.arange(len(values))
        scores = [score(every, values) for score in self._scores(asked)] if asked else []
        return answers.explanations(
            asked,
            reranked,
            detection=detection,
            hardness=detection.detector(values),
            is_on=self.is_on,
            found=answers.candidates(values, reranked, self._classes.called, self._at_most(k)),
            views=dict(zip(self._view_names(), scores, strict=False)),
        )

    @warns_what_is_cut
    def predict_set(self, logits: Array, texts: Iterable[str]) -> Array:
        """Return the labels of each row, `(n, classes)` bool, whatever `on_hard` says: several for hard rows, one else.

        Of hard rows, the share whose set holds the true label is at least `coverage`, as nearly as new rows are like
        the held-out ones (`lrsl.reranking.on_hard.conformal`). With fewer hard held-out rows than
        1 / (1 - coverage) - 1 the sets are all labels.

        Raises:
            ValueError: the parts differ in length or do not fit the classes, the logits are probabilities, or one is
                not finite.
            RuntimeError: `fit` was not called, or the reranker was saved by a version that made no sets.
            InputError: crepes is not installed.
        """
        self._ready()
        asked = texts_of(texts)
        values = self._check(logits, asked)
        return like(logits, self._sets(values, self._reranked(values, asked)))

    def neighbours(self, texts: Iterable[str], n: int = 5) -> list[list[Neighbour]]:
        """Return the training rows that lie nearest to each text in the space of the embedding, nearest first.

        Args:
            texts: the texts.
            n: how many of each; fewer where there are no more training rows.

        Raises:
            ValueError: n is below 1, or no view holds the training rows, as `lrsl.Instances` does.
            RuntimeError: `fit` was not called.
        """
        self._ready()
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1")
        view = next((view for view in self._fitted_views if isinstance(view, FittedInstances)), None)
        if view is None:
            raise ValueError("none of the views holds the training rows, as Instances does")
        found, names = view.nearest(texts_of(texts), n), self._classes.called
        return [
            [Neighbour(row, names[label], cosine) for row, label, cosine in zip(*of_text, strict=True)]
            for of_text in zip(*(part.tolist() for part in found), strict=True)
        ]

    @property
    def _classes(self) -> fitting.Classes:
        return fitting.Classes(self.label_texts, self.names)

    def _given(self) -> Given:
        """Return what views learn from when there are no training rows."""
        load = None if self._embedder is None else lambda: self.embedding
        return Given(self.label_texts, load_embedding=load, run=None if self.backend == TORCH else self._computed)

    def _as_handed_in(self) -> Given:
        """Return the same, with the embedder as it was handed in, whatever an earlier `fit` has made of it."""
        handed_in = self._handed_in
        if not self._is_tuned:
            return self._given()
        return replace(
            self._given(),
            load_embedding=lambda: (
                handed_in if isinstance(handed_in, SentenceTransformer) else load_embedding(str(handed_in))
            ),
        )

    def _computed(self, embedding: SentenceTransformer) -> OnnxEmbedding | None:
        """Return what computes an embedding where torch does not."""
        if self.backend != TORCH and (self._onnx is None or self._onnx.embedding is not embedding):
            self._onnx = onnx_embedding(embedding, self.backend, self._saved_graphs)
        return self._onnx

    def _reranked(self, values: Tensor, texts: Sequence[str]) -> Reranked:
        """Return what the rule makes of rows; where it is off, the classifier's answers, with no view asked."""
        fitted = self._ready()
        if self.is_on:
            return fitted.rerank(values, self._scores(texts))
        return Reranked(fitted.detection.is_hard(values), (), values.softmax(dim=-1), values.argmax(dim=-1))

    def _answers(self, values: Tensor, texts: Sequence[str], reranked: Reranked) -> tuple[Tensor, Tensor | None]:
        """Return the answers `(n,)` by what `on_hard` says, and the sets where that asks for some."""
        if self.on_hard == "abstain":
            return values.argmax(dim=-1).masked_fill(reranked.hard, NO_LABEL), None
        if self.on_hard == "set":
            sets = self._sets(values, reranked)
            return sets.int().argmax(dim=-1).where(sets.sum(dim=-1) == 1, NO_LABEL), sets
        if self.defer is None:
            return reranked.labels, None
        labels = deferred(
            self.defer,
            reranked.labels,
            reranked.hard,
            reranked.scores,
            texts=texts,
            names=self.label_texts,
            k=self.k,
        )
        return labels, None

    def _sets(self, values: Tensor, reranked: Reranked) -> Tensor:
        if self._conformal is None:
            raise RuntimeError(
                "this reranker was saved without what sets of labels are made with; fit and save it anew"
            )
        return label_sets(self._conformal, reranked, values, self.coverage, reranks=self.is_on)

    def _scores(self, texts: Sequence[str]) -> list[RowScores]:
        pairs = zip(self.views, self._fitted_views, strict=True)
        return [scores_of_texts(view, fitted, texts, self.k) for view, fitted in pairs]

    def _check(self, logits: Any, texts: Sequence[str]) -> Tensor:
        return self._classes.logits_for(logits, texts)

    def _view_names(self) -> list[str]:
        """Return what each view is called, the second of a kind with a number."""
        kinds = [type(view).__name__ for view in self.views]
        counts = [kinds[:number].count(kind) for number, kind in enumerate(kinds)]
        return [f"{kind} {count + 1}" if count else kind for kind, count in zip(kinds, counts, strict=True)]

    def _at_most(self, k: int | None) -> int:
        most = len(self.label_texts)
        if k is not None and not (hasattr(k, "__index__") and 1 <= k <= most):
            raise ValueError(f"k is {k}; with {most} classes it must be 1 to {most}")
        return self.k if k is None else operator.index(k)

    def _ready(self) -> FittedRule:
        if self._fitted is None:
            raise RuntimeError("the reranker is not fitted; call fit with held-out logits, labels and texts first")
        return self._fitted
