"""A run's life, as its folder tells it: finished, failed, or neither.

A finished run leaves its results and, last, the configuration they are of. A failed run leaves results that say why. A
run that has only started, or was interrupted, leaves neither: it starts again, and takes the stages it was through with
from the store.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeGuard

from lrsl.config import identity
from lrsl.config.schema import Config
from lrsl.data import load_corpus
from lrsl.run import results
from lrsl.run.commit import commit

CONFIGURATION = "config.json"


def results_of(config: Config, configuration: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """Return the results in a folder if they are of this run, finished, with the same data and code; else None.

    Args:
        config: the run.
        configuration: the same as plain data.
        folder: where a run leaves its results.

    Raises:
        InputError: the data cannot be read.
    """
    if not _is_of(folder / CONFIGURATION, configuration):
        return None
    known = results.read(folder)
    if not _is_finished(known) or known.get("versions", {}).get("lrsl") != version("lrsl"):
        return None
    same_data = known.get("data") == load_corpus(config.dataset, config.data_dir).fingerprint()
    return known if same_data else None


def record_finish(configuration: dict[str, Any], folder: Path) -> None:
    """Note which configuration the results in a folder are of; to be called when those are written."""
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / CONFIGURATION).write_text(f"{text}\n", encoding="utf-8")


def record_failure(configuration: dict[str, Any], folder: Path, reason: str) -> None:
    """Write why a run failed as its results, unless there are finished ones that it was not to replace."""
    if _is_finished(results.read(folder)) and not configuration["rerun"]:
        return
    failed = {"status": "failed", "error": reason, **results.settings(configuration), "commit": commit()}
    results.write(folder, failed)


def _is_finished(known: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return known is not None and known.get("status") == "finished"


def _is_of(marker: Path, configuration: dict[str, Any]) -> bool:
    try:
        done = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(done, dict) and identity.same_run(done, configuration)
