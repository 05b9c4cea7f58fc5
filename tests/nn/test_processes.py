import threading
import time

import pytest
import torch

from lrsl.nn import processes
from lrsl.nn.processes import AnotherFailedError, Together, agreed, alone, first, gathered, joined, leads, most


class Texts(dict):
    """What processes tell each other, in one process."""

    def check(self, keys):
        return all(key in self for key in keys)

    def set(self, key, value):
        self[key] = value

    def get(self, key):
        return self[key]

    def compare_set(self, key, expected, value):
        return self.setdefault(key, value)


def pair():
    told = Texts()
    return [Together(told, rank, 2, rank, 2) for rank in (0, 1)]


def test_without_others_a_process_leads_and_decides_for_itself():
    assert processes.together() is None
    assert processes.count() == (1, 0)
    assert leads()
    assert agreed(lambda: 7) == 7
    assert most(3) == 3
    values = torch.arange(6).view(3, 2)
    assert torch.equal(gathered(values), values)
    with first():
        pass


def test_the_leading_process_decides_and_the_others_hear_it_in_order():
    leader, other = pair()
    with joined(leader):
        assert leads()
        assert [agreed(lambda: {"a": 1}), agreed(lambda: [2])] == [{"a": 1}, [2]]
    with joined(other):
        assert not leads()
        assert [agreed(pytest.fail), agreed(pytest.fail)] == [{"a": 1}, [2]]


def test_alone_a_process_is_the_only_one():
    with joined(pair()[1]):
        assert processes.count() == (2, 1)
        with alone():
            assert processes.count() == (1, 0)
            assert processes.together() is None
            assert processes.are_several()
            assert not leads()  # which leaves to the first one what is written
        assert processes.count() == (2, 1)
    assert not processes.are_several()


def test_the_others_wait_for_what_the_leading_process_does_first():
    leader, other = pair()
    seen = []

    def follow():
        assert other.hear() is None
        seen.append("other")

    thread = threading.Thread(target=follow)
    thread.start()
    with joined(leader), first():
        assert processes.count() == (1, 0)
        time.sleep(0.05)
        seen.append("leader")
    thread.join()
    assert seen == ["leader", "other"]


def test_all_meet_before_any_goes_on():
    groups, there = pair(), []

    def come(group):
        there.append(group.rank)
        group.meet()
        assert len(there) == 2

    thread = threading.Thread(target=come, args=[groups[1]])
    thread.start()
    come(groups[0])
    thread.join()
    assert [group.met for group in groups] == [1, 1]


def test_who_waits_learns_which_process_failed_first_and_why():
    leader, other = pair()
    leader.raise_if_another_failed()
    other.fail("the disk is full")
    leader.fail("Connection closed by peer")  # which comes of it
    with pytest.raises(AnotherFailedError, match=r"^process 2 of 2 failed: the disk is full$"):
        leader.hear()
    other.raise_if_another_failed()  # its own reason it knows
