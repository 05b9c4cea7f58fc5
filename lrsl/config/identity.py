"""What makes a run the same run: a configuration as plain data, its digest, and the folder that bears it.

Secrets, such as a password in an address, make no other run: a run whose password has changed is the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lrsl.masking import masked_configuration, without_credentials

NO_EFFECT = ("logger", "rerun", "cache", "cache_dir", "trainer.progress", "trainer.checkpoint_minutes")
"""Keys that cannot change a result, so that runs which differ in nothing else are the same run."""


def plain(composed: DictConfig) -> dict[str, Any]:
    """Return a composed configuration without Hydra's own part as JSON has it, interpolations resolved."""
    job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    if type(OmegaConf.select(job, "reranker.power")) is int:  # 2 and 2.0 are the same power
        job.reranker.power = float(job.reranker.power)
    resolved: dict[str, Any] = json.loads(json.dumps(OmegaConf.to_container(job, resolve=True)))
    return resolved


def same_run(configuration: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two plain configurations have the same results."""
    return _without(configuration, NO_EFFECT) == _without(other, NO_EFFECT)


def digest(configuration: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that stand for all of a plain configuration that matters, the seed aside."""
    text = json.dumps(_without(configuration, (*NO_EFFECT, "seed")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def fingerprint(configuration: dict[str, Any]) -> str:
    """Return sixteen hexadecimal digits that stand for all of a plain configuration that matters, its seed included."""
    text = json.dumps(_without(configuration, NO_EFFECT), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder(composed: DictConfig) -> str:
    """Return where a run's results go, below `outputs/` or `multirun_outputs/`: the same for the same configuration."""
    configuration = plain(composed)
    names = (file_name(without_credentials(str(configuration[group]["name"]))) for group in ("dataset", "model"))
    return "/".join([*names, digest(configuration), f"seed{configuration['seed']}"])


def file_name(text: str) -> str:
    """Return text as a name for a file, on any file system."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("._")[:80] or "_"


def _without(configuration: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(masked_configuration(configuration)))
    for key in keys:
        *parents, last = key.split(".")
        node = kept
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    return kept
