"""Whether a gain is more than chance, from what the runs of several seeds predicted for each test sample.

All runs of a data set are tested on the same samples, whatever their seed, so both sides of a comparison are paired
over samples and seeds. Evidence is counted by samples: what the seeds make of one sample stays together. The interval
is `lrsl.metrics.clustered_bootstrap_gain`, the p-value `lrsl.metrics.sign_flip_test`; with one seed these are the
bootstrap and McNemar's exact test that the run itself reports. Seeds are taken as they are: the spread over them is the
± beside.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.runs.collect import BESIDE, SYSTEMS, Run, predictions_file
from lrsl import metrics
from lrsl.run import results, shapes
from lrsl.strict_json import parsed

logger = logging.getLogger("experiments")


@dataclass(frozen=True)
class Significance:
    """What a gain is worth.

    Attributes:
        p_value: two-sided; None where it cannot be known.
        low: lower end of the gain's 95 % interval, as a fraction; None where it cannot be known.
        high: upper end.
        unknown: why it cannot be known.
    """

    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class Answers:
    """What a run made of the test samples.

    Attributes:
        ids: the samples' names, `(n,)`.
        hard: whether each is hard, `(n,)`.
        correct: by system whether each is answered rightly, `(n,)`.
    """

    ids: tuple[str, ...]
    hard: NDArray[np.bool_]
    correct: dict[str, NDArray[np.bool_]]


def gain(runs: Sequence[Run], before: str, after: str, *, easy: bool = False) -> Significance:
    """Return what the gain from one system to another is worth within the same runs, one per seed.

    Args:
        runs: at least one run.
        before: `origin`, `rerank`, `similarity`, or `fitted` or `control` where all runs have that.
        after: another of these.
        easy: whether easy samples alone count, those that each run finds easy. The interval is not known then: it would
            be that of a ratio.
    """
    reported = runs[0].results.get("significance")
    if len(runs) == 1 and (before, after) == ("origin", "rerank") and reported and not easy:
        return Significance(reported["p_value"], reported["gain_low"], reported["gain_high"])
    return _compare([(run, run) for run in runs], before, after, easy=easy)


def between(pairs: Sequence[tuple[Run, Run]], system: str = "rerank") -> Significance:
    """Return what the gain from the first run of each pair to the second is worth; each pair shares its seed."""
    return _compare(pairs, system, system)


def _compare(pairs: Sequence[tuple[Run, Run]], before: str, after: str, *, easy: bool = False) -> Significance:
    answers = [(answered(first.folder), answered(second.folder)) for first, second in pairs]
    silent = sorted({run.seed for pair, both in zip(pairs, answers, strict=True) if None in both for run in pair})
    known = [(first, second) for first, second in answers if first is not None and second is not None]
    if silent or not known:
        return Significance(unknown=f"no {results.PREDICTIONS} of {seeds(silent)}")
    if any(before not in first.correct or after not in second.correct for first, second in known):
        return Significance(unknown=f"no {results.PREDICTIONS} with {before} and {after}")
    if len({answers.ids for pair in known for answers in pair}) > 1:
        return Significance(unknown="the runs were not tested on the same samples")
    counted = np.array([~first.hard if easy else np.ones_like(first.hard) for first, _ in known])
    right_before = np.array([first.correct[before] for first, _ in known]) & counted
    right_after = np.array([second.correct[after] for _, second in known]) & counted
    p_value = metrics.sign_flip_test(right_before, right_after)
    if easy:
        return Significance(p_value)
    interval = metrics.clustered_bootstrap_gain(right_before, right_after)
    return Significance(p_value, interval.low, interval.high)


@cache
def answered(folder: Path) -> Answers | None:
    """Return what a run made of the test samples; None where it left no predictions, and a warning if damaged ones.

    Recorded predictions may be compressed, as predictions.jsonl.gz.
    """
    path = predictions_file(folder)
    if path is None:
        return None
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines = [parsed(line) for line in file]
        for line in lines:
            if key := shapes.wrong(line, shapes.ANSWER, shapes.MAY_BE_ANSWERED):
                raise ValueError(f"{key} is missing or of the wrong kind")
        ids = tuple(str(line["id"]) for line in lines)
        systems = [*SYSTEMS, *(system for system in BESIDE if lines and system in lines[0])]
        correct = {system: np.array([line[system] == line["gold"] for line in lines], bool) for system in systems}
        return Answers(ids, np.array([line["hard"] for line in lines], bool), correct)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        logger.warning("%s is damaged and left out (%s)", path, " ".join(str(error).split()))
        return None


def seeds(numbers: Sequence[int]) -> str:
    """Return seeds in words: `seed 3`, `seeds 0–4`, `seeds 0, 2, 4`."""
    return f"seed{'s' if len(numbers) > 1 else ''} {spans(numbers)}"


def spans(numbers: Sequence[int]) -> str:
    """Return ascending numbers with runs of three and more as spans: `0–4, 7`."""
    consecutive: list[list[int]] = []
    for number in numbers:
        if consecutive and number == consecutive[-1][-1] + 1:
            consecutive[-1].append(number)
        else:
            consecutive.append([number])
    parts = [[f"{span[0]}–{span[-1]}"] if len(span) > 2 else map(str, span) for span in consecutive]
    return ", ".join(text for part in parts for text in part)
