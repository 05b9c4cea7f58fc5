import pytest
import torch

from lrsl.reranking.folds import folds


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
