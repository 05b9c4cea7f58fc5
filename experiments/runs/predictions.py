"""The predictions of a run, a line per test sample."""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any

from experiments.runs.collect import Run, predictions_file

logger = logging.getLogger("experiments")

NEEDED = ("id", "text", "gold", "origin", "rerank", "hard", "hardness", "top_k_before", "top_k_after")


def predictions(run: Run) -> list[dict[str, Any]]:
    """Return the lines of predictions.jsonl, or of its compressed form; none where a run left none.

    Damaged ones are left out with a warning.

    They are read anew each time: all runs of a large sweep together do not fit into a small machine's memory.
    """
    path = predictions_file(run.folder)
    if path is None:
        return []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines: list[dict[str, Any]] = [json.loads(line) for line in file]
        for key in NEEDED:
            [line[key] for line in lines]
        return lines
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and left out (%s)", path, " ".join(str(error).split()))
        return []
