import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lrsl.nn import processes
from lrsl.nn.batches import NOT_COUNTED, LengthBatchSampler, TokenDataset, labels_to_count, loader, pad, tokenize


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def lengths():
    rng = random.Random(0)
    return [rng.randint(3, 200) for _ in range(1003)]


def rows(sampler):
    return [row for batch in sampler for row in batch]


def test_texts_become_ids_with_special_tokens_and_are_cut_at_max_length(tokenizer):
    texts = [("card1",), ("card1 card2 the a please loan",)]
    short, long = (tokens["input_ids"] for tokens in tokenize(tokenizer, texts, max_length=5))
    assert short == [2, tokenizer.convert_tokens_to_ids("card1"), 3]
    assert len(long) == 5
    assert long[-1] == 3  # the last special token survives the cut
    assert tokenize(tokenizer, [], max_length=5) == []


def test_padding_is_on_the_right_and_masked():
    batch = pad([[5, 6, 7], [8]], pad_token_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_batch_knows_its_labels_and_its_rows(tokenizer):
    tokens = TokenDataset(tokenizer, ["card1", "loan1 loan2", "the"], [2, 0, 1], max_length=8)
    batch = tokens.collate([tokens[2], tokens[1]])
    assert tokens.lengths() == [3, 4, 3]
    assert batch["label"].tolist() == [1, 0]
    assert batch["index"].tolist() == [2, 1]
    assert batch["input_ids"].shape == (2, 4)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_every_row_comes_once_an_epoch(lengths, seed):
    sampler = LengthBatchSampler(lengths, 32, seed=seed)
    for _ in range(2):
        batched = list(sampler)
        assert len(batched) == len(sampler) == 32
        assert sorted(row for batch in batched for row in batch) == list(range(1003))
        assert all(len(batch) <= 32 for batch in batched)


def test_the_seed_decides_the_order_and_each_epoch_has_its_own(lengths):
    one, same, other = (LengthBatchSampler(lengths, 32, seed=seed) for seed in (0, 0, 1))
    first, second = list(one), list(one)
    assert [list(same), list(same)] == [first, second]
    assert first != second
    assert list(other) != first
    # the batches themselves differ too, not only their order
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_the_order_does_not_depend_on_the_random_state_of_the_process(lengths):
    torch.manual_seed(1)
    first = list(LengthBatchSampler(lengths, 32, seed=0))
    torch.manual_seed(2)
    assert list(LengthBatchSampler(lengths, 32, seed=0)) == first


def test_evaluation_is_sorted_by_length(lengths):
    sampler = LengthBatchSampler(lengths, 32, seed=None)
    sorted_lengths = [lengths[row] for row in rows(sampler)]
    assert sorted_lengths == sorted(lengths)
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize("seed", [None, 0])
def test_little_is_padded(lengths, seed):
    def padded(batched):
        kept = sum(lengths)
        return sum(max(lengths[row] for row in batch) * len(batch) for batch in batched) / kept - 1

    assert padded(LengthBatchSampler(lengths, 32, seed=seed)) < 0.05
    assert padded(torch.arange(1003).split(32)) > 0.5  # what padding would be without


def test_training_batches_are_not_in_order_of_length(lengths):
    longest = [max(lengths[row] for row in batch) for batch in LengthBatchSampler(lengths, 32, seed=0)]
    assert longest != sorted(longest)


@given(
    rows=st.integers(1, 70), size=st.integers(2, 5), batch_size=st.integers(1, 9), seed=st.sampled_from([None, 0, 3])
)
def test_processes_compute_each_row_once_in_the_batches_of_one(rows, size, batch_size, seed):
    lengths = [3 + row % 7 for row in range(rows)]

    def parts(rank):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes, "count", lambda: (size, rank))
            sampler = LengthBatchSampler(lengths, batch_size, seed=seed)
            found = list(sampler)
            assert len(found) == len(sampler)
            return found

    of_one = list(LengthBatchSampler(lengths, batch_size, seed=seed))
    of_all = [parts(rank) for rank in range(size)]
    assert len({len(found) for found in of_all}) == 1  # else one process waits for ever
    assert all(part.rows for found in of_all for part in found)  # and a network is never given nothing
    computed = [row for found in of_all for part in found if part.share for row in part.rows]
    assert sorted(computed) == list(range(rows))
    if seed is None:
        whole = [part.rows for step in zip(*of_all, strict=True) for part in step if part.share]
        assert whole == of_one
        return
    for batch, step in zip(of_one, zip(*of_all, strict=True), strict=True):
        assert all(part.batch == batch for part in step)
        # the mean over processes of the means over their rows, each times its share, is the mean over the batch
        mean = sum(part.share * sum(part.rows) / len(part.rows) for part in step) / size
        assert mean == pytest.approx(sum(batch) / len(batch))


def test_a_part_of_a_batch_knows_its_share_and_all_labels(tokenizer, monkeypatch):
    tokens = TokenDataset(tokenizer, ["card1", "loan1", "the"], [2, 0, 1], max_length=8)
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(processes, "count", lambda rank=rank: (2, rank))
        (batch,) = loader(tokens, 3, seed=0)
        assert sorted(batch["together"].tolist()) == [0, 1, 2]
        assert float(batch["share"]) == pytest.approx(2 * len(batch["index"]) / 3)
        found += batch["index"].tolist()
    assert sorted(found) == [0, 1, 2]
    (last,) = loader(tokens)  # the second process has no batch of its own, and computes one that is not counted
    assert float(last["share"]) == 0
    assert labels_to_count(last).tolist() == [NOT_COUNTED] * 3
    monkeypatch.setattr(processes, "count", lambda: (2, 0))
    (first,) = loader(tokens)
    assert torch.equal(first["index"], last["index"])
    assert torch.equal(labels_to_count(first), first["label"])


def test_the_loader_gives_every_text_with_its_label(tokenizer):
    texts = ["card1 " * n for n in (4, 1, 3, 2, 5)]
    tokens = TokenDataset(tokenizer, texts, [0, 1, 2, 3, 0], max_length=32)
    for seed in (None, 0):
        found = {}
        for batch in loader(tokens, 2, seed=seed):
            for row, label, mask in zip(batch["index"], batch["label"], batch["attention_mask"], strict=True):
                found[int(row)] = (int(label), int(mask.sum()))
        assert found == {0: (0, 6), 1: (1, 3), 2: (2, 5), 3: (3, 4), 4: (0, 7)}
