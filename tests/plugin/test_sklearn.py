"""A scikit-learn estimator and its reranker as one: the laws of estimators, and answers that are those of the parts."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import check_estimator, check_estimator_cloneable
from sklearn.utils.validation import check_is_fitted, validate_data
from tiny import LABELS, samples

from lrsl import ClassMean, Instances, LabelSimilarity, Lexical, LogLinear, RerankedClassifier, TopKVariance
from lrsl.plugin import fitting
from lrsl.plugin.sklearn import logits_of_estimator
from lrsl.reranking.rule import scores_of_texts
from lrsl.reranking.view import Given

NAMES = np.array([f"a_{label}" for label in LABELS])
TEXTS, NUMBERS = samples(160, 1)
TEXTS = np.array(TEXTS, dtype=object)
Y = NAMES[NUMBERS]
NEW = samples(60, 2)


def tfidf(classifier=None):
    return make_pipeline(TfidfVectorizer(max_features=12), classifier or LogisticRegression())


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    return RerankedClassifier(tfidf(), str(tiny_bert), deploy="always").fit(TEXTS, Y)


def test_it_learns_out_of_fold_and_answers_with_all_rows(fitted):
    logits = np.empty((160, 4))
    for others, rows in StratifiedKFold(5, shuffle=True, random_state=0).split(TEXTS, NUMBERS):
        logits[rows] = tfidf().fit(TEXTS[others], Y[others]).decision_function(TEXTS[rows])
    origin = fitted.reranker_.report_["cross_fitted"]["origin"]["accuracy"]
    assert origin == pytest.approx((logits.argmax(1) == NUMBERS).mean())
    assert fitted.reranker_.report_["n"] == 160
    whole = tfidf().fit(TEXTS, Y)
    values = whole.decision_function(NEW[0])
    assert np.array_equal(fitted.predict(NEW[0]), NAMES[fitted.reranker_.predict(values, NEW[0])])
    found = fitted.predict_proba(NEW[0])
    np.testing.assert_allclose(found, fitted.reranker_.predict_proba(values, NEW[0]))
    assert np.array_equal(fitted.classes_[found.argmax(1)], fitted.predict(NEW[0]))
    assert np.array_equal(fitted.decision_function(NEW[0]).argmax(1), found.argmax(1))
    truth = NAMES[NEW[1]]
    assert fitted.score(NEW[0], truth) > whole.score(NEW[0], truth)
    assert fitted.reranker_.label_texts == [f"a {label}" for label in LABELS]
    assert fitted.predict([]).shape == (0,)


class Rote(LogisticRegression):
    """Has learnt texts by heart, and is not asked for one of them while it learns."""

    def fit(self, X, y):  # noqa: N803
        self.known = {text.casefold() for text in X}
        return super().fit(np.array([[len(text)] for text in X]), y)

    def decision_function(self, X):  # noqa: N803
        assert not {text.casefold() for text in X} & self.known
        return super().decision_function(np.array([[len(text)] for text in X]))


def test_no_fold_has_seen_a_text_that_it_is_asked_for():
    texts = np.concatenate([TEXTS, [text.upper() for text in TEXTS[:50]]])
    RerankedClassifier(Rote(), None, views=[Lexical()]).fit(texts, np.concatenate([Y, Y[:50]]))


def test_all_rows_of_one_of_two_classes_may_have_one_text():
    texts = ["ok thanks" if number else text for text, number in zip(TEXTS, NUMBERS, strict=True)]
    classes = np.where(NUMBERS, "none", "some")
    found = RerankedClassifier(tfidf(), None, views=[Lexical()]).fit(texts, classes)
    assert found.predict(["ok thanks"]).tolist() == ["none"]


@pytest.mark.parametrize("view", [Lexical(), Instances(), LabelSimilarity(), ClassMean()])
def test_views_score_rows_as_if_they_had_not_learnt_from_them(view, tiny_bert):
    from lrsl.embedding.text_embedding import load_embedding

    embedding, texts = load_embedding(str(tiny_bert)), [f"{text} {row}" for row, text in enumerate(TEXTS[:40])]
    given = Given(LABELS, texts=texts, labels=NUMBERS[:40], load_embedding=lambda: embedding)
    logits = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    fitted = view.fit(given)
    found = fitting.scores_out_of_fold(view, fitted, given, logits, 3)
    seen = scores_of_texts(view, fitted, texts, 3)(torch.arange(40), logits)
    own = torch.arange(40), torch.tensor(NUMBERS[:40])
    assert found.shape == (40, 4)
    assert found.isfinite().all()
    if isinstance(view, LabelSimilarity):
        torch.testing.assert_close(found, seen, rtol=0, atol=1e-5)
    else:  # a row is likelier to have its label for those who know it
        assert seen[own].mean() > found[own].mean() + 0.01


@pytest.mark.parametrize(
    "classifier",
    [LinearSVC(), SVC(), MultinomialNB(), KNeighborsClassifier(), OneVsRestClassifier(LogisticRegression())],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("classes", [2, 4])
def test_any_classifier_will_do(classifier, classes):
    kept = np.array(NUMBERS) < classes
    reranked = RerankedClassifier(tfidf(classifier), views=[Lexical()], cv=3).fit(TEXTS[kept], Y[kept])
    values = logits_of_estimator(reranked.estimator_, NEW[0])
    assert values.shape == (60, classes)
    assert np.isfinite(values).all()
    assert np.array_equal(reranked.estimator_.classes_[values.argmax(1)], reranked.estimator_.predict(NEW[0]))
    if hasattr(classifier, "predict_proba") and not hasattr(reranked.estimator_, "decision_function"):
        expected = reranked.estimator_.predict_proba(NEW[0])
        np.testing.assert_allclose(np.exp(values), np.maximum(expected, 1e-12), rtol=1e-6)
    assert reranked.decision_function(NEW[0]).shape == ((60,) if classes == 2 else (60, 4))
    if classes == 2:
        assert np.array_equal(reranked.decision_function(NEW[0]) > 0, reranked.predict(NEW[0]) == NAMES[1])


def test_one_against_one_is_refused():
    with pytest.raises(ValueError, match="has 6 columns for 4 classes; give decision_function_shape='ovr'"):
        RerankedClassifier(tfidf(SVC(decision_function_shape="ovo")), views=[Lexical()]).fit(TEXTS, Y)
    with pytest.raises(ValueError, match="has neither decision_function nor predict_proba"):
        logits_of_estimator(type("Bare", (), {"classes_": NAMES})(), TEXTS)


def test_it_is_searched_and_cross_validated_and_stands_in_a_pipeline():
    lower = FunctionTransformer(lambda texts: np.array([text.lower() for text in texts], dtype=object))
    reranked = RerankedClassifier(tfidf(), views=[Lexical()], detector=TopKVariance(), fusion=LogLinear(), cv=2)
    whole = make_pipeline(lower, reranked)
    accuracies = cross_val_score(whole, TEXTS, Y, cv=2)
    assert accuracies.min() > 0.5
    name = "rerankedclassifier"
    grid = {
        f"{name}__fusion__penalty": [0.0, 1000.0],
        f"{name}__views__0__strength": [0.5],
        f"{name}__detector__k": [2],
        f"{name}__estimator__logisticregression__C": [2.0],
    }
    search = GridSearchCV(whole, grid, cv=2).fit(pd.Series(TEXTS), pd.Series(Y))
    best = search.best_estimator_[-1]
    assert best.fusion.penalty in (0.0, 1000.0)
    assert (best.views[0].strength, best.detector.k) == (0.5, 2)
    assert best.estimator_[-1].C == 2.0
    weights = {
        penalty: clone(best).set_params(fusion__penalty=penalty).fit(TEXTS, Y).reranker_._fitted.fusion.beta.item()
        for penalty in (0.0, 1000.0)
    }
    assert weights[1000.0] == 0 < weights[0.0]  # it has reached the fusion
    assert reranked.views[0].strength == 10.0  # and no one else's


def test_a_backend_reaches_the_reranker(tiny_bert):
    pytest.importorskip("onnxruntime")
    small = RerankedClassifier(tfidf(), str(tiny_bert), cv=2)
    torchs, onnxs = (clone(small).set_params(backend=backend).fit(TEXTS, Y) for backend in ("torch", "onnx"))
    assert (torchs.reranker_.backend, clone(onnxs).backend) == ("torch", "onnx")
    np.testing.assert_allclose(onnxs.predict_proba(TEXTS), torchs.predict_proba(TEXTS), atol=1e-3)


def test_parameters_are_got_set_and_cloned():
    reranked = RerankedClassifier(tfidf(), views=[Lexical(), Instances()], fusion=LogLinear())
    found = reranked.get_params()
    assert found["views__1__neighbours"] == 10
    assert found["fusion__rows"] == "hard"
    assert found["estimator__logisticregression__C"] == 1.0
    reranked.set_params(views__1__neighbours=3, views__0=LabelSimilarity(), fusion__rows="all", fusion__hard_weight=2.0)
    assert reranked.views == [LabelSimilarity(), Instances(neighbours=3)]
    assert (reranked.fusion.rows, reranked.fusion.hard_weight) == ("all", 2.0)
    assert clone(reranked).get_params(deep=False)["views"] == reranked.views
    reranked.set_params(fusion=LogLinear(), fusion__penalty=2.0)
    assert reranked.fusion == LogLinear(penalty=2.0)
    for change, message in (
        ({"fusion__penalti": 1}, "fusion has no setting 'penalti'; it has rows, hard_weight, penalty; did you mean"),
        ({"detector__k": 2}, "detector__k has no effect without detector"),
        ({"views__2__strength": 1}, "views__2__strength is no parameter; there are 2 views"),
        ({"fusion__penalty": -1}, "penalty is -1; it must be at least 0"),
        ({"nothing": 1}, "Invalid parameter 'nothing'"),
    ):
        with pytest.raises(ValueError, match=message):
            reranked.set_params(**change)


def test_a_class_of_one_row_is_lacking_in_a_fold():
    texts, y = np.append(TEXTS, "a loan for a car"), np.append(Y, "b_car")
    reranked = RerankedClassifier(
        tfidf(), views=[Lexical()], label_texts={name: name[2:] for name in [*NAMES, "b_car"]}
    )
    reranked.fit(texts, y)
    assert reranked.classes_.tolist() == [*NAMES, "b_car"]
    assert reranked.reranker_.label_texts[-1] == "car"
    assert reranked.predict_proba(NEW[0]).shape == (60, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": Y[:-1]}, "X has 160 texts and y 159 classes"),
        ({"y": np.repeat("a", 160)}, "y has 1 class, "),
        ({"X": TEXTS[:20], "y": np.arange(20)}, "every class has 1 row; out-of-fold logits take two or more"),
        ({"y": np.linspace(0, 1, 160)}, "Unknown label type"),
        ({"X": [], "y": []}, "X has no texts"),
        ({"y": [float("nan"), *Y[1:].tolist()]}, r"y\[0\] is nan; every text needs a class"),
        ({"y": [*Y[:-1].tolist(), None]}, r"y\[159\] is None; every text needs a class"),
        ({"cv": 1}, "cv is 1; it must be a number of folds, at least 2"),
        ({"label_texts": {"a_card": "card"}}, "label_texts have none for the class 'a_cash'"),
        ({"label_texts": ["card"]}, "there are 1 label_texts for 4 classes"),
        ({"views": None}, "there is no embedder; give one, or views that need none"),
        ({"X": "a text"}, "X are a single string"),
        ({"X": TEXTS[:, None]}, r"X are of shape \(160, 1\)"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    given = {"X": TEXTS, "y": Y} | {name: change[name] for name in ("X", "y") if name in change}
    settings = {"views": [Lexical()]} | {name: value for name, value in change.items() if name not in given}
    with pytest.raises(ValueError, match=message):
        RerankedClassifier(tfidf(), **settings).fit(**given)


def test_a_fitted_one_is_pickled(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(NEW[0]), fitted.predict_proba(NEW[0]))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(NEW[0])


def written(rows):
    return [" ".join(f"{value!r}" for value in row) for row in np.asarray(rows, dtype=np.float64).tolist()]


def read(texts):
    return np.array([[float(value) for value in text.split()] for text in texts])


class OnNumbers(RerankedClassifier):
    """The same, for scikit-learn's own checks, which know matrices alone: rows become texts, and texts rows again."""

    def fit(self, X, y):  # noqa: N803
        rows, y = validate_data(self, X, y)
        return super().fit(written(rows), y)

    def _read(self, rows):
        check_is_fitted(self)
        return written(validate_data(self, rows, reset=False))

    def predict(self, X):  # noqa: N803
        return super().predict(self._read(X))

    def predict_proba(self, X):  # noqa: N803
        return super().predict_proba(self._read(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def checks():
    estimator = OnNumbers(make_pipeline(FunctionTransformer(read), LogisticRegression()), views=[Lexical()], cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check_estimator(estimator, on_skip=None, on_fail=None)


def test_scikit_learns_checks_pass():
    found = checks()
    failed = {one["check_name"]: repr(one["exception"])[:300] for one in found if one["status"] == "failed"}
    assert not failed
    assert sum(one["status"] == "passed" for one in found) > 45


def test_a_text_estimator_says_that_it_takes_texts():
    reranked = RerankedClassifier(tfidf(), views=[Lexical()])
    check_estimator_cloneable("RerankedClassifier", reranked)
    tags = reranked.__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.two_d_array) == (True, False)
    assert tags.estimator_type == "classifier"
    assert "views=[Lexical" in repr(reranked)


def test_classes_may_be_written_as_numbers():
    texts = [f"{word} {n % 3}" for word in "abcdefghijk" for n in range(6)]
    labels = [str(n // 6) for n in range(66)]  # "10" comes before "2"
    bare = make_pipeline(TfidfVectorizer(token_pattern=r"\w"), LogisticRegression(C=10))
    found = RerankedClassifier(bare, None, label_texts=[f"letter {n}" for n in range(11)], views=[Lexical()], cv=3)
    assert (found.fit(texts, labels).predict(texts) == labels).mean() > 0.9
    named = RerankedClassifier(bare, None, views=[Lexical()], cv=3).fit(
        texts, labels
    )  # the label texts are numbers, too
    assert named.reranker_.label_texts[2] == "10"


def test_one_text_of_two_classes_is_answered_whatever_its_score():
    texts, labels = ["good", "fine", "bad", "poor"] * 5, [0, 0, 1, 1] * 5
    svm = make_pipeline(TfidfVectorizer(), SVC(kernel="linear", tol=1e-6))
    reranked = RerankedClassifier(svm, None, label_texts=["good", "bad"], views=[Lexical()]).fit(texts, labels)
    assert [int(reranked.predict([text])[0]) for text in texts[:4]] == labels[:4]


def test_a_fold_without_which_one_class_is_left_is_refused():
    bare = make_pipeline(TfidfVectorizer(), LogisticRegression())
    with pytest.raises(ValueError, match="without the rows of a fold y has 'b' alone; give more rows of other classes"):
        RerankedClassifier(bare, None, views=[Lexical()]).fit(["x", *"yzuvwrst"], ["a", *"bbbbbbbb"])
