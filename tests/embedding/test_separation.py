"""How well label texts separate texts: against the definition."""

import itertools
from pathlib import Path

import pytest
import tiny
import torch

from lrsl import core
from lrsl.embedding.separation import Separation
from lrsl.embedding.text_embedding import encode, load_embedding


@pytest.fixture
def separation(tiny_bert: Path) -> Separation:
    texts, labels = tiny.samples(24)
    return Separation(load_embedding(str(tiny_bert)), texts, labels, tiny.LABELS)


def test_a_text_is_better_if_more_texts_are_right_with_it(separation: Separation) -> None:
    texts, _ = tiny.samples(24)
    before, told = separation.similarity.clone(), set()
    for label, text in itertools.product(range(len(tiny.LABELS)), texts):
        column = core.label_similarity(separation.texts, encode(separation.embedding, [text]))[:, 0]
        changed = before.clone()
        changed[:, label] = column
        better = int((changed.argmax(1) == separation.labels).sum()) > int(
            (before.argmax(1) == separation.labels).sum()
        )
        assert separation.is_better(label, text) == better
        told.add(better)
    assert told == {False, True}
    assert torch.equal(separation.similarity, before)


def test_a_text_that_is_taken_counts_from_then_on(separation: Separation) -> None:
    texts, _ = tiny.samples(24)
    before, accuracy = separation.similarity.clone(), separation.accuracy()
    pairs = itertools.product(range(len(tiny.LABELS)), texts)
    label, text = next(pair for pair in pairs if separation.is_better(*pair))
    separation.take(label, text)
    assert separation.accuracy() > accuracy
    assert not separation.is_better(label, text)
    others = [other for other in range(len(tiny.LABELS)) if other != label]
    assert torch.equal(separation.similarity[:, others], before[:, others])


def test_the_accuracy_is_the_share_nearest_to_their_own_label(separation: Separation) -> None:
    nearest = separation.similarity.argmax(1).tolist()
    right = [found == label for found, label in zip(nearest, separation.labels.tolist(), strict=True)]
    assert separation.accuracy() == pytest.approx(sum(right) / len(right))
