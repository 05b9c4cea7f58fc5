"""The predictions of a run, a line per test sample."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.runs.collect import Run, predictions_file

logger = logging.getLogger("experiments")

NEEDED = ("id", "text", "gold", "origin", "rerank", "hard", "hardness", "top_k_before", "top_k_after")


def predictions(run: Run) -> list[dict[str, Any]]:
    """Return the lines of predictions.jsonl, or of its compressed form; none where a run left none.

    Damaged ones are left out with a warning.

    They are read anew each time: all runs of a large sweep together do not fit into a small machine's memory.
    """
    return lines_of(predictions_file(run.folder), NEEDED)


def lines_of(path: Path | None, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the lines of a JSON lines file, compressed or not; none without one, or, with a warning, if it is damaged.

    Args:
        path: the file, if there is one.
        needed: the keys that every line must have.
    """
    if path is None:
        return []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines: list[dict[str, Any]] = [json.loads(line) for line in file]
        for key in needed:
            [line[key] for line in lines]
        return lines
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and left out (%s)", path, " ".join(str(error).split()))
        return []
