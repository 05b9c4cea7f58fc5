"""How well label texts separate texts: against the definition."""

import itertools
from pathlib import Path

import pytest
import tiny
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from lrsl import core
from lrsl.embedding.separation import Separation
from lrsl.embedding.text_embedding import encode, load_embedding


@pytest.fixture
def separation(tiny_bert: Path) -> Separation:
    texts, labels = tiny.samples(24)
    return Separation(load_embedding(str(tiny_bert)), texts, labels, tiny.LABELS)


def test_a_text_is_better_if_it_finds_its_own_and_no_fewer_are_right(separation: Separation) -> None:
    texts, _ = tiny.samples(24)
    before, told = separation.similarity.clone(), set()
    for label, text in itertools.product(range(len(tiny.LABELS)), texts):
        column = core.label_similarity(separation.texts, encode(separation.embedding, [text]))[:, 0]
        changed = before.clone()
        changed[:, label] = column
        was, now = (
            (f1_score(separation.labels, answers, labels=[label], average="macro", zero_division=0.0), right)
            for answers, right in (
                (scores.argmax(1), int((scores.argmax(1) == separation.labels).sum())) for scores in (before, changed)
            )
        )
        better = now[0] > was[0] and now[1] >= was[1]
        assert separation.is_better(label, text) == better
        told.add((better, now[1] > was[1]))
    assert {(True, True), (False, False)} <= told
    assert torch.equal(separation.similarity, before)


def test_a_text_that_is_near_to_nothing_is_not_better_though_more_texts_are_right() -> None:
    columns = {"away": torch.tensor([0.0, 0.0, 0.0, 0.0]), "apart": torch.tensor([0.9, 0.0, 0.0, 0.0])}

    class Given(Separation):
        def __init__(self) -> None:
            self.labels = torch.tensor([0, 1, 1, 1])
            self.similarity = torch.tensor([[0.9, 0.5], [0.6, 0.5], [0.6, 0.5], [0.4, 0.5]])

        def _column(self, text: str) -> Tensor:
            return columns[text]

    separation = Given()
    assert separation.accuracy() == 0.5
    assert not separation.is_better(0, "away")  # three of four are right, and none of its own
    assert separation.is_better(0, "apart")


def test_a_text_that_is_taken_counts_from_then_on(separation: Separation) -> None:
    texts, _ = tiny.samples(24)
    before, accuracy = separation.similarity.clone(), separation.accuracy()
    pairs = itertools.product(range(len(tiny.LABELS)), texts)
    label, text = next(pair for pair in pairs if separation.is_better(*pair))
    separation.take(label, text)
    assert separation.accuracy() >= accuracy
    assert not separation.is_better(label, text)
    others = [other for other in range(len(tiny.LABELS)) if other != label]
    assert torch.equal(separation.similarity[:, others], before[:, others])


def test_the_accuracy_is_the_share_nearest_to_their_own_label(separation: Separation) -> None:
    nearest = separation.similarity.argmax(1).tolist()
    right = [found == label for found, label in zip(nearest, separation.labels.tolist(), strict=True)]
    assert separation.accuracy() == pytest.approx(sum(right) / len(right))
