"""What is kept of a training, and what is made of it when it is damaged or cannot be written."""

import time

import pytest
import torch

from lrsl.nn import kept as module
from lrsl.nn import randomness
from lrsl.nn.kept import MANIFEST, STATE, Kept, copied, size_of

SAID = "what was kept of the view is damaged; its training starts anew\n"


def kept_in(place, **state):
    kept = Kept(place, "view", minutes=99)
    kept.keep({"weights": torch.ones(3), **state}, "the end of epoch 1 of 2")
    kept.wait()
    return kept


def test_the_last_state_counts_and_no_other_stays(tmp_path):
    place = tmp_path / "KEY.training"
    kept = kept_in(place, number=1)
    kept.keep({"number": 2}, "the end of epoch 2 of 2")
    kept.wait()
    (folder,) = place.iterdir()
    taken = Kept(place, "view", minutes=99)
    assert taken.read() == folder
    assert torch.load(folder / STATE, weights_only=True) == {"number": 2}
    assert (taken.reached, taken.earlier >= kept.earlier) == ("the end of epoch 2 of 2", True)
    taken.discard()
    assert list(tmp_path.iterdir()) == []


def test_seconds_add_up(tmp_path):
    kept = kept_in(tmp_path / "place")
    first = Kept(tmp_path / "place", "view", minutes=99)
    first.read()
    assert 0 <= first.earlier <= kept.seconds()
    first.earlier = 100.0
    first.keep({}, "the end of epoch 2 of 2")
    first.wait()
    second = Kept(tmp_path / "place", "view", minutes=99)
    second.read()
    assert second.earlier >= 100


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"files": {"state.pt": 1}, "reached": 2}', b"\xff", b"[" * 100_000, None]
)
def test_a_manifest_that_says_something_else_is_no_state(tmp_path, capsys, content):
    kept_in(tmp_path / "place")
    (path,) = (tmp_path / "place").glob(f"*/{MANIFEST}")
    path.unlink() if content is None else path.write_bytes(content)
    assert Kept(tmp_path / "place", "view", minutes=99).read() is None
    assert capsys.readouterr().out == SAID
    assert not (tmp_path / "place").exists()


def test_nothing_that_is_loaded_is_executed(tmp_path):
    kept_in(tmp_path / "place")
    (path,) = (tmp_path / "place").glob(f"*/{STATE}")
    torch.save({"weights": test_seconds_add_up}, path)
    assert Kept(tmp_path / "place", "view", minutes=99).read() is None  # its digest is another


def test_what_cannot_be_written_ends_no_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    kept = kept_in(tmp_path / "file" / "place")
    kept.keep({}, "the end of epoch 2 of 2")
    said = capsys.readouterr().out
    assert said.startswith("the state of the view is not kept (")
    assert said.count("\n") == 1  # once
    assert kept.reached == ""


def test_files_of_others_are_copied_and_not_linked(tmp_path):
    best = tmp_path / "best.ckpt"
    best.write_bytes(b"one")
    kept = Kept(tmp_path / "place", "view", minutes=99)
    for number in range(3):
        kept.keep({"number": number}, "", {"best.ckpt": best})
        kept.wait()
    with best.open("r+b") as file:  # in place, as some file systems have it
        file.write(b"two")
    folder = Kept(tmp_path / "place", "view", minutes=99).read()
    assert folder is not None
    assert (folder / "best.ckpt").read_bytes() == b"one"


def test_a_state_is_due_when_keeping_it_costs_a_fiftieth(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    kept = Kept(tmp_path, "view", minutes=15)
    kept.expect(int(0.95 * module.BYTES_PER_SECOND))  # a second, all told
    now[0] = 49.0
    assert not kept.is_due(whole=True)
    now[0] = 50.5
    assert kept.is_due(whole=True)
    assert not kept.is_due(whole=False)
    now[0] = 900.0
    assert kept.is_due(whole=False)
    kept._last, kept._cost = 900.0, 30.0
    now[0] = 900.0 + 899.0
    assert not kept.is_due(whole=True)


def test_a_copy_shares_nothing():
    state = {"a": [torch.zeros(2), (torch.ones(3, dtype=torch.float16), "text")], "b": 1.5}
    copy = copied(state)
    state["a"][0].add_(1)
    assert torch.equal(copy["a"][0], torch.zeros(2))
    assert copy["b"] == 1.5
    assert size_of(state) == 2 * 4 + 3 * 2


def test_random_numbers_go_on(tmp_path):
    import random

    import numpy as np

    def draw():
        return [random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: NPY002

    before = randomness.state()
    torch.save(before, tmp_path / "state.pt")
    drawn = draw()
    time.sleep(0)
    randomness.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == drawn
