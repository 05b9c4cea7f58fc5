"""The epochs and steps of a training in a plain loop, which goes on where an earlier process was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lrsl import stopping
from lrsl.nn import randomness
from lrsl.nn.kept import STATE, Kept, copied, size_of


class Progress:
    """Gives the batches of each epoch in random order, and keeps the state of what is trained between them.

    Args:
        kept: where; None keeps nothing.
        epochs: passes over the rows.
        rows: how many there are.
        batch_size: rows per step.
        parts: what has a state, by name, the network as `network`; untrained, and as it was left when it is taken up.
    """

    def __init__(self, kept: Kept | None, epochs: int, rows: int, batch_size: int, parts: Mapping[str, Any]) -> None:
        self.kept = kept
        self.epochs = epochs
        self.rows = rows
        self.batch_size = batch_size
        self.parts = parts
        self._epoch, self._step = 0, 0
        self._order: Tensor | None = None
        if kept is not None:
            self._take_up(kept)

    def batches(self) -> Iterator[Tensor]:
        """Yield the rows `(n,)` of each step that is left; the caller makes the step before it asks for the next."""
        while self._epoch < self.epochs:
            if self._order is None:
                self._order = torch.randperm(self.rows)
            batches = self._order.split(self.batch_size)
            while self._step < len(batches):
                if self.kept is not None:
                    stopping.begin_step()
                yield batches[self._step]
                self._step += 1
                if self.kept is not None:
                    self._keep(self.kept, whole=self._step == len(batches))
            self._epoch, self._step, self._order = self._epoch + 1, 0, None

    def _take_up(self, kept: Kept) -> None:
        folder = kept.read()
        if folder is None:
            kept.expect(3 * size_of(list(self.parts["network"].parameters())))
            return
        state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self._epoch, self._step, self._order = state["epoch"], state["step"], state["order"]
        randomness.restore_torchs(state["random"])
        print(f"continuing {kept.what} after {kept.reached}", flush=True)

    def _keep(self, kept: Kept, *, whole: bool) -> None:
        """Keep the state after a step where it is time to, or where the process is told to stop."""
        stopping.end_step()
        if kept.is_due(whole=whole) or stopping.asked():
            start = time.monotonic()
            state = {name: part.state_dict() for name, part in self.parts.items()}
            state |= {"epoch": self._epoch, "step": self._step, "order": self._order, "random": randomness.torchs()}
            place = f"the end of epoch {self._epoch + 1}" if whole else f"step {self._step} of epoch {self._epoch + 1}"
            kept.keep(copied(state), f"{place} of {self.epochs}", spent=time.monotonic() - start)
        if stopping.asked():
            kept.wait()
            stopping.check()
