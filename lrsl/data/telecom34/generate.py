"""The corpus from the seed: how many calls each label gets in each split, and calls until there are enough."""

from __future__ import annotations

from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.telecom34.calls import Call
from lrsl.data.telecom34.draw import Draw
from lrsl.data.telecom34.phrases import labels

SEED = 34
SIZES = {
    "small": {"train": 640, "val": 200, "test": 400},
    "full": {"train": 2000, "val": 500, "test": 1000},
}
"""Number of calls in each split, for each size of the corpus."""
FEWEST = {"small": {"train": 6, "val": 1, "test": 2}, "full": {"train": 6, "val": 2, "test": 3}}
"""Least number of calls per label in each split, for each size of the corpus."""


def load(size: str = "small") -> Corpus:
    """Return the corpus, made anew from `SEED`: the same on every machine, in about a second.

    Args:
        size: `small`, of brief calls, or `full`.
    """
    known = labels()
    by_name = {label.name: label for label in known}
    draw = Draw(SEED)
    seen: set[str] = set()
    splits = {}
    for split, calls in SIZES[size].items():
        order = [row for row, n in enumerate(counts(calls, FEWEST[size][split])) for _ in range(n)]
        draw.shuffle(order)
        turns = [_new_call(row, split == "train", draw, seen, brief=size == "small") for row in order]
        splits[split] = Split(
            ids=[f"{split}-{i}" for i in range(calls)], texts=[as_text(t) for t in turns], labels=order, turns=turns
        )
    return Corpus(
        name="telecom34",
        labels=list(by_name),
        label_texts=[label.text for label in known],
        groups=[label.group for label in known],
        **splits,
    )


def counts(size: int, fewest: int) -> list[int]:
    """Return how many of `size` calls each label gets: as in CMCC-34, but no label fewer than `fewest`.

    Labels below the floor get the floor; the rest is shared among the others in proportion, by largest remainder.
    """
    weights = [label.frequency for label in labels()]
    floored: set[int] = set()
    while True:
        free = [i for i in range(len(weights)) if i not in floored]
        rest, total = size - fewest * len(floored), sum(weights[i] for i in free)
        below = {i for i in free if weights[i] * rest < fewest * total}
        if not below:
            break
        floored |= below
    shares = [fewest if i in floored else weights[i] * rest // total for i in range(len(weights))]
    by_remainder = sorted(free, key=lambda i: (-(weights[i] * rest % total), i))
    for i in by_remainder[: size - sum(shares)]:
        shares[i] += 1
    return shares


def as_text(turns: list[Turn]) -> str:
    """Return the call as one text, a line per turn with its speaker."""
    return "\n".join(f"{turn.speaker.capitalize()}: {turn.text}" for turn in turns)


def _new_call(row: int, training: bool, draw: Draw, seen: set[str], *, brief: bool) -> list[Turn]:
    """Return a call whose customer does not say word for word what one in `seen` said; add it to `seen`."""
    known = labels()
    by_name = {label.name: label for label in known}
    while True:
        call = Call(known[row], by_name, training, draw)
        turns = call.tell_briefly() if brief else call.tell()
        said = "\n".join(turn.text for turn in turns if turn.speaker == "customer").lower()
        if said not in seen:
            seen.add(said)
            return turns
