import pytest
import torch
import torch.nn.functional as F
from tiny import LABELS, samples

from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.reranking.view import Given
from lrsl.reranking.view.class_mean import ClassMean

TEXTS, GOLD = samples(40, seed=3)


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


def mean(vectors, gold, label):
    return F.normalize(vectors[torch.tensor(gold) == label].mean(0), dim=0)


def test_scores_are_cosines_with_the_means(embedding):
    made = ClassMean(scale=3.0).fit(Given(LABELS, TEXTS, GOLD, load_embedding=lambda: embedding))
    vectors = encode(embedding, TEXTS)
    expected = 3 * vectors[:5] @ torch.stack([mean(vectors, GOLD, label) for label in range(4)]).T
    torch.testing.assert_close(made(TEXTS[:5]), expected)
    again = ClassMean(scale=3.0).restore(made.learnt(), Given(LABELS, load_embedding=lambda: embedding))
    assert torch.equal(again(TEXTS[:5]), made(TEXTS[:5]))
    assert again.of_training(torch.tensor([0])) is None


def test_a_training_row_is_taken_out_of_its_own_mean(embedding):
    made = ClassMean().fit(Given(LABELS, TEXTS, GOLD, load_embedding=lambda: embedding))
    vectors = encode(embedding, TEXTS)
    rows = torch.tensor([31, 0, 7])
    scores = made.of_training(rows)
    for row, score in zip(rows.tolist(), scores, strict=True):
        kept = [other for other in range(40) if other != row]
        gold = [GOLD[other] for other in kept]
        expected = [20 * float(vectors[row] @ mean(vectors[kept], gold, label)) for label in range(4)]
        torch.testing.assert_close(score, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_copies_of_a_training_row_are_taken_out_with_it(embedding):
    twice, gold = [*TEXTS, *TEXTS[:9]], [*GOLD, *GOLD[:9]]
    made = ClassMean().fit(Given(LABELS, twice, gold, load_embedding=lambda: embedding))
    rows = torch.tensor([44, 0, 20])
    vectors = encode(embedding, twice)
    for row, score in zip(rows.tolist(), made.of_training(rows), strict=True):
        kept = [other for other in range(49) if twice[other] != twice[row] or gold[other] != gold[row]]
        expected = mean(vectors[kept], [gold[other] for other in kept], gold[row])
        torch.testing.assert_close(score[gold[row]], 20 * vectors[row] @ expected, rtol=1e-4, atol=1e-4)


def test_a_label_without_texts_gets_the_smallest_score_of_the_row(embedding):
    made = ClassMean().fit(Given(LABELS, TEXTS[:3], [0, 2, 2], load_embedding=lambda: embedding))
    scores = made(TEXTS[5:8])
    assert torch.equal(scores[:, 1], scores[:, [0, 2]].amin(-1))
    left = made.of_training(torch.tensor([0]))[0]
    assert torch.equal(left, left[2].expand(4))


def test_a_scale_that_is_not_above_0_is_refused():
    with pytest.raises(ValueError, match="scale is 0"):
        ClassMean(scale=0.0)
