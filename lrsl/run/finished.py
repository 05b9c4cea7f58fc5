"""A run's life, as its folder tells it: finished, failed, or neither.

A finished run leaves its results, what they were made of and which files belong to them, with their hashes, and, last,
the configuration they are of, which the results say themselves. It is whole, or it is run again. A failed run leaves
results that say why. A run that has only started, or was interrupted, leaves neither: it starts again, and takes the
stages it was through with from the store. So does one whose weights, code, libraries or data have changed since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeGuard

from lrsl import files, fingerprint
from lrsl.config import identity
from lrsl.config.schema import Config
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.masking import masked_configuration
from lrsl.paths import is_file, is_folder
from lrsl.run import results
from lrsl.run.commit import commit
from lrsl.run.provenance import difference, provenance, settled
from lrsl.strict_json import parsed

CONFIGURATION = "config.json"
MADE_OF = "made_of.json"
LEFT = "left"
OF = "configuration"
"""The key of results under which the fingerprint of their configuration stands."""
HARD = "hard_samples.csv"
RERANKER = "reranker"
"""The folder with the reranker that a run deploys."""
TRAINED = ("classifier", "embedding", "second", RERANKER)
"""The folders with what a run has trained, and with the reranker that it deploys."""
DEEPEST = 4
"""Folders between that of all runs and that of one, as in `outputs/telecom34/minilm/0123abcd/seed0`."""
SAVED_RERANKER = "reranker.json"  # the name it has in lrsl.plugin.saving, which loads torch


def results_of(config: Config, configuration: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """Return the results in a folder if they are of this run, finished, and it would give the same again; else None.

    Says in a line why a run that has finished is run again.

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
    if not _is_finished(known):
        return None
    reason = _why_again(config, configuration, folder, known)
    if reason:
        print(f"running again, since {reason}: {folder}", flush=True)
        return None
    return known


def finished_results(folder: Path) -> dict[str, Any]:
    """Return the results of a finished run.

    Raises:
        InputError: the folder is none, or not that of a finished run.
    """
    if not is_folder(folder):
        raise InputError(f"{folder} is no folder; name that of a finished run")
    told = results.read(folder)
    if told is None:
        if is_file(folder / SAVED_RERANKER):
            raise InputError(
                f"{folder} is a saved reranker, which has no classifier; lrsl rerank takes it, with logits of yours"
            )
        places = ("/".join(["*"] * depth) for depth in range(1, DEEPEST + 1))
        inside = next((path.parent for place in places for path in folder.glob(f"{place}/{results.RESULTS}")), None)
        hint = f", such as {inside}" if inside is not None else ""
        raise InputError(
            f"{folder} is not the folder of a finished run, for it has no {results.RESULTS}, or a damaged one; name "
            f"one that has been finished{hint}"
        )
    if told.get("status") != "finished":
        raise InputError(f"the run in {folder} has failed ({told.get('error')}); run it again")
    return told


def _why_again(config: Config, configuration: dict[str, Any], folder: Path, known: dict[str, Any]) -> str:
    """Return in a clause why a run that has finished is to be run again; empty if it is not."""
    made_of = _read(folder / MADE_OF)
    if reason := _damage(made_of, configuration, folder):
        return reason
    if (used := version("lrsl")) != (was := known["versions"]["lrsl"]):  # the results are as they were left
        return f"lrsl is {used} and was {was}"
    if known.get(OF, of := identity.fingerprint(asdict(config))) != of:
        return f"{results.RESULTS} is of another configuration"
    if reason := difference(made_of, configuration):
        return reason
    return (
        "" if known["data"] == load_corpus(config.dataset, config.data_dir).fingerprint() else "the data have changed"
    )


def record_finish(configuration: dict[str, Any], folder: Path, made_of: dict[str, Any] | None = None) -> None:
    """Note which configuration the results in a folder are of; to be called when those are written.

    Args:
        configuration: the run's, as plain data.
        folder: where the results are.
        made_of: what `provenance` returned before the run; None takes what it returns now.
    """
    now = provenance(configuration)
    left = {name: fingerprint.sha256(path) for name, path in _left(configuration, folder)}
    made_of = now if made_of is None else settled(made_of, now)
    hashed = fingerprint.hashes_of_files(folder / name for name in left)
    _write(folder / MADE_OF, {**made_of, LEFT: left, "hashed": [*made_of["hashed"], *hashed]})
    _write(folder / CONFIGURATION, masked_configuration(configuration))


def record_failure(configuration: dict[str, Any], folder: Path, reason: str) -> None:
    """Write why a run failed as its results, unless there are finished ones that it was not to replace."""
    if _is_finished(results.read(folder)) and not configuration["rerun"]:
        return
    failed = {"status": "failed", "error": reason, **results.settings(configuration), "commit": commit()}
    results.write(folder, failed)


def _damage(made_of: Any, configuration: dict[str, Any], folder: Path) -> str:
    """Return in a clause what is no longer as the run has left it; empty if all is.

    Args:
        made_of: what stands beside its results.
        configuration: the run's, as plain data.
        folder: where it has left them.
    """
    try:
        left = dict(made_of[LEFT])
        for name, digest in left.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if fingerprint.sha256(folder / name) != digest:
                return f"{name} has changed"
        if added := next((name for name, _ in _left(configuration, folder) if name not in left), None):
            return f"{added} was added"
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f"{error.filename} cannot be read" if isinstance(error, OSError) else "it is not known what it has left"
    return "" if results.RESULTS in left else "it is not known what it has left"


def _left(configuration: dict[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that belong to a run's results, by their names in its folder; logs and the like do not."""
    leaderboard = configuration["dataset"].get("leaderboard")
    alone = (results.RESULTS, results.PREDICTIONS, results.LABELS, results.SCORES, results.SUSPECTS, HARD, leaderboard)
    for name in filter(None, alone):
        if (folder / name).is_file():
            yield name, folder / name
    for name in TRAINED:
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _is_finished(known: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return known is not None and known.get("status") == "finished"


def _is_of(marker: Path, configuration: dict[str, Any]) -> bool:
    done = _read(marker)
    try:
        return isinstance(done, dict) and identity.same_run(done, configuration)
    except (TypeError, AttributeError, KeyError):  # it has other keys than a configuration
        return False


def _read(path: Path) -> Any:
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    files.write(path, f"{json.dumps(content, indent=2, ensure_ascii=False)}\n")
