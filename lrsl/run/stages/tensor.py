"""A tensor as a stage's result."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

TENSOR = "tensor"


def save(values: Tensor, folder: Path) -> None:
    """Save a tensor as a stage's result."""
    save_file({TENSOR: values.contiguous()}, folder / f"{TENSOR}.safetensors")


def load(folder: Path) -> Tensor:
    """Load a tensor that is a stage's result."""
    return load_file(folder / f"{TENSOR}.safetensors")[TENSOR]
