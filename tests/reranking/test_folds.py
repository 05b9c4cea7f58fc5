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
    for learnt_on, rows in folds(100, 5, texts):
        assert len(learnt_on) + len(rows) == 100
        assert not {row % 30 for row in rows.tolist()} & {row % 30 for row in learnt_on.tolist()}
        seen += rows.tolist()
    assert sorted(seen) == list(range(100))
    apart = list(folds(100, 5, [str(row) for row in range(100)]))
    assert all(torch.equal(a, b) for pair in zip(apart, folds(100, 5), strict=True) for a, b in zip(*pair, strict=True))


def test_one_text_alone_is_dealt_as_if_it_were_many():
    assert [len(rows) for _, rows in folds(10, 5, ["same"] * 10)] == [2] * 5


def test_the_other_folds_keep_two_labels():
    texts, labels = ["ok"] * 10 + [f"text {row}" for row in range(10)], torch.arange(20) // 10
    for learnt_on, _ in folds(20, 5, texts, labels):
        assert len(labels[learnt_on].unique()) == 2
    assert any(len(labels[learnt_on].unique()) == 1 for learnt_on, _ in folds(20, 5, texts))


def test_texts_are_the_same_but_for_capitals_and_white_space():
    assert first_alike(["a b", "c", "A  b ", "C", "ab"]).tolist() == [0, 1, 0, 1, 4]
