"""The precision that a machine computes in fastest without losing accuracy."""

from __future__ import annotations

import functools

import torch


@functools.cache
def native_precision(accelerator: str) -> str:
    """Return `bf16-mixed` where the accelerator computes bfloat16 natively, else `32-true`."""
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in {"auto", "cpu"} and not torch.backends.mps.is_available():
        # before torch.cpu.get_capabilities() these were the only way to ask; they still stand in every version
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, lambda: False)() for name in asked)
    else:
        native = False
    return "bf16-mixed" if native else "32-true"
