"""What the results of stages are made of, in plain data: the keys under which the store keeps them."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lrsl.nn.pretrained import fingerprint
from lrsl.run import provenance, sources
from lrsl.run.stages.context import RunContext
from lrsl.training.trainer import device, precision

LIBRARIES = ("torch", "transformers", "tokenizers", "pytorch-lightning", "sentence-transformers", "torchmetrics")
LIBRARIES_OF_LLMS = ("peft", "bitsandbytes")
LIBRARIES_OF_VIEWS = ("scikit-learn", "scipy", "numpy")
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
        "devices": [trainer.devices, trainer.num_nodes, trainer.strategy],
        # sums round by how they are shared out
        "threads": torch.get_num_threads() if device(trainer) == "cpu" else None,
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


def source(component: object) -> dict[str, Any]:
    """Return what the code of a component comes to: this package's, and the modules of its class and their imports.

    A class of the user's own may call whatever this package has. One whose source cannot be known is never the same
    again.
    """
    classes = [f"{of.__module__}.{of.__qualname__}" for of in type(component).__mro__[:-1]]
    own = [name for name in classes if name.partition(".")[0] not in (sources.OWN, "typing", "abc")]
    found = _read(own)
    return {"rules": code("reranking"), **({"lrsl": provenance.code(), "own": found} if own else {})}


def _read(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what the modules of names, and the files these mention, come to; never the same where it is not known."""
    try:
        return {name: {**sources.sources(name), **sources.files_named(name)} for name in names}
    except sources.UnknownSourceError:
        return {"unknown": {"": uuid.uuid4().hex}}


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return hashes of the weights, files and source of the user's own that the settings of a component name.

    Raises:
        InputError: weights are neither in a folder nor reachable.
    """
    weights = {
        key: fingerprint(value, key) for key, value in provenance.texts(settings, "view") if key.endswith(".pretrained")
    }
    found = weights | {key: provenance.content(path) for key, path in provenance.paths(settings, "view")}
    own = sorted(set(sources.targets(settings)))
    return {**found, "own": _read(own)} if own else found


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package."""
    return {package: importlib.metadata.version(package) for package in packages}


def about(context: RunContext) -> str:
    """Return what a list of the store says of what a run made."""
    return f"{context.corpus.name}, {context.config.model.name}, seed {context.config.seed}"
