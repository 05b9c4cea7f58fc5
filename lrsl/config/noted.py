"""What Hydra notes of a run beside its results, in `.hydra/` and `multirun.yaml`, without secrets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from lrsl.masking import masked, masked_command

FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""What `.hydra/` holds."""


def mask(files: Iterable[Path]) -> None:
    """Take the secrets out of YAML files that Hydra has written; a file that holds none stays as it is."""
    for file in files:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), _LOADER)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        shown = _shown(masked(content))
        if shown != content:
            partial = file.with_suffix(".partial")
            partial.write_text(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), encoding="utf-8")
            partial.replace(file)


def of_job(folder: Path, subfolder: str | None) -> list[Path]:
    """Return the files that Hydra writes into a job's folder."""
    return [] if subfolder is None else [folder / subfolder / file for file in FILES]


def of_sweep(folder: Path) -> list[Path]:
    """Return the file that Hydra writes into the folder of sweeps."""
    return [folder / "multirun.yaml"]


def _shown(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _joined(value) if key == "override_dirname" else _shown(value) for key, value in node.items()}
    if isinstance(node, list):
        return [masked_command([item])[0] if isinstance(item, str) else _shown(item) for item in node]
    return node


def _joined(overrides: Any) -> Any:
    return ",".join(masked_command(overrides.split(","))) if isinstance(overrides, str) else overrides


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
