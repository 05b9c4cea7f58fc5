"""What is said of a run that is told to stop, and where it stops."""

import os
import signal

import pytest

from lrsl import stopping

COMMAND = "python run.py"


def told_to_stop(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    for _ in range(1000):  # handlers run between two instructions
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_where_it_is_and_says_what_is_kept(number: int) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with stopping.handled(str):
        said = stopping.sentence(number, COMMAND, ["seed=0", "dataset.name=two words"])
        assert said == (
            f"stopped by {signal.Signals(number).name} before anything was trained; "
            "to start again: python run.py seed=0 'dataset.name=two words'"
        )
        stopping.at("embedding")
        with pytest.raises(stopping.Stopped) as stop, stopping.training(lambda: "the end of epoch 1 of 4"):
            told_to_stop(number)
        assert stop.value.status == 128 + number
        assert stopping.sentence(number, COMMAND, []) == (
            f"stopped by {signal.Signals(number).name} at the embedding; what was through before is kept, and its "
            "training up to the end of epoch 1 of 4; to go on from there: python run.py"
        )
        with pytest.raises(stopping.Stopped):
            stopping.at("views")  # had the exception been lost
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_step_comes_to_its_end() -> None:
    with stopping.handled(str):
        stopping.begin_step()
        told_to_stop()
        assert stopping.asked()
        stopping.end_step()
        with pytest.raises(stopping.Stopped):
            stopping.begin_step()


def test_handlers_of_others_stay() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stopping.handled(str):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("argument", "repeated"),
    [
        ("dataset.train=https://user:pass@host/train.csv", False),
        ("dataset.train=https://host/train.csv?token=abc", False),
        ("+reranker.defer.api_key=abc", False),
        ("dataset.train=https://host/train.csv", True),
        ("model.max_tokens=3", True),
    ],
)
def test_a_secret_is_not_repeated(argument: str, repeated: bool) -> None:
    said = stopping.sentence(signal.SIGTERM, COMMAND, [argument])
    assert (argument in said) == repeated
    assert ("the same command" in said) != repeated
