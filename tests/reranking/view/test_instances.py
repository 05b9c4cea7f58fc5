import time

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as over
from hypothesis import strategies as st
from tiny import LABELS, samples

from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.reranking import view
from lrsl.reranking.view import Given
from lrsl.reranking.view.instances import FittedInstances, Instances
from lrsl.reranking.view.label_similarity import LabelSimilarity

TEXTS, GOLD = samples(40, seed=3)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def fitted(vectors, labels, classes, asked=None, **settings):
    return FittedInstances(Instances(**settings), lambda texts: asked, vectors, torch.tensor(labels), classes)


def by_the_formula(text, vectors, labels, classes, settings, leave_out=None):
    scores = []
    for label in range(classes):
        cosines = sorted(
            (float(text @ vectors[row]) for row in range(len(labels)) if labels[row] == label and row != leave_out),
            reverse=True,
        )[: settings.neighbours]
        if cosines:
            mean = sum(torch.tensor([c / settings.temperature]).double().exp() for c in cosines) / len(cosines)
            scores.append(settings.scale * settings.temperature * float(mean.log()))
        else:
            scores.append(None)
    known = [score for score in scores if score is not None]
    return torch.tensor([min(known, default=0.0) if score is None else score for score in scores])


@over(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    neighbours=st.integers(1, 5),
    temperature=st.sampled_from([0.05, 0.5]),
    scale=st.sampled_from([1.0, 20.0]),
    seed=st.integers(0, 100),
)
def test_scores_are_the_formulas(labels, neighbours, temperature, scale, seed):
    settings = Instances(neighbours, temperature, scale)
    vectors, texts = unit(len(labels), 3, seed=seed), unit(2, 3, seed=seed + 1)
    made = fitted(vectors, labels, 4, texts, neighbours=neighbours, temperature=temperature, scale=scale)
    expected = torch.stack([by_the_formula(text, vectors, labels, 4, settings) for text in texts])
    torch.testing.assert_close(made(["", ""]), expected, rtol=1e-4, atol=1e-4)
    rows = torch.arange(len(labels)).flip(0)
    left = [by_the_formula(vectors[row], vectors, labels, 4, settings, leave_out=row) for row in rows.tolist()]
    torch.testing.assert_close(made.of_training(rows), torch.stack(left), rtol=1e-4, atol=1e-4)


def test_a_training_row_is_scored_as_if_its_text_stood_nowhere(tiny_bert):
    embedding = load_embedding(str(tiny_bert))
    twice, gold = [*TEXTS, *TEXTS[:9]], [*GOLD, *GOLD[:9]]
    made = Instances(neighbours=3).fit(Given(LABELS, twice, gold, load_embedding=lambda: embedding))
    for row in (0, 3, 44):
        kept = [other for other in range(49) if twice[other] != twice[row]]
        others = Given(LABELS, [twice[i] for i in kept], [gold[i] for i in kept], load_embedding=lambda: embedding)
        expected = Instances(neighbours=3).fit(others)([twice[row]])
        torch.testing.assert_close(made.of_training(torch.tensor([row])), expected, rtol=1e-4, atol=1e-4)


def test_a_label_without_texts_gets_the_smallest_score_of_the_row():
    scores = fitted(unit(4, 3), [0, 0, 2, 2], 4, unit(5, 3, seed=1))([""] * 5)
    least = scores[:, [0, 2]].amin(-1)
    assert torch.equal(scores[:, 1], least)
    assert torch.equal(scores[:, 3], least)


def test_chunks_do_not_show(monkeypatch):
    made = fitted(unit(50, 8), [0, 1] * 25, 2, unit(9, 8, seed=1))
    whole, left = made([""] * 9), made.of_training(torch.arange(50))
    monkeypatch.setattr("lrsl.reranking.view.instances.COSINES_AT_ONCE", 60)
    torch.testing.assert_close(made([""] * 9), whole)
    torch.testing.assert_close(made.of_training(torch.arange(50)), left)


def test_it_comes_back_from_what_it_had_learnt_without_training_rows(tiny_bert):
    embedding = load_embedding(str(tiny_bert))
    made = Instances().fit(Given(LABELS, TEXTS, GOLD, load_embedding=lambda: embedding))
    again = Instances().restore(made.learnt(), Given(LABELS, load_embedding=lambda: embedding))
    assert torch.equal(again(TEXTS[:5]), made(TEXTS[:5]))
    assert torch.equal(again.of_training(torch.tensor([3, 1])), made.of_training(torch.tensor([3, 1])))
    assert made(TEXTS[:5]).shape == (5, 4)
    assert made([]).shape == (0, 4)
    nearest = made(TEXTS).gather(1, torch.tensor(GOLD)[:, None])
    left_out = made.of_training(torch.arange(40)).gather(1, torch.tensor(GOLD)[:, None])
    assert (left_out < nearest).all()


def test_views_of_the_same_embedding_embed_a_text_once_and_see_the_same_numbers(tiny_bert, monkeypatch):
    embedded = []
    embedding = load_embedding(str(tiny_bert))

    def spy(model, texts):
        embedded.append(len(texts))
        return encode(model, texts)

    monkeypatch.setattr(view, "encode", spy)
    shared = Given(LABELS, TEXTS, GOLD, load_embedding=lambda: embedding)
    views = [LabelSimilarity().fit(shared), Instances().fit(shared)]
    together = [made(TEXTS[:7]) for made in views]
    assert embedded == [4, 40, 7]
    alone = LabelSimilarity().fit(Given(LABELS, load_embedding=lambda: embedding))
    assert torch.equal(alone(TEXTS[:7]), together[0])
    assert not torch.equal(views[0](TEXTS[1:8]), together[0])


def test_thousands_of_texts_take_less_than_a_second():
    vectors, texts = unit(8000, 384), unit(3000, 384, seed=1)
    made = fitted(vectors, [row % 77 for row in range(8000)], 77, texts)
    start = time.process_time()
    made([""] * 3000)
    assert time.process_time() - start < 5  # of a machine that may be busy


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"neighbours": 0}, "neighbours is 0"), ({"temperature": 0.0}, "temperature is 0.0"), ({"scale": -1.0}, "scale")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Instances(**settings)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], r"learns from training rows, and there are none; give train="),
        (["a", "b"], [0], "there are 2 training texts and 1 labels"),
        (["a", "b"], [0, 4], r"labels\[1\] is 4; with 4 classes it must be 0 to 3"),
        (["a", "b"], [0, 0.9], r"labels\[1\] is 0\.9; with 4 classes it must be a whole number, 0 to 3"),
    ],
)
def test_training_rows_are_needed(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        Instances().fit(Given(LABELS, texts, labels))
