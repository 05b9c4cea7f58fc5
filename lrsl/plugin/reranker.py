"""LRSL as a plug-in: rerank the hard samples of a classifier somebody already has."""

from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import metrics
from lrsl.embedding.apart import check_apart, listed, look_alike
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.embedding.text_embedding import load_embedding, save_embedding, say_what_is_compared
from lrsl.errors import said
from lrsl.paths import is_file
from lrsl.plugin.cut_off import warns_what_is_cut
from lrsl.plugin.folder import checked, sound
from lrsl.reranking.detector import Detector
from lrsl.reranking.detector.margin import Margin
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.fusion.log_linear import LogLinear
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.on_hard import ACTIONS, NO_LABEL
from lrsl.reranking.on_hard.conformal import (
    Conformal,
    calibrated,
    check_coverage,
    check_installed,
    label_sets,
    restored,
)
from lrsl.reranking.on_hard.defer import Defer, deferred
from lrsl.reranking.positional import labels_of, like, logits_of, texts_of
from lrsl.reranking.rule import Detection, FittedRule, Reranked, RowScores, Rule, recorded_scores, scores_of_texts
from lrsl.reranking.saving import described, made_again, under
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis
from lrsl.reranking.verdict import verdict
from lrsl.reranking.view import FittedCandidateView, FittedView, Given, View
from lrsl.reranking.view.instances import Instances
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.reranking.view.lexical import Lexical
from lrsl.strict_json import parsed

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

    The classifier is never touched: all that is needed are its logits `(n, classes)`, or log-probabilities. Logits,
    texts and labels may be lists, tuples, arrays, tensors, Series or frames. They are taken by position, whatever index
    they have. What is returned is a tensor for logits that are a tensor, on the same device, and else a numpy array.
    Texts that are longer than what is read of them are cut off, and each call warns once of how many there were.

    Args:
        embedder: a SentenceTransformer, or the folder or hub id of one or of any encoder.
        label_texts: a readable text per class, in the order of the logits' columns, no two alike. Of two that differ in
            case, width or characters that are not seen alone, a warning tells.
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
        on_hard: what `predict` does with hard rows: `rerank`, as `deploy` says; `abstain`, no answer; `set`, an answer
            only where `predict_set` gives one label; `defer`, the answer of `defer`.
        coverage: the least share of hard rows whose set, by `predict_set`, is to hold the true label.
        defer: answers hard rows with `on_hard="defer"`: a function of a text, its k likeliest label texts, best first,
            and their scores, that returns a label text or None; or an `lrsl.Endpoint`. It is never saved.

    Attributes:
        report_: what `fit` found on the held-out rows: `sigma2_mis`, `hard_fraction`, `n`, the accuracies of
            `origin`, `rerank` and `similarity` on all, hard and easy rows, `embedding_accuracy` per epoch when the
            embedding was fine-tuned, and the `verdict`: what reranking gains on held-out rows it was not fitted on, by
            cross-fitting, whether it pays, and why. The accuracies are of the very rows the rule was fitted on.

    Raises:
        ValueError: label texts that are no strings in an order, one of them twice, fewer than two classes, k, power or
            coverage out of range, no embedder for the default view, or `defer` without `on_hard="defer"` or the other
            way round.
        InputError: the embedder is neither a folder with a model nor reachable, or `on_hard="set"` without crepes.

    Example:
        >>> reranker = Reranker("sentence-transformers/all-MiniLM-L6-v2", ["card arrival", "lost card", ...])
        >>> reranker.fit(val_logits, val_labels, val_texts, train=(train_texts, train_labels, train_logits))
        >>> labels = reranker.predict(logits, texts)
    """

    def __init__(
        self,
        embedder: SentenceTransformer | str | Path | None,
        label_texts: Iterable[str],
        k: int = 3,
        power: float | str = 1.0,
        *,
        detector: Detector | None = None,
        threshold: ThresholdRule | None = None,
        views: Sequence[View] | None = None,
        fusion: Fusion | None = None,
        rule: str = "paper",
        deploy: str | None = None,
        on_hard: str = "rerank",
        coverage: float = 0.9,
        defer: Defer | None = None,
    ) -> None:
        self.label_texts = texts_of(
            label_texts, "label_texts", "a list with a text per class, in the order of the logits"
        )
        if len(self.label_texts) < 2:
            raise ValueError(f"there is {len(self.label_texts)} label text; with fewer than 2 nothing can be reranked")
        for number, text in enumerate(self.label_texts):
            if not text.strip():
                raise ValueError(f"label_texts[{number}] is {text!r}; every class needs a text that says what it means")
        twice = sorted({text for text in self.label_texts if self.label_texts.count(text) > 1})
        if twice:
            raise ValueError(f"label text {twice[0]!r} stands for two classes; every class needs a text of its own")
        if alike := look_alike(self.label_texts):
            warnings.warn(f"label texts that look alike stand for several classes: {listed(alike)}", stacklevel=2)
        if not hasattr(k, "__index__") or not 2 <= k <= len(self.label_texts):
            raise ValueError(f"k is {k}; with {len(self.label_texts)} classes it must be 2 to {len(self.label_texts)}")
        if not isinstance(embedder, SentenceTransformer | str | Path | None):
            raise ValueError(
                f"the embedder is of type {type(embedder).__name__}; give a SentenceTransformer, or the folder or hub "
                "id of one or of an encoder"
            )
        if embedder is None and views is None:
            raise ValueError("there is no embedder; give one, or views that need none")
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}; it must be one of {', '.join(RULES)}")
        if deploy not in (None, *DEPLOY):
            raise ValueError(f"deploy is {deploy!r}; it must be one of {', '.join(DEPLOY)}")
        _check_on_hard(on_hard, coverage, defer)
        papers = rule == "paper"
        self.k = operator.index(k)
        self.power = power
        self.deploy = deploy or ("always" if papers else "auto")
        self.on_hard = on_hard
        self.coverage = coverage
        self.defer = defer
        self.rule = Rule(
            detector or (TopKVariance(self.k) if papers else Margin()),
            threshold or Sigma2Mis(),
            fusion or (Paper(power) if papers else LogLinear()),
        )
        self._from_rows: list[View] = [] if papers or views is not None else [Instances(), Lexical()]
        self.views: list[View] = [LabelSimilarity()] if views is None else list(views)
        self.report_: dict[str, Any] = {}
        self._embedder = embedder
        if isinstance(embedder, SentenceTransformer):
            say_what_is_compared(embedder, "the embedder")
        if views is None:
            self._embedder = self.embedding  # what cannot be loaded is said at once
        self._fitted: FittedRule | None = None
        self._fitted_views: list[FittedView | FittedCandidateView] = []
        self._conformal: Conformal | None = None

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
            recipe: how to fine-tune, by the names of the configuration's `embedding` keys, such as `epochs=2`. With
                `negatives="confused"`, k is the reranker's unless given. With `finetune=False` views alone learn from
                the training rows, and the embedder stays as it is.

        Raises:
            ValueError: logits, labels or texts have no order, differ in length, do not fit the classes or are of
                another kind, the logits are probabilities or one is not finite, or there is no row.
            InputError: a key of the recipe is unknown, has no effect here, or its value is out of range; the embedder
                gives two label texts the same vector, or cannot be fine-tuned.
        """
        given_texts = texts_of(texts)
        values = self._check(logits, given_texts)
        gold = labels_of(labels, len(self.label_texts), self.label_texts)
        if len(gold) != len(values):
            raise ValueError(f"there are {len(gold)} labels for {len(values)} rows of logits")
        if not len(values):
            raise ValueError("there are no held-out rows; the threshold is learnt from some the classifier gets wrong")
        if recipe and (train is None or self._embedder is None):
            missing = "train, the rows to fine-tune the embedding on" if train is None else "an embedder"
            raise ValueError(f"{min(recipe)} has no effect without {missing}")
        how = embedding_settings(k=self.k, **recipe) if _takes_k(recipe) else embedding_settings(**recipe)
        learnt_from = None if train is None else self._training_rows(train)
        finetune = learnt_from is not None and self._embedder is not None and how.finetune
        needs_answers = self.rule.threshold.needs_answers
        detection = None if needs_answers else self.rule.detection(values, gold)  # before anything is trained
        if self._embedder is not None and (finetune or any(_embeds_label_texts(view) for view in self.views)):
            check_apart(self.embedding, self.label_texts)
        report: dict[str, Any] = {"n": len(values), "sigma2_mis": None}
        load = None if self._embedder is None else lambda: self.embedding
        given = Given(self.label_texts, load_embedding=load)
        if learnt_from is not None:
            train_texts, train_gold, _ = learnt_from
            given = replace(given, texts=train_texts, labels=train_gold.tolist())
            self.views += self._from_rows
            self._from_rows = []
            if finetune:
                self._embedder, report["embedding_accuracy"] = finetuned(
                    self.embedding, self.label_texts, learnt_from, (given_texts, gold), how
                )
        self._fitted_views = [view.fit(given) for view in self.views]
        every = torch.arange(len(values))
        scores = [score(every, values).cpu() for score in self._scores(given_texts)]
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
        self._conformal = calibrated(self.rule, values, gold, scores, reranks=self.is_on)
        return self

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
        return like(logits, fitted.detection.is_hard(self._logits(logits)))

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
        if self.on_hard == "set":
            sets = self._sets(values, asked)
            return like(logits, sets.int().argmax(dim=-1).where(sets.sum(dim=-1) == 1, NO_LABEL))
        if self.on_hard == "rerank" and not self.is_on:
            return like(logits, values.argmax(dim=-1))
        reranked = self._reranked(values, asked)
        if self.defer is None:
            return like(logits, reranked.labels)
        labels = deferred(
            self.defer,
            reranked.labels,
            reranked.hard,
            reranked.scores,
            texts=asked,
            names=self.label_texts,
            k=self.k,
        )
        return like(logits, labels)

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
        return like(logits, self._sets(self._check(logits, asked), asked))

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
            on_hard=self.on_hard,
            coverage=self.coverage,
            conformal=self._conformal,
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
    def from_pretrained(cls, folder: str | Path, *, defer: Defer | None = None, allow_server: bool = False) -> Reranker:
        """Load what `save_pretrained` saved; nothing in the folder is executed, and nothing that it names is imported.

        A component of your own is found when its module has been imported before.

        Args:
            folder: where it was saved.
            defer: who answers hard rows, which is not saved; needed where it was saved with `on_hard="defer"`.
            allow_server: whether hard texts may be sent to the server that a saved view names, such as
                `lrsl.LLMChoice`, with the key that it names; a folder from a stranger could name any.

        Raises:
            ValueError: there is no reranker in the folder, it is damaged or of a later version, a component is not
                imported, `defer` is missing or has no effect, or a view sends texts to a server without being allowed.
        """
        folder = Path(folder)
        path = folder / CONFIG
        if not is_file(path):
            raise ValueError(f"{folder} holds no reranker: {CONFIG} is missing; save one with save_pretrained")
        try:
            saved: Any = parsed(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            saved = None
        version = saved.get("format", 0) if isinstance(saved, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 0:
            raise ValueError(f"{path} is damaged; fit and save the reranker anew")
        if version > FORMAT:
            raise ValueError(
                f"{path} has format {version}, and this version of lrsl reads up to {FORMAT}; install a later one"
            )
        try:
            return cls._restored(folder, checked(saved if version else _of_format_0(saved), path), defer, allow_server)
        except KeyError as error:
            raise ValueError(f"{path} lacks {error.args[0]}; fit and save the reranker anew") from None

    @classmethod
    def _restored(cls, folder: Path, saved: Mapping[str, Any], defer: Defer | None, allow_server: bool) -> Reranker:
        embedding = folder / EMBEDDING
        on_hard = saved.get("on_hard", {})
        if on_hard.get("action") == "defer" and defer is None:
            raise ValueError(
                f"{folder} was saved with on_hard='defer', and a function is never saved; give it again, as in "
                "from_pretrained(folder, defer=ask)"
            )
        rule = saved["rule"]
        detector, threshold = made_again(rule["detector"], Detector), made_again(rule["threshold"], ThresholdRule)
        views, fusion = [made_again(view, View) for view in rule["views"]], made_again(rule["fusion"], Fusion)
        for view in views:
            if (server := view.sends_to()) and not allow_server:
                raise ValueError(
                    f"{folder} sends hard texts to {said(server)} (view {type(view).__name__}); if you trust that "
                    "server with them, say so with from_pretrained(folder, allow_server=True)"
                )
        reranker = cls(
            embedding if embedding.is_dir() else None,
            saved["label_texts"],
            k=saved["k"],
            detector=detector,
            threshold=threshold,
            views=views,
            fusion=fusion,
            deploy=saved.get("deploy", "always"),
            on_hard=on_hard.get("action", "rerank"),
            coverage=on_hard.get("coverage", 0.9),
            defer=defer,
        )
        with sound(folder):
            reranker._take_back(folder, saved)
        return reranker

    def _take_back(self, folder: Path, saved: Mapping[str, Any]) -> None:
        """Take back what was learnt and saved in a folder."""
        fusion = self.rule.fusion
        self.power = fusion.power if isinstance(fusion, Paper) else 1.0
        tensors = load_file(folder / LEARNT) if (folder / LEARNT).is_file() else {}
        load = None if self._embedder is None else lambda: self.embedding
        given = Given(self.label_texts, load_embedding=load)
        detector = self.rule.detector.restore(under("detector", tensors))
        self._fitted = FittedRule(
            Detection(detector, float(saved["sigma2_mis"])), fusion.restore(under("fusion", tensors))
        )
        self._fitted_views = [
            view.restore(learnt, given) if (learnt := under(f"view.{number}", tensors)) else view.fit(given)
            for number, view in enumerate(self.views)
        ]
        if conformal := under("conformal", tensors):
            self._conformal = restored(conformal)
        self.report_ = dict(saved["report"])

    def _reranked(self, values: Tensor, texts: Sequence[str]) -> Reranked:
        """Return what the rule makes of rows; where it is off, the classifier's answers, with no view asked."""
        fitted = self._ready()
        if self.is_on:
            return fitted.rerank(values, self._scores(texts))
        return Reranked(fitted.detection.is_hard(values), (), values.softmax(dim=-1), values.argmax(dim=-1))

    def _sets(self, values: Tensor, texts: Sequence[str]) -> Tensor:
        if self._conformal is None:
            raise RuntimeError(
                "this reranker was saved without what sets of labels are made with; fit and save it anew"
            )
        reranked = self._reranked(values, texts)
        return label_sets(self._conformal, reranked, values, self.coverage, reranks=self.is_on)

    def _scores(self, texts: Sequence[str]) -> list[RowScores]:
        pairs = zip(self.views, self._fitted_views, strict=True)
        return [scores_of_texts(view, fitted, texts, self.k) for view, fitted in pairs]

    def _training_rows(self, train: Any) -> tuple[list[str], Tensor, Tensor | None]:
        """Return texts, labels and, where they are given, logits of the training rows."""
        if not isinstance(train, tuple | list) or len(train) != 3:
            parts = f"of length {len(train)}" if isinstance(train, tuple | list) else f"of type {type(train).__name__}"
            raise ValueError(f"train is {parts}; give (texts, labels, logits), of which the logits may be None")
        texts = texts_of(train[0], "train texts")
        gold = labels_of(train[1], len(self.label_texts), self.label_texts, "train labels")
        if len(texts) != len(gold):
            raise ValueError(f"train has {len(texts)} texts and {len(gold)} labels")
        if not texts:
            raise ValueError("train has no rows; leave it out to take the embedder as it is")
        return texts, gold, None if train[2] is None else self._check(train[2], texts, "train ")

    def _check(self, logits: Any, texts: Sequence[str], of: str = "") -> Tensor:
        values = self._logits(logits, of)
        if len(texts) != len(values):
            raise ValueError(f"there are {len(texts)} {of}texts for {len(values)} rows of {of}logits")
        return values

    def _logits(self, logits: Any, of: str = "") -> Tensor:
        return logits_of(logits, len(self.label_texts), f"{of}logits", self.label_texts)

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
    on_hard: str = "rerank",
    coverage: float = 0.9,
    conformal: Conformal | None = None,
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
        "on_hard": {"action": on_hard, "coverage": coverage},
    }
    parts = {"detector": fitted.detection.detector.learnt(), "fusion": fitted.fusion.learnt()}
    parts |= {f"view.{number}": learnt for number, learnt in enumerate(learnt_by_views)}
    parts["conformal"] = {} if conformal is None else conformal.learnt()
    tensors = {f"{part}.{name}": tensor for part, learnt in parts.items() for name, tensor in learnt.items()}
    # views may share tensors, which safetensors does not write
    return about, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _check_on_hard(on_hard: str, coverage: float, defer: Defer | None) -> None:
    if on_hard not in ACTIONS:
        raise ValueError(f"on_hard is {on_hard!r}; it must be one of {', '.join(ACTIONS)}")
    check_coverage(coverage)
    if on_hard == "defer" and not callable(defer):
        raise ValueError("on_hard is 'defer', and there is nobody to ask; give defer, a function or an lrsl.Endpoint")
    if on_hard != "defer" and defer is not None:
        raise ValueError(f"defer has no effect with on_hard={on_hard!r}; leave it out, or set on_hard='defer'")
    if on_hard == "set":
        check_installed()


def _of_format_0(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 0.1 saved, which had the paper's rule only, as this version would have written it."""
    rule = {
        "detector": {"kind": "lrsl.TopKVariance", "settings": {"k": saved["k"]}},
        "threshold": {"kind": "lrsl.Sigma2Mis", "settings": {}},
        "views": [{"kind": "lrsl.LabelSimilarity", "settings": {}}],
        "fusion": {"kind": "lrsl.Paper", "settings": {"power": saved["power"]}},
    }
    return {**saved, "rule": rule}


def _takes_k(recipe: Mapping[str, Any]) -> bool:
    return "k" not in recipe and recipe.get("negatives") == "confused"


def _embeds_label_texts(view: View) -> bool:
    return bool(getattr(view, "embeds_label_texts", False))
