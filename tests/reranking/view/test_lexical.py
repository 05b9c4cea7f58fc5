import csv
import os
from pathlib import Path

import pytest
import torch
from tiny import LABELS, samples

from lrsl.reranking.view import Given
from lrsl.reranking.view.lexical import Lexical
from lrsl.reranking.view.regression import FOLDS

TEXTS, GOLD = samples(120, seed=3)
UNSEEN, ANSWERS = samples(60, seed=4)
CHINESE = ["我想办理信用卡", "信用卡丢失了", "贷款利率是多少", "申请住房贷款", "办信用卡要什么", "贷款怎么还"] * 3
CHINESE_LABELS = [0, 0, 1, 1, 0, 1] * 3


@pytest.fixture(scope="module")
def fitted():
    return Lexical().fit(Given(LABELS, TEXTS, GOLD))


def accuracy(scores, labels):
    return (scores.argmax(-1) == torch.tensor(labels)).double().mean().item()


def test_it_learns_the_words_of_the_labels(fitted):
    scores = fitted(UNSEEN)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(60))
    assert accuracy(scores, ANSWERS) > 0.75  # a tenth of the labels is wrong
    assert fitted([]).shape == (0, 4)


def test_what_is_scikit_learns_regression_stays_it(fitted):
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\b\w+\b", sublinear_tf=True)
    characters = TfidfVectorizer(ngram_range=(2, 5), analyzer="char_wb", sublinear_tf=True)
    counted = hstack([words.fit_transform(TEXTS), characters.fit_transform(TEXTS)]).tocsr()
    regression = LogisticRegression(C=10, solver="saga", tol=0.03, max_iter=100, random_state=0)
    regression.fit(counted, np.array(GOLD))
    asked = hstack([words.transform(UNSEEN), characters.transform(UNSEEN)]).tocsr()
    expected = torch.from_numpy(regression.predict_log_proba(asked)).float()
    torch.testing.assert_close(fitted(UNSEEN), expected, rtol=1e-3, atol=1e-3)


def test_the_same_rows_give_the_same_scores_before_and_after_saving(fitted):
    again = Lexical().fit(Given(LABELS, TEXTS, GOLD))
    restored = Lexical().restore({name: value.clone() for name, value in fitted.learnt().items()}, Given(LABELS))
    assert torch.equal(again(UNSEEN), fitted(UNSEEN))
    assert torch.equal(restored(UNSEEN), fitted(UNSEEN))
    assert restored.of_training(torch.tensor([0])) is None


def test_a_label_without_rows_gets_the_smallest_score_of_the_row():
    kept = [row for row, label in enumerate(GOLD) if label != 2]
    scores = Lexical().fit(Given(LABELS, [TEXTS[row] for row in kept], [GOLD[row] for row in kept]))(UNSEEN)
    assert torch.equal(scores[:, 2], scores[:, [0, 1, 3]].amin(-1))
    torch.testing.assert_close(scores[:, [0, 1, 3]].exp().sum(-1), torch.ones(60))


def test_two_labels_are_a_regression_too():
    kept = [row for row, label in enumerate(GOLD) if label in {1, 3}]
    fitted = Lexical().fit(Given(LABELS, [TEXTS[row] for row in kept], [GOLD[row] for row in kept]))
    scores = fitted([text for text, label in zip(UNSEEN, ANSWERS, strict=True) if label in {1, 3}])
    assert accuracy(scores, [label for label in ANSWERS if label in {1, 3}]) > 0.75
    torch.testing.assert_close(scores[:, [1, 3]].exp().sum(-1), torch.ones(len(scores)))


def test_training_rows_are_scored_by_a_regression_without_them(fitted):
    every = torch.arange(120)
    left_out = fitted.of_training(every)
    assert torch.equal(fitted.of_training(torch.tensor([7, 3])), left_out[[7, 3]])
    wrong = every % 10 == 9
    gold = torch.tensor(GOLD)
    seen = fitted(TEXTS).gather(1, gold[:, None])[wrong].mean()
    assert left_out.gather(1, gold[:, None])[wrong].mean() < seen - 0.5
    folds = torch.empty(120, dtype=torch.long)
    folds[gold.argsort(stable=True)] = torch.arange(120) % FOLDS
    kept = (folds != folds[7]).nonzero().flatten().tolist()
    without = Lexical().fit(Given(LABELS, [TEXTS[row] for row in kept], [GOLD[row] for row in kept]))
    torch.testing.assert_close(left_out[7], without([TEXTS[7]])[0])


def test_copies_of_a_training_row_are_left_out_with_it():
    twice, gold = [*TEXTS, *TEXTS[:40]], [*GOLD, *GOLD[:40]]
    rows = torch.arange(160)
    left_out = Lexical().fit(Given(LABELS, twice, gold)).of_training(rows)
    torch.testing.assert_close(left_out[120:], left_out[:40])  # by one and the same regression


def test_texts_without_spaces_have_their_characters():
    fitted = Lexical().fit(Given(["card", "loan"], CHINESE, CHINESE_LABELS))
    assert set(fitted.learnt()) == {"sequences.terms", "sequences.idf", "weights", "bias"}
    assert fitted(["信用卡", "贷款"]).argmax(-1).tolist() == [0, 1]


def test_what_is_saved_is_bounded():
    small = Lexical(max_features=30).fit(Given(LABELS, TEXTS, GOLD))
    assert small.learnt()["weights"].shape == (4, 60)
    assert all(value.dtype in {torch.float32, torch.uint8} for value in small.learnt().values())


def test_strange_characters_come_back():
    texts = ["a\nb", "a\x1eb \0c", "\u2028d e", "e f"] * 5
    fitted = Lexical().fit(Given(["one", "two"], texts, [0, 0, 1, 1] * 5))
    restored = Lexical().restore(fitted.learnt(), Given(["one", "two"]))
    assert torch.equal(restored(texts), fitted(texts))
    assert restored(["d e", "a b"]).argmax(-1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "learns from training rows, and there are none"),
        (["a", "b"], [1, 1], "all training rows have label 1; the lexical view needs two or more"),
        (["", " "], [0, 1], "neither words nor characters"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_sentence(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        Lexical().fit(Given(LABELS, texts, labels))


@pytest.mark.parametrize("settings", [{"strength": 0.0}, {"max_features": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"{min(settings)} is 0"):
        Lexical(**settings)


def test_scikit_learns_regression_is_imported_when_it_is_used(warm, tmp_path):
    program = "import sys, lrsl; lrsl.Lexical(); sys.exit('sklearn.linear_model' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = warm("-c", program, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def test_banking77(data_dir):
    with (data_dir / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::4]
    labels = sorted({row["category"] for row in rows})
    gold = [labels.index(row["category"]) for row in rows]
    texts = [row["text"] for row in rows]
    kept = [row for row in range(len(rows)) if row % 5]
    fitted = Lexical().fit(Given(labels, [texts[row] for row in kept], [gold[row] for row in kept]))
    assert accuracy(fitted(texts[::5]), gold[::5]) > 0.75
