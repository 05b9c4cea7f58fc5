"""What runs say of the labels of their data sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from experiments.runs.collect import Run
from experiments.runs.configurations import Configuration
from lrsl.run import results, shapes
from lrsl.strict_json import parsed

logger = logging.getLogger("experiments")


def labels(run: Run) -> dict[str, Any] | None:
    """Return the content of labels.json; None where a run left none, and a warning if it is damaged."""
    path = run.folder / results.LABELS
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = parsed(path.read_text(encoding="utf-8"))
        if not shapes.of_labels(content):
            raise ValueError("what it says of the labels is missing or of the wrong kind")
        return content
    except (OSError, ValueError) as error:
        logger.warning("%s is damaged and left out (%s)", path, " ".join(str(error).split()))
        return None


def described(
    configurations: Sequence[Configuration], need: str = "counts"
) -> tuple[dict[str, tuple[Run, dict[str, Any]]], list[str]]:
    """Return for each data set the first run whose labels.json has what is needed, with that file's content.

    Args:
        configurations: runs in the order of preference.
        need: the entry of labels.json that must not be empty.

    Returns:
        the runs by data set, and a sentence for each data set that has none.
    """
    runs: dict[str, tuple[Run, dict[str, Any]]] = {}
    without: dict[str, str] = {}
    for configuration in configurations:
        dataset = configuration.dataset
        for run in configuration.runs.values():
            content = None if dataset in runs else labels(run)
            if content is not None and content.get(need):
                runs[dataset] = (run, content)
            elif dataset not in runs:
                without[dataset] = results.LABELS if content is None else f"{results.LABELS} with {need}"
    return runs, [f"{dataset}: no run has {file}." for dataset, file in without.items() if dataset not in runs]
