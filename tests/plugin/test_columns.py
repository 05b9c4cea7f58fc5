"""Columns in another order than the label texts are refused, by names where there are some and by held-out rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_reranker import LABELS, VAL

from lrsl import Lexical, Reranker
from lrsl.errors import InputError
from lrsl.plugin.columns import check_names, check_order

NAMES = ["card_arrival", "lost card", "Exchange-Rate", "top up"]


def answers(n, classes, share, seed):
    """Labels, and logits of a classifier that is right on about a share of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    right = torch.rand(n, generator=generator) < share
    predicted = labels.where(right, torch.randint(classes, (n,), generator=generator))
    noise = torch.randn(n, classes, generator=generator)
    return labels, noise + 9 * torch.nn.functional.one_hot(predicted, classes)


@given(st.permutations(range(6)), st.integers(0, 20))
def test_any_other_order_is_refused_and_the_right_one_taken(order, seed):
    labels, logits = answers(240, 6, 0.6, seed)
    names = [f"label {label}" for label in range(6)]
    if order == sorted(order):
        check_order(logits, labels, names)
        return
    with pytest.raises(InputError, match="the columns of logits are in another order than the label texts") as refused:
        check_order(logits[:, order], labels, names)
    column = next(column for column, label in enumerate(order) if column != label)
    assert f"column {column} is 'label {order[column]}'" in str(refused.value)
    assert str(refused.value).endswith("; give label_texts, or --names of lrsl fit, in the order of the columns")


@given(st.integers(0, 30), st.sampled_from([0.3, 0.5, 0.9]), st.sampled_from([(12, 3), (300, 20), (150, 77)]))
def test_a_mediocre_classifier_in_the_right_order_is_taken(seed, share, shape):
    labels, logits = answers(*shape, share, seed)
    check_order(logits, labels, [str(label) for label in range(shape[1])])


def test_many_labels_with_few_rows_each_are_told_apart():
    labels, logits = answers(231, 77, 0.85, 0)
    with pytest.raises(InputError, match="in another order"):
        check_order(logits.roll(1, dims=1), labels, [str(label) for label in range(77)])


def test_rows_of_other_texts_are_refused():
    labels, logits = answers(500, 5, 0.8, 0)
    with pytest.raises(InputError, match=r"is right on .* of the 500 held-out rows, where guessing would be on 2"):
        check_order(logits[torch.randperm(500, generator=torch.Generator().manual_seed(1))], labels, list("abcde"))


@pytest.mark.parametrize("shape", [(5, 77), (20, 34), (300, 5), (2000, 2)])
def test_rows_of_other_texts_are_refused_where_labels_are_equally_frequent(shape):
    """As a draw of so many rows per label has them: no label is right more often than by guessing."""
    each, classes = shape
    _, logits = answers(each * classes, classes, 0.8, 0)
    balanced = torch.arange(classes).repeat_interleave(each)
    logits = logits + 20 * torch.nn.functional.one_hot(balanced, classes)  # right on each row
    check_order(logits, balanced, [str(label) for label in range(classes)])
    for seed in range(20):
        other = torch.randperm(len(balanced), generator=torch.Generator().manual_seed(seed))
        with pytest.raises(InputError, match=r"of the same rows, in the same order \(what is .* columns='trusted'"):
            check_order(logits[other], balanced, [str(label) for label in range(classes)])


@pytest.mark.parametrize("share", [0.08, 0.15, 0.4])
def test_a_weak_classifier_of_equally_frequent_labels_is_let_pass(share):
    """Beyond chance is beyond chance: shuffled rows are not."""
    balanced = torch.arange(2).repeat_interleave(2000)
    generator = torch.Generator().manual_seed(0)
    knows = torch.rand(4000, generator=generator) < share
    answer = balanced.where(knows, torch.randint(2, (4000,), generator=generator))
    check_order(torch.nn.functional.one_hot(answer, 2) * 3.0, balanced, ["no", "yes"])


def test_rows_of_one_label_tell_nothing():
    _, logits = answers(300, 5, 0.8, 0)
    check_order(logits, torch.full((300,), 2), list("abcde"))


def test_a_classifier_that_always_says_one_of_equally_frequent_labels_is_let_pass():
    check_order(torch.eye(5)[:1].repeat(200, 1), torch.arange(200) % 5, list("abcde"))


def test_a_classifier_that_always_says_the_most_frequent_label_is_let_pass():
    labels = torch.tensor([0] * 180 + [1] * 20)
    check_order(torch.tensor([[2.0, 1.0]]).repeat(200, 1), labels, ["no", "yes"])


@pytest.mark.parametrize(
    "classes",
    [
        ["card arrival", "Lost card", "exchange rate", "top_up"],
        np.array(["card arrival", "unheard of", "exchange rate", "top_up"]),
        {0: "Card arrival", 1: "lost card", 2: "exchange rate", 3: "top up"},
        {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2", "3": "LABEL_3"},
        np.arange(4),
    ],
)
def test_names_in_the_same_order_are_taken(classes):
    check_names(classes, NAMES)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            sorted(NAMES),
            "calls column 0 of its logits 'Exchange-Rate', and label_texts have that at 2; give label_",
        ),
        ({1: "card arrival", 0: "lost card", 2: "x", 3: "y"}, "calls column 0 of its logits 'lost card'"),
        (np.array([0, 2, 1, 3]), "the classifier's columns are the classes 0, 2, 1, 3; give label_texts in that order"),
        (["a", "b"], "the classifier has 2 classes and there are 4 label texts"),
    ],
)
def test_names_in_another_order_are_refused(classes, message):
    with pytest.raises(InputError, match=message):
        check_names(classes, NAMES)


def test_fit_refuses_both_before_anything_is_learnt():
    class Untouched(Lexical):
        def fit(self, given):
            raise AssertionError("it learns")

    reranker = Reranker(None, LABELS, views=[Untouched()], rule="fitted")
    turned = VAL.logits.roll(1, dims=1)
    with pytest.raises(InputError, match="the columns of logits are in another order"):
        reranker.fit(turned, VAL.labels, VAL.texts)
    with pytest.raises(InputError, match="calls column 0 of its logits 'rate'"):
        reranker.fit(VAL.logits, VAL.labels, VAL.texts, classes=LABELS[::-1])
    with pytest.raises(AssertionError, match="it learns"):
        reranker.fit(turned, VAL.labels, VAL.texts, columns="trusted")
    with pytest.raises(ValueError, match="columns is 'guessed'; it must be one of checked, trusted"):
        reranker.fit(turned, VAL.labels, VAL.texts, columns="guessed")


def test_names_that_are_written_nearly_alike_are_told_apart():
    known = ["us", "US", "lost_card", "lost card"]
    check_names(known, known)
    check_names(["Us", "uS", "lost-card", "Lost card"], known)  # which of both nobody can say
    with pytest.raises(InputError, match="calls column 0 of its logits 'US', and label_texts have that at 1"):
        check_names(["US", "us", "lost_card", "lost card"], known)
