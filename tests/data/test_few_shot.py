"""A few samples of each label."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, Split, load_corpus
from lrsl.data.few_shot import few_shot
from lrsl.errors import InputError


def corpus(labels: list[int]) -> Corpus:
    split = Split([f"{row}" for row in range(len(labels))], [f"text {row}" for row in range(len(labels))], labels)
    return Corpus("drawn", ["a", "b", "c"], ["a", "b", "c"], split, split, split)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 8), st.integers(0, 2**31))
def test_each_label_has_as_many_as_asked_or_all_it_has(labels: list[int], per_class: int, seed: int) -> None:
    whole = corpus(labels)
    few = few_shot(whole, per_class, seed)
    there = Counter(labels)
    for split in (few.train, few.val):
        assert Counter(split.labels) == {label: min(count, per_class) for label, count in there.items()}
        assert [int(name) for name in split.ids] == sorted(int(name) for name in split.ids)
        assert split.texts == [f"text {name}" for name in split.ids]
    assert few.test == whole.test
    assert set(few.train.ids) <= set(few_shot(whole, per_class + 1, seed).train.ids)


def test_seeds_draw_differently_and_train_not_as_validation() -> None:
    whole = corpus([0, 1, 2] * 30)
    draws = {tuple(few_shot(whole, 5, seed).train.ids) for seed in range(5)}
    assert len(draws) == 5
    few = few_shot(whole, 5, 0)
    assert few.train.ids != few.val.ids


def test_it_is_a_key_of_any_data_set() -> None:
    few = load_corpus(DatasetConfig(name="telecom34", reader="telecom34", per_class=3), None)
    assert max(Counter(few.train.labels).values()) == 3
    with pytest.raises(InputError, match=r"dataset\.per_class=0"):
        DatasetConfig(name="telecom34", reader="telecom34", per_class=0)
