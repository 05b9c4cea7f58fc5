"""Random choices that come out the same on every platform and every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of choices from a seed.

    Everything rests on `random.Random.random`, the one method whose sequence Python promises to keep for a given seed;
    `choice` and `shuffle` have changed between versions.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self._random() < probability

    def below(self, n: int) -> int:
        """Return an integer in [0, n), each as likely as the other."""
        return int(self._random() * n)

    def one_of(self, items: Sequence[T]) -> T:
        """Return an item, each as likely as the other."""
        return items[self.below(len(items))]

    def early_one_of(self, items: Sequence[T]) -> T:
        """Return an item, the likelier the earlier it stands: people have favourite phrases, and rare ones."""
        return items[min(self.below(len(items)), self.below(len(items)))]

    def shuffle(self, items: list[T]) -> None:
        """Put the items in random order, in place (Fisher-Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
