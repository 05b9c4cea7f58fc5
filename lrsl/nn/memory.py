"""Memory given back between one network and the next."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

import torch


def release() -> None:
    """Give back what a run held, so that memory does not grow over a sweep."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError, TypeError):  # glibc keeps what was freed until told; others lack the call
        ctypes.CDLL(None).malloc_trim(0)
