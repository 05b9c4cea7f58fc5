"""Ours: one run through the command line, from which come the classifier alone and both rules on top of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.peers.asked import quoted
from experiments.peers.task import Answers, Task, timed
from lrsl.commands import main as commands
from lrsl.errors import InputError
from lrsl.run import results
from lrsl.run.reopened import reopen
from lrsl.training.trainer import device

SYSTEMS = {
    "origin": ("classifier",),
    "rerank": ("classifier", "confused labels", "embedding", "similarity", "test"),
    "fitted": ("classifier", "confused labels", "embedding", "similarity", "views", "test"),
}
"""The stages of a run that each system takes; val and test are predicted within them, too."""


def measure(task: Task) -> Mapping[str, Answers]:
    """Train, take the stages' seconds from results.json, and answer test by the run opened again.

    The second run takes all that the first has trained. `fitted` answers as it does by default: with the classifier's
    answers where validation says that reranking does not pay.
    """
    with tempfile.TemporaryDirectory() as scratch:
        first = run(task, Path(scratch), "rerank")
        second = run(task, Path(scratch), "fitted")
        told = results.read(first)
        assert told is not None
        with (first / results.PREDICTIONS).open(encoding="utf-8") as lines:
            answered = [json.loads(line) for line in lines]
        papers, fitted = (reopen(place, device=device(task.hardware)) for place in (first, second))
        seconds = {
            "origin": timed(lambda: papers.logits(task.texts))[1],
            "rerank": timed(lambda: papers.predict(task.texts))[1],
            "fitted": timed(lambda: fitted.predict(task.texts))[1],
        }
    if not told["fitted"]["pays"]:
        seconds["fitted"] = seconds["origin"]
    places = {name: number for number, name in enumerate(task.names)}
    return {
        system: Answers(
            [places[row[system]] for row in answered], sum(told["seconds"][stage] for stage in stages), seconds[system]
        )
        for system, stages in SYSTEMS.items()
    }


def run(task: Task, folder: Path, deploy: str) -> Path:
    """Run it as typed, with a store of its own, and return its folder.

    Raises:
        InputError: it has failed; why, it has said itself.
    """
    place = folder / deploy
    if status(["run", *task.overrides, *own(task, folder, place, deploy)]) != 0:
        raise InputError(f"the run of {' '.join(task.overrides)} has failed")
    return place


def own(task: Task, folder: Path, place: Path, deploy: str) -> Sequence[str]:
    """Return what is typed besides what makes the rows."""
    return (
        quoted("model.pretrained", task.encoder),
        quoted("embedding.pretrained", task.encoder),
        f"seed={task.seed}",
        f"reranker.deploy={deploy}",
        "reranker.control=false",
        "logger=csv",
        "trainer.progress=false",
        "cache=true",
        quoted("cache_dir", str(folder / "cache")),
        quoted("hydra.run.dir", str(place)),
    )


def status(words: list[str]) -> int:
    """Return how a command ended."""
    try:
        return commands.main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
