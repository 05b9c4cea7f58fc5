import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl import Budget


def threshold(share, hardness):
    return Budget(share).fit(torch.tensor(hardness, dtype=torch.float64), torch.zeros(len(hardness), 2), None)


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.one_of(st.floats(0.001, 1), st.sampled_from([0.1, 0.29]))
)
def test_never_more_than_the_share_and_no_other_threshold_takes_more(values, share):
    found = threshold(share, values)
    hard = sum(value < found for value in values)
    assert hard <= share * len(values) + 1e-6
    larger = [n for other in {*values, 5} if (n := sum(value < other for value in values)) > hard]
    assert all(n > share * len(values) for n in larger)


def test_shares_that_binary_fractions_do_not_hit():
    hundred = list(range(100))
    for percent in (1, 7, 29, 57, 58, 100):
        assert sum(value < threshold(percent / 100, hundred) for value in hundred) == percent


def test_rows_that_are_equally_hard_are_hard_together_or_not_at_all():
    assert threshold(0.5, [1, 1, 1, 2]) == 1
    assert threshold(0.75, [1, 1, 1, 2]) == 2


def test_all_of_it_is_everything_also_among_rows_never_seen():
    assert threshold(1.0, [0.0, 1.0]) > 1e30


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"share is .*; it must be above 0 and at most 1"):
        Budget(share)
