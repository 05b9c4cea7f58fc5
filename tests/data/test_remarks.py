import pytest

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, Split
from lrsl.data.card import describe
from lrsl.data.remarks import remarks

TEXTS = ["lost my card", "Lost  my card ", "no cash", "lost my card", "new pin", "no cash"]


def corpus(labels: list[int], label_texts: list[str], val: str = "fine") -> Corpus:
    return Corpus(
        name="mine",
        labels=[text.replace(" ", "_") for text in label_texts],
        label_texts=label_texts,
        train=Split([f"train-{i}" for i in range(len(TEXTS))], TEXTS, labels),
        val=Split(["val-0"], [val], [0]),
        test=Split(["test-0"], ["lost my card"], [2]),
    )


NAMES = ["card arrival", "cash 2", "pin"]


def test_a_corpus_without_contradictions_has_no_remarks() -> None:
    assert remarks(corpus([0, 0, 1, 0, 2, 1], NAMES)) == []  # test is not learnt from


def test_one_text_with_two_labels_is_counted_with_an_example() -> None:
    assert remarks(corpus([0, 2, 1, 0, 2, 1], NAMES)) == [
        "1 text has more than one label in training and validation, as 'lost my card' has 'card_arrival' and 'pin'; no "
        "classifier can get both right, so decide on one"
    ]
    (several,) = remarks(corpus([0, 1, 1, 2, 2, 0], NAMES))
    assert several.startswith("2 texts have more than one label in training and validation, as 'lost my card' has ")
    assert "'card_arrival' and 'cash_2' and 'pin'" in several


def test_validation_texts_that_are_trained_on_are_counted() -> None:
    (told,) = remarks(corpus([0, 0, 1, 0, 2, 1], NAMES, val="Lost my card"))
    assert told.startswith("1 of 1 validation texts also stand in train, so that validation is too good to be true")


def test_a_contradiction_between_train_and_val_counts() -> None:
    told, *_ = remarks(corpus([0, 0, 1, 0, 2, 1], NAMES, val="NEW PIN"))
    assert told.startswith("1 text has more than one label in training and validation, as 'new pin' has 'pin' and 'ca")


def test_a_long_text_is_shortened() -> None:
    long = Split(["a", "b"], ["word " * 100, "word " * 100], [0, 1])
    told, *_ = remarks(Corpus("mine", NAMES, NAMES, long, long, long))
    assert f"as '{('word ' * 12)[:59]}…' has" in told


@pytest.mark.parametrize(
    "texts", [["0", "1", "2"], ["-1", "3.5", "10"], ["label 0", "LABEL 1", "class 2"], list("０１２")]
)
def test_numbers_for_texts_say_nothing(texts: list[str]) -> None:
    found = corpus([0, 0, 1, 0, 2, 1], texts)
    assert remarks(found) == [
        f"the texts of all labels are numbers, as '{texts[0]}', which say nothing of what a label means; give each a "
        "text with dataset.label_texts=FILE, or name a column of texts with dataset.label_text"
    ]
    assert describe(found, DatasetConfig()).remarks == tuple(remarks(found))


def test_some_numbers_are_counted() -> None:
    (told,) = remarks(corpus([0, 0, 1, 0, 2, 1], ["card", "2", "top 10"]))
    assert told.startswith("the texts of 1 of 3 labels are numbers, as '2', ")
