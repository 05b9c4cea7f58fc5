from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsl.data.deal import deal
from lrsl.errors import InputError

ROWS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3)), min_size=2, max_size=60)


@given(ROWS, st.integers(2, 6), st.integers(0, 5))
def test_every_row_is_in_one_fold_and_equal_texts_in_the_same(rows, number, seed):
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    if len(set(texts)) < number:
        with pytest.raises(InputError, match=rf"^reranker\.folds={number} is too large; the {len(rows)} training"):
            deal(texts, labels, number, seed)
        return
    folds = deal(texts, labels, number, seed)
    assert sorted(row for fold in folds for row in fold) == list(range(len(rows)))
    assert all(fold and fold == sorted(fold) for fold in folds)
    of = {row: number for number, fold in enumerate(folds) for row in fold}
    assert len({(text, of[row]) for row, text in enumerate(texts)}) == len(set(texts))


@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.integers(2, 5), st.integers(0, 5))
def test_folds_have_equal_shares_of_each_label(labels, number, seed):
    folds = deal([f"text {row}" for row in range(len(labels))], labels, number, seed)
    for label in set(labels):
        shares = [Counter(labels[row] for row in fold)[label] for fold in folds]
        assert max(shares) - min(shares) <= 1
    assert max(map(len, folds)) - min(map(len, folds)) <= len(set(labels))


def test_capitals_and_white_space_do_not_make_another_text():
    texts = ["Lost card", "lost  card ", "a", "b", "c", "d"]
    first = next(fold for fold in deal(texts, [0, 1, 0, 0, 1, 1], 3, 0) if 0 in fold)
    assert 1 in first


def test_the_seed_deals():
    texts, labels = [str(row) for row in range(40)], [row % 2 for row in range(40)]
    assert deal(texts, labels, 4, 0) == deal(texts, labels, 4, 0)
    assert deal(texts, labels, 4, 0) != deal(texts, labels, 4, 1)
