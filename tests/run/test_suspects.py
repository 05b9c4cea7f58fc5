import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lrsl.data.corpus import Corpus, Split
from lrsl.run.suspects import confident_labels, suspect_labels

EMPTY = Split([], [], [])


def corpus(split, classes):
    names = [f"label {label}" for label in range(classes)]
    return Corpus("made up", names, names, split, split, EMPTY)


@pytest.fixture
def flipped():
    """Logits and labels of 400 rows, of which every twentieth has the wrong label; logits are of the right ones."""
    generator = np.random.default_rng(0)
    truth = generator.integers(4, size=400)
    given_labels = truth.copy()
    rows = np.arange(0, 400, 20)
    given_labels[rows] = (truth[rows] + 1) % 4
    logits = generator.normal(size=(400, 4)) + 6 * np.eye(4)[truth]
    return torch.tensor(logits), given_labels, truth, set(rows.tolist())


def test_flipped_labels_are_found_and_named(flipped):
    logits, labels, truth, rows = flipped
    split = Split([f"row {row}" for row in range(400)], ["text"] * 400, labels.tolist())
    right = torch.nn.functional.one_hot(torch.tensor(truth), 4).float()
    found = suspect_labels(corpus(split, 4), split, logits, {"knows": right, "denies": -right})
    numbers = [int(line["id"].removeprefix("row ")) for line in found]
    assert len(rows & set(numbers)) >= 19
    assert len(set(numbers) - rows) <= 3
    for number, line in zip(numbers, found, strict=True):
        assert line["given"] == f"label {labels[number]}"
        assert line["probability_likelier"] == pytest.approx(logits[number].softmax(-1).max().item())
        if number in rows:
            assert line["likelier"] == f"label {truth[number]}"
            assert line["views"] == ["knows"]
    margins = [line["probability_likelier"] - line["probability_given"] for line in found]
    assert margins == sorted(margins, reverse=True)


def test_labels_that_a_view_has_not_scored_count_as_its_smallest():
    split = Split(list("abcd"), list("abcd"), [0, 0, 1, 0])
    logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
    unscored = torch.full((4, 2), torch.nan)
    half = torch.tensor([[torch.nan, 0.0]] * 4)
    (line,) = suspect_labels(corpus(split, 2), split, logits, {"silent": unscored, "half": half})
    assert (line["id"], line["likelier"], line["views"]) == ("d", "label 1", ["half"])


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.float64, (n, 3), elements=st.floats(0.01, 1)),
            arrays.arrays(np.int64, n, elements=st.integers(0, 2)),
        )
    )
)
def test_the_confident_joint_is_that_of_plain_loops(drawn):
    weights, labels = drawn
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    found = confident_labels(probabilities, labels)
    for row in range(len(labels)):
        confident = {}
        for label in set(labels.tolist()):
            if probabilities[row, label] >= probabilities[labels == label, label].mean():
                confident[label] = probabilities[row, label]
        if confident:
            assert probabilities[row, found[row]] == max(confident.values())
            assert found[row] in confident
        else:
            assert found[row] == -1
