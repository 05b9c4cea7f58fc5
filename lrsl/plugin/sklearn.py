"""A classifier of scikit-learn's and its reranker, as one estimator on texts."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from lrsl.embedding.text_embedding import load_embedding
from lrsl.errors import nearest
from lrsl.nn.onnx import TORCH
from lrsl.plugin.reranker import Reranker
from lrsl.reranking.detector import Detector
from lrsl.reranking.folds import first_alike, together
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.positional import FLOOR, texts_of
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.view import View

Array = NDArray[Any]

COMPONENTS = ("detector", "threshold", "fusion")
VIEWS = "views"


class RerankedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts whose hard rows are reranked; it needs no split of its own.

    `fit` trains clones of the estimator on all rows but a fold, in turns, so that every row gets logits from one that
    has not seen it; from these the reranker learns. Then the estimator is trained on all rows. Hard rows are reranked
    where these rows say, by cross-fitting, that it pays.

    The parameters of the estimator are reached as `estimator__C`, those of the components as `fusion__penalty`,
    `detector__k` or `views__0__neighbours`, where these are given.

    Args:
        estimator: a classifier of texts with `decision_function`, `predict_log_proba` or `predict_proba`, the first of
            these that it has being asked; such as a pipeline that begins with `TfidfVectorizer`.
        embedding: as for `Reranker`: a folder or a hub id, which is loaded once per process, or a SentenceTransformer,
            which clones copy. It is taken as it is.
        label_texts: what the classes mean: a mapping from classes, or a list in the order of `classes_`; the classes
            themselves, with spaces for underscores, unless given.
        rule: as for `Reranker`.
        detector: as for `Reranker`.
        threshold: as for `Reranker`.
        views: as for `Reranker`.
        fusion: as for `Reranker`.
        k: as for `Reranker`; all classes where there are fewer.
        power: as for `Reranker`.
        deploy: as for `Reranker`.
        backend: as for `Reranker`.
        cv: number of folds, at least 2.

    Attributes:
        classes_: the classes, sorted.
        estimator_: the estimator, trained on all rows.
        reranker_: the reranker, with `report_` and `cost_`.

    Example:
        >>> tfidf = make_pipeline(TfidfVectorizer(), LogisticRegression())
        >>> RerankedClassifier(tfidf, "sentence-transformers/all-MiniLM-L6-v2").fit(texts, labels).predict(new)
    """

    def __init__(
        self,
        estimator: Any,
        embedding: SentenceTransformer | str | Path | None = None,
        *,
        label_texts: Mapping[Any, str] | Iterable[str] | None = None,
        rule: str = "fitted",
        detector: Detector | None = None,
        threshold: ThresholdRule | None = None,
        views: list[View] | None = None,
        fusion: Fusion | None = None,
        k: int = 3,
        power: float | str = 1.0,
        deploy: str | None = None,
        cv: int = 5,
        backend: str = TORCH,
    ) -> None:
        self.estimator = estimator
        self.embedding = embedding
        self.label_texts = label_texts
        self.rule = rule
        self.detector = detector
        self.threshold = threshold
        self.views = views
        self.fusion = fusion
        self.k = k
        self.power = power
        self.deploy = deploy
        self.cv = cv
        self.backend = backend

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> RerankedClassifier:  # noqa: N803  (scikit-learn's name)
        """Train the estimator, and fit the reranker out of fold.

        Args:
            X: texts.
            y: their classes.

        Raises:
            ValueError: there are fewer than two classes, of each fewer rows than two, or of all but one; texts and
                classes differ in number, or the estimator gives no scores of each class; and as for
                `Reranker.fit_out_of_fold`.
        """
        texts, labels = texts_of(X, "X"), _labels(y)
        if len(texts) != len(labels):
            raise ValueError(f"X has {len(texts)} texts and y {len(labels)} classes")
        if not texts:
            raise ValueError("X has no texts; a classifier learns from some of two classes or more")
        self.classes_, gold = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class, {self.classes_[0]!r}; a classifier needs two or more")
        if not isinstance(self.cv, int) or self.cv < 2:
            raise ValueError(f"cv is {self.cv!r}; it must be a number of folds, at least 2")
        embedding, names = self.embedding, [str(name) for name in self.classes_]
        if isinstance(embedding, str | Path):
            embedding = _loaded(str(embedding))
        reranker = Reranker(
            embedding,
            self._texts_of_classes(),
            k=min(self.k, len(self.classes_)),
            power=self.power,
            detector=self.detector,
            threshold=self.threshold,
            views=self.views,
            fusion=self.fusion,
            rule=self.rule,
            deploy=self.deploy,
            backend=self.backend,
            names=names,
        )
        logits = self._out_of_fold(np.asarray(texts, dtype=object), labels, gold)
        self.reranker_ = reranker.fit_out_of_fold(logits, [names[label] for label in gold], texts, columns="trusted")
        self.estimator_ = clone(self.estimator).fit(np.asarray(texts, dtype=object), labels)
        return self

    def predict(self, X: Iterable[str]) -> Array:  # noqa: N803
        """Return the class of each text, `(n,)`."""
        check_is_fitted(self)
        texts = texts_of(X, "X")
        return self.classes_[self.reranker_.predict(self._logits(texts), texts)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Iterable[str]) -> Array:  # noqa: N803
        """Return calibrated probabilities `(n, classes)`, the columns as in `classes_`."""
        check_is_fitted(self)
        texts = texts_of(X, "X")
        return self.reranker_.predict_proba(self._logits(texts), texts)

    def predict_log_proba(self, X: Iterable[str]) -> Array:  # noqa: N803
        """Return the logarithm of `predict_proba`, `(n, classes)`."""
        return np.log(np.maximum(self.predict_proba(X), FLOOR))

    def decision_function(self, X: Iterable[str]) -> Array:  # noqa: N803
        """Return log-probabilities `(n, classes)`; of two classes the log-odds of the second, `(n,)`."""
        found = self.predict_log_proba(X)
        return found[:, 1] - found[:, 0] if len(self.classes_) == 2 else found

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep` those of the estimator and of the components that are given, too."""
        found: dict[str, Any] = super().get_params(deep)
        if deep:
            parts = {name: getattr(self, name) for name in COMPONENTS}
            views = {f"{VIEWS}__{n}": view for n, view in enumerate(self.views)} if isinstance(self.views, list) else {}
            for name, part in (parts | views).items():
                if callable(settings := getattr(part, "settings", None)):  # what is none says so in fit
                    found |= {f"{name}__{key}": value for key, value in settings().items()}
            found |= views
        return found

    def set_params(self, **params: Any) -> RerankedClassifier:
        """Set parameters, those of the estimator and of the components among them.

        Raises:
            ValueError: one is unknown, or its component is not given.
        """
        inner = {key: params.pop(key) for key in list(params) if key.partition("__")[0] in (*COMPONENTS, VIEWS)}
        super().set_params(**params, **{key: inner.pop(key) for key in list(inner) if "__" not in key})
        for key in sorted(inner, key=lambda key: key.count("__")):  # a view before its settings
            name, _, rest = key.partition("__")
            if name == VIEWS:
                self._set_view(rest, inner[key])
            else:
                setattr(self, name, _changed(name, getattr(self, name), rest, inner[key]))
        return self

    def _set_view(self, rest: str, value: Any) -> None:
        number, _, setting = rest.partition("__")
        views = list(self.views or ())
        if not number.isdecimal() or int(number) >= len(views):
            raise ValueError(f"views__{rest} is no parameter; there are {len(views)} views, numbered from 0")
        at = int(number)
        views[at] = _changed(f"views__{number}", views[at], setting, value) if setting else value
        self.views = views

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn may know: texts go in."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags

    def _out_of_fold(self, texts: Array, labels: Array, gold: Array) -> Array:
        """Return logits `(n, classes)` of each row, from a clone trained on rows of other texts."""
        least = int(np.bincount(gold).max())
        if least < 2:
            raise ValueError("every class has 1 row; out-of-fold logits take two or more of some class")
        logits = np.empty((len(texts), len(self.classes_)))
        splits = StratifiedKFold(min(self.cv, least), shuffle=True, random_state=0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # a class that a fold lacks will do
            dealt = torch.empty(len(texts), dtype=torch.int64)
            for fold, (_, rows) in enumerate(splits.split(texts, gold)):
                dealt[torch.from_numpy(rows)] = fold
        dealt = together(dealt, first_alike(texts.tolist()), torch.from_numpy(gold))
        for fold in dealt.unique():
            others, rows = (part.nonzero().flatten().numpy() for part in (dealt != fold, dealt == fold))
            if len(left := np.unique(labels[others])) < 2:
                raise ValueError(
                    f"without the rows of a fold y has {str(left[0])!r} alone; give more rows of other classes"
                )
            trained = clone(self.estimator).fit(texts[others], labels[others])
            logits[rows] = _aligned(logits_of_estimator(trained, texts[rows]), trained.classes_, self.classes_)
        return logits

    def _logits(self, texts: list[str]) -> Array:
        if not texts:
            return np.zeros((0, len(self.classes_)))
        return logits_of_estimator(self.estimator_, np.asarray(texts, dtype=object))

    def _texts_of_classes(self) -> list[str]:
        given = self.label_texts
        if isinstance(given, Mapping):
            missing = [name for name in self.classes_.tolist() if name not in given]
            if missing:
                raise ValueError(f"label_texts have none for the class {missing[0]!r}")
            return [given[name] for name in self.classes_.tolist()]
        if given is not None:
            found = list(given)
            if len(found) != len(self.classes_):
                raise ValueError(f"there are {len(found)} label_texts for {len(self.classes_)} classes")
            return found
        return [" ".join(str(name).replace("_", " ").split()) or str(name) for name in self.classes_]


def logits_of_estimator(estimator: Any, texts: Any) -> Array:
    """Return logits or log-probabilities `(n, classes)` of a fitted estimator, by the first method of three it has.

    `decision_function`, whose one column for two classes becomes two; `predict_log_proba`; the logarithm of
    `predict_proba`. No probability is taken to be below 1e-12.

    Raises:
        ValueError: it has none of these, or gives more or fewer columns than classes.
    """
    classes = len(estimator.classes_)
    if hasattr(estimator, "decision_function"):
        scores = np.asarray(estimator.decision_function(texts), dtype=np.float64)
        if scores.ndim == 1:
            scores = np.stack([-scores / 2, scores / 2], axis=1)  # 0 and 1 would look like probabilities
        if scores.shape[1] != classes:
            raise ValueError(
                f"decision_function of {type(estimator).__name__} has {scores.shape[1]} columns for {classes} classes; "
                "give decision_function_shape='ovr', or an estimator with predict_proba"
            )
        return scores
    if hasattr(estimator, "predict_log_proba"):
        with np.errstate(divide="ignore"):
            found = np.asarray(estimator.predict_log_proba(texts), dtype=np.float64)
        return np.maximum(found, np.log(FLOOR))
    if hasattr(estimator, "predict_proba"):
        found = np.asarray(estimator.predict_proba(texts), dtype=np.float64)
        return np.log(np.maximum(found, FLOOR))
    raise ValueError(
        f"{type(estimator).__name__} has neither decision_function nor predict_proba; give a classifier with one"
    )


@functools.lru_cache(maxsize=2)
def _loaded(name: str) -> SentenceTransformer:
    """Return an embedding, which folds and searches share."""
    return load_embedding(name)


def _labels(y: Any) -> Array:
    if y is None:
        raise ValueError("RerankedClassifier requires y to be passed, but the target y is None")
    given = y.to_numpy() if hasattr(y, "to_numpy") else y
    for row, label in enumerate(np.asarray(given, dtype=object).ravel()):
        if label is None or (isinstance(label, numbers.Real) and math.isnan(label)):
            raise ValueError(f"y[{row}] is {label}; every text needs a class")
    labels = np.asarray(given)
    check_classification_targets(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.ravel()
    if labels.ndim != 1 or type_of_target(labels) not in ("binary", "multiclass"):
        raise ValueError(f"y has shape {labels.shape}; it must be (n,), a class per text")
    return labels


def _aligned(logits: Array, known: Array, classes: Array) -> Array:
    """Return logits with a column for each class; one that a fold lacks has the smallest logit of the row."""
    if len(known) == len(classes):
        return logits
    found = np.repeat(logits.min(axis=1, keepdims=True), len(classes), axis=1)
    found[:, np.searchsorted(classes, known)] = logits
    return found


def _changed(name: str, component: Any, setting: str, value: Any) -> Any:
    """Return a component with another setting."""
    if component is None:
        raise ValueError(f"{name}__{setting} has no effect without {name}; give one whose setting it is")
    settings = component.settings()
    known = list(inspect.signature(type(component)).parameters)
    if setting not in known:
        raise ValueError(f"{name} has no setting {setting!r}; it has {', '.join(known)}{nearest(setting, known)}")
    return type(component)(**{**settings, setting: value})
