import pytest
import torch

from lrsl.reranking.folds import first_alike, folds


@pytest.mark.parametrize("n", [0, 1, 3, 10, 23])
def test_every_row_is_looked_at_once_and_never_learnt_from_then(n):
    dealt = list(folds(n, 5))
    assert len(dealt) == min(n, 5)
    for learnt_on, rows in dealt:
        assert torch.equal(torch.cat([learnt_on, rows]).sort().values, torch.arange(n))
    assert sorted(row for _, rows in dealt for row in rows.tolist()) == list(range(n))
    sizes = [len(rows) for _, rows in dealt]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_the_same_rows_give_the_same_folds_and_not_the_order_they_came_in():
    (_, first), *_ = folds(100, 5)
    (_, again), *_ = folds(100, 5)
    assert torch.equal(first, again)
    assert first.tolist() != list(range(20))


def test_rows_of_the_same_text_stay_together():
    texts = [f"text {row % 30}" if row % 2 else f"TEXT  {row % 30}" for row in range(100)]
    seen = []
    for learnt_on, rows in folds(100, 5, first_alike(texts)):
        assert len(learnt_on) + len(rows) == 100
        assert not {row % 30 for row in rows.tolist()} & {row % 30 for row in learnt_on.tolist()}
        seen += rows.tolist()
    assert sorted(seen) == list(range(100))
    apart = list(folds(100, 5, torch.arange(100)))
    assert all(torch.equal(a, b) for pair in zip(apart, folds(100, 5), strict=True) for a, b in zip(*pair, strict=True))


def test_any_numbers_do_that_are_the_same_for_the_same_text():
    alike = torch.randint(0, 30, (100,), generator=torch.Generator().manual_seed(0))
    for (learnt_on, rows), (others, same) in zip(folds(100, 5, alike), folds(100, 5, 1000 - 7 * alike), strict=True):
        assert torch.equal(learnt_on, others)
        assert torch.equal(rows, same)


def test_one_text_alone_is_dealt_as_if_it_were_many():
    assert [len(rows) for _, rows in folds(10, 5, torch.zeros(10, dtype=torch.int64))] == [2] * 5


def test_the_other_folds_keep_two_labels():
    alike, labels = torch.tensor([0] * 10 + [*range(10, 20)]), torch.arange(20) // 10
    for learnt_on, _ in folds(20, 5, alike, labels):
        assert len(labels[learnt_on].unique()) == 2
    assert any(len(labels[learnt_on].unique()) == 1 for learnt_on, _ in folds(20, 5, alike))


def test_texts_are_the_same_but_for_capitals_and_white_space():
    assert first_alike(["a b", "c", "A  b ", "C", "ab"]).tolist() == [0, 1, 0, 1, 4]
