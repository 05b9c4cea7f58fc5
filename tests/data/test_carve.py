from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lrsl.data.carve import carve
from lrsl.errors import InputError

LABELS = st.lists(st.integers(0, 8), min_size=2, max_size=120)
FRACTIONS = st.floats(0.01, 0.99)


@given(LABELS, FRACTIONS, st.integers(0, 2**32))
def test_every_row_is_in_one_split_and_every_class_stays_in_train(
    labels: list[int], fraction: float, seed: int
) -> None:
    spare = len(labels) - len(set(labels))
    if spare == 0:
        with pytest.raises(InputError, match=r"give dataset\.val=FILE"):
            carve(labels, fraction, seed)
        return
    train, val = carve(labels, fraction, seed)
    assert sorted(train + val) == list(range(len(labels)))
    assert train == sorted(train)
    assert val == sorted(val)
    assert {labels[i] for i in train} == set(labels)
    assert len(val) == min(max(round(fraction * len(labels)), 1), spare)


@given(st.lists(st.integers(20, 60), min_size=1, max_size=9), st.floats(0.1, 0.9))
def test_a_class_gives_its_share_to_within_one_row(sizes: list[int], fraction: float) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    total = round(fraction * len(labels))
    given_away = Counter(labels[i] for i in carve(labels, fraction, 0)[1])
    assert all(abs(given_away[label] - total * size / len(labels)) < 1 for label, size in enumerate(sizes))


@given(LABELS, st.integers(0, 2**32))
def test_renaming_the_classes_in_order_changes_nothing(labels: list[int], seed: int) -> None:
    assume(len(set(labels)) < len(labels))
    assert carve(labels, 0.2, seed) == carve([10 * label + 3 for label in labels], 0.2, seed)


def test_the_same_rows_on_every_platform() -> None:
    labels = [0, 1, 2] * 4 + [3]
    golden = ([1, 4, 5, 6, 7, 8, 9, 11, 12], [0, 2, 3, 10])
    assert carve(labels, 0.3, 0) == golden
    assert carve(labels, 0.3, 1) != golden


def test_class_with_one_sample_stays_and_the_others_give_more() -> None:
    train, val = carve([0, 1, 2, 3, 3, 3, 3], 0.5, 0)
    assert train[:3] == [0, 1, 2]
    assert len(val) == 3
