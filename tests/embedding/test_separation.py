"""How well label texts separate texts: against the definition, pair by pair."""

import itertools
from pathlib import Path

import pytest
import tiny
import torch

from lrsl.embedding.separation import Separation
from lrsl.embedding.text_embedding import load_embedding


@pytest.fixture
def separation(tiny_bert: Path) -> Separation:
    texts, labels = tiny.samples(24)
    return Separation(load_embedding(str(tiny_bert)), texts, labels, tiny.LABELS)


def by_pairs(similarity: torch.Tensor, labels: list[int], label: int) -> float:
    rows, others = range(len(labels)), [other for other in range(similarity.shape[1]) if other != label]
    own = [
        similarity[row, label] > similarity[row, other]
        for row, other in itertools.product(rows, others)
        if labels[row] == label
    ]
    rest = [similarity[row, labels[row]] > similarity[row, label] for row in rows if labels[row] != label]
    return (sum(own) / len(own) + sum(rest) / len(rest)) / 2


def test_it_is_what_the_definition_says(separation: Separation) -> None:
    labels = separation.labels.tolist()
    for label in range(len(tiny.LABELS)):
        assert separation.of(label) == pytest.approx(float(by_pairs(separation.similarity, labels, label)))


def test_a_text_that_is_taken_counts_from_then_on(separation: Separation) -> None:
    before, text = separation.similarity.clone(), tiny.samples(1)[0][0]
    would_be, better = separation.of(0, text), separation.is_better(0, text)
    assert better == (would_be > separation.of(0))
    assert torch.equal(separation.similarity, before)
    separation.take(0, text)
    assert separation.of(0) == pytest.approx(would_be)
    assert not separation.is_better(0, text)
    assert torch.equal(separation.similarity[:, 1:], before[:, 1:])


def test_the_accuracy_is_the_share_nearest_to_their_own_label(separation: Separation) -> None:
    nearest = separation.similarity.argmax(1).tolist()
    right = [found == label for found, label in zip(nearest, separation.labels.tolist(), strict=True)]
    assert separation.accuracy() == pytest.approx(sum(right) / len(right))
