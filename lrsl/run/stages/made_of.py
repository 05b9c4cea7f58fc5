"""What the results of stages are made of, in plain data: the keys under which the store keeps them."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrsl.run.stages.context import RunContext
from lrsl.training.trainer import device, precision

LIBRARIES = ("torch", "transformers", "tokenizers", "pytorch-lightning", "sentence-transformers")
LIBRARIES_OF_LLMS = ("peft", "bitsandbytes")
EVERY_STAGE = ("core.py", "nn", "training", "run/stages")
"""What runs in every stage, relative to the package; what stages add is given by `rooms`."""


def conditions(context: RunContext, *rooms: str) -> dict[str, Any]:
    """Return what a stage depends on besides its data, its settings and perhaps the seed.

    Args:
        context: the run.
        rooms: the parts of this package whose code the stage runs besides what every stage does.
    """
    trainer = context.config.trainer
    return {
        "precision": precision(trainer),
        "device": device(trainer),
        "devices": trainer.devices,
        "code": code(*rooms),
        "libraries": versions(LIBRARIES),
    }


@functools.cache
def code(*rooms: str) -> str:
    """Return a hash of the code that a stage runs."""
    here = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for name in (*EVERY_STAGE, *rooms):
        files = sorted((here / name).rglob("*.py")) if (here / name).is_dir() else [here / name]
        for file in files:
            digest.update(f"{file.relative_to(here).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def source(component: object) -> str:
    """Return a hash of the module of a component, which need not be this package's; empty where it has no file."""
    try:
        text = Path(inspect.getfile(type(component))).read_bytes()
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text).hexdigest()[:16]


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package."""
    return {package: importlib.metadata.version(package) for package in packages}


def about(context: RunContext) -> str:
    """Return what a list of the store says of what a run made."""
    return f"{context.corpus.name}, {context.config.model.name}, seed {context.config.seed}"
