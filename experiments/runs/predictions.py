"""The predictions of a run, a line per test sample."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runs.collect import Run, predictions_file
from lrsl.run import shapes
from lrsl.strict_json import parsed

logger = logging.getLogger("experiments")


def predictions(run: Run) -> list[dict[str, Any]]:
    """Return the lines of predictions.jsonl, or of its compressed form; none where a run left none.

    Damaged ones are left out with a warning.

    They are read anew each time: all runs of a large sweep together do not fit into a small machine's memory.
    """
    return lines_of(predictions_file(run.folder), shapes.PREDICTION, shapes.MAY_BE_PREDICTED)


def lines_of(
    path: Path | None, needed: Mapping[str, shapes.Is], may: Mapping[str, shapes.Is] | None = None
) -> list[dict[str, Any]]:
    """Return the lines of a JSON lines file, compressed or not; none without one, or, with a warning, if it is damaged.

    Args:
        path: the file, if there is one.
        needed: the kind of each key that every line must have.
        may: the kind of each key that a line may have.
    """
    if path is None:
        return []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines: list[dict[str, Any]] = [parsed(line) for line in file]
        for number, line in enumerate(lines, start=1):
            if key := shapes.wrong(line, needed, may):
                raise ValueError(f"line {number}: {key} is missing or of the wrong kind")
        return lines
    except (OSError, EOFError, ValueError, zlib.error) as error:
        logger.warning("%s is damaged and left out (%s)", path, " ".join(str(error).split()))
        return []
