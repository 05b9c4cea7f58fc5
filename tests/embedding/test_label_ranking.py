import pytest
import torch
from tiny import LABELS, samples
from torch.nn.functional import normalize

from lrsl import core
from lrsl.config.schema import EmbeddingConfig
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.nn.batches import TokenDataset

SCALE = 7.0
GOLD = torch.tensor([3, 1, 3, 0, 1])  # label 2 is nobody's, 4 is confused only
CONFUSED = torch.tensor([[1, 4], [3, 0], [0, 1], [3, 4], [0, 4]])


class HandMade(LabelRanking):
    """Labels and texts are one token each, whose embedding stands in a table; counts what it encodes."""

    def __init__(self, embedding, negatives):
        super().__init__(embedding, ["card"] * 5, EmbeddingConfig(negatives=negatives, scale=SCALE), CONFUSED)
        self.label_ids = [[label] for label in range(5)]
        self.table = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
        self.encoded = []

    def encode(self, batch):
        self.encoded.append(batch["input_ids"][:, 0].tolist())
        return self.table[batch["input_ids"][:, 0]]


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert), max_length=256)


def batch(rows):
    rows = torch.tensor(rows)
    texts = (5 + rows)[:, None]  # row i has embedding 5 + i
    return {"input_ids": texts, "attention_mask": torch.ones_like(texts), "label": GOLD[rows], "index": rows}


def expected(ranking, negatives):
    """Return the mean of eq. 6, row by row, with each row's own negatives."""
    losses = [
        core.mnrl_loss(ranking.table[5 + row][None], ranking.table[GOLD[row]][None], ranking.table[others][None], SCALE)
        for row, others in negatives.items()
    ]
    return torch.stack(losses).mean()


def test_confused_negatives_are_eq_6_and_each_label_is_encoded_once(embedding):
    ranking = HandMade(embedding, "confused")
    rows = [4, 0, 2, 1]  # as a sampler would deal them
    loss = ranking(batch(rows))
    label, confused = ranking.table[GOLD[rows]], ranking.table[CONFUSED[rows]]
    torch.testing.assert_close(loss, core.mnrl_loss(ranking.table[[9, 5, 7, 6]], label, confused, SCALE))
    texts, labels = ranking.encoded
    assert texts == [9, 5, 7, 6]
    assert sorted(labels) == [0, 1, 3, 4]  # of 4 × 3 label texts


def test_all_negatives_are_all_labels_but_the_true_one(embedding):
    ranking = HandMade(embedding, "all")
    loss = ranking(batch([0, 1, 3]))
    torch.testing.assert_close(loss, expected(ranking, {0: [0, 1, 2, 4], 1: [0, 2, 3, 4], 3: [1, 2, 3, 4]}))
    assert [len(rows) for rows in ranking.encoded] == [3, 5]


def test_batch_negatives_are_the_other_labels_of_the_batch_and_never_the_own(embedding):
    ranking = HandMade(embedding, "batch")
    loss = ranking(batch([0, 1, 2, 3, 4]))  # labels 3, 1, 3, 0, 1
    torch.testing.assert_close(loss, expected(ranking, {0: [0, 1], 1: [0, 3], 2: [0, 1], 3: [1, 3], 4: [0, 3]}))
    assert [len(rows) for rows in ranking.encoded] == [5, 3]


def test_a_batch_of_one_label_has_no_negatives_and_no_loss(embedding):
    assert HandMade(embedding, "batch")(batch([0, 2])).item() == 0


@pytest.mark.parametrize("negatives", ["confused", "batch", "all"])
def test_the_loss_is_that_of_the_texts_as_encoded_for_use(embedding, negatives):
    texts, labels = samples(6)
    gold = torch.tensor(labels)
    confused = core.confused_labels(torch.randn(6, 4), gold, 3)  # the others of four labels, all of them
    ranking = LabelRanking(embedding, LABELS, EmbeddingConfig(negatives=negatives), confused).eval()
    tokens = TokenDataset(embedding.tokenizer, texts, labels, ranking.max_length)
    with torch.no_grad():
        loss = ranking(tokens.collate([tokens[row] for row in range(6)]))
    assert set(labels) == {0, 1, 2, 3}  # so that all three kinds of negatives mean the same
    vectors, names = encode(embedding, texts), encode(embedding, LABELS)
    torch.testing.assert_close(loss, core.mnrl_loss(vectors, names[gold], names[confused], 20.0), rtol=1e-4, atol=1e-4)


def test_the_similarity_is_exact_under_bf16_autocast(embedding):
    ranking = LabelRanking(embedding, LABELS, EmbeddingConfig())
    texts, labels = normalize(torch.randn(3, 32)), normalize(torch.randn(4, 32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ranking.similarity(texts, labels), core.label_similarity(texts, labels))


def test_confused_negatives_need_confused_labels(embedding):
    with pytest.raises(ValueError, match="negatives=confused needs the confused labels"):
        LabelRanking(embedding, LABELS, EmbeddingConfig(negatives="confused"))


def test_the_confused_labels_are_no_part_of_a_checkpoint(embedding):
    ranking = LabelRanking(embedding, LABELS, EmbeddingConfig(negatives="confused"), CONFUSED)
    assert "confused" not in ranking.state_dict()
