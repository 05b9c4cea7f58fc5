"""Where the random numbers of a process stand: what is drawn next, in plain data and tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def state() -> dict[str, Any]:
    """Return where Python's, NumPy's and torch's generators stand, those of the GPUs included."""
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  (what libraries draw from)
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(place), int(has_gauss), float(gauss)],
        "torch": torchs(),
    }


def restore(state: dict[str, Any]) -> None:
    """Let all generators go on from where `state` says they stood."""
    random.setstate(state["python"])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))  # noqa: NPY002
    restore_torchs(state["torch"])


def torchs() -> dict[str, Any]:
    """Return where torch's generators stand."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_torchs(state: dict[str, Any]) -> None:
    """Let torch's generators go on from where `torchs` says they stood."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
