"""Fit and judge the rules of recorded runs again, as this version has them; nothing is trained.

The logits and view scores of a recorded run are kept, so that a better rule needs no new runs. What the fitted rule,
the control and other rules beside come to is replaced, and so are the verdicts and what is deployed; the answers of the
classifier, the similarity and the paper's rule stay as the run found them. A view that the run was not asked for is
fitted on its data.

python -m experiments.rejudge experiments/results/banking77 --data-dir DATA
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments.record import AGAIN, INDEX, OURS, REJUDGED, summarise, with_row, zipped
from experiments.report.jobs import jobs_of
from lrsl import files
from lrsl.commands.replay import kept_scores
from lrsl.config import place
from lrsl.config.schema import Config, RuleConfig
from lrsl.errors import InputError
from lrsl.paths import is_file, is_folder
from lrsl.run import results, scored
from lrsl.run.commit import commit
from lrsl.run.finished import CONFIGURATION
from lrsl.run.on_hard import act
from lrsl.run.outcome import measure
from lrsl.run.pipeline import suspects_of
from lrsl.run.reopened import configuration_of
from lrsl.run.rescored import Rescored
from lrsl.run.rules import papers_rule, rules_beside
from lrsl.run.scored import Scored
from lrsl.run.stages.test import Judge, Tested
from lrsl.strict_json import parsed
from lrsl.sweep.summary import MARKDOWN

FORMER = (["label_similarity", "instances", "lexical"],)
"""Views that the fitted rule had by default in earlier versions."""
PREDICTIONS = f"{results.PREDICTIONS}.gz"
HOME = "experiments/results"
OF_RULES = ("fitted", "control", "rules", "verdict", "on_hard")
"""What of results.json is replaced whole."""
BY_RULE = ("selective", "validation")
"""What of it has something of each rule."""
ANSWERS = ("fitted", "control", "deployed", "answer", "beside")
"""What of a prediction is replaced, with the answers of the user's own rules."""


def rejudge(folder: Path, anew: Rescored) -> None:
    """Judge the rules of the runs below a folder of recorded results again, and write what they come to in place.

    Args:
        folder: one of the folders in the recorded results; its index is the README.md beside it.
        anew: fits views that a run has not been asked for.

    Raises:
        InputError: it is none of the recorded results, there are no runs that have kept their scores, their data are
            others, or something of them is missing or damaged; then nothing is written.
    """
    given, folder = folder, folder.resolve()
    runs = sorted(path.parent for path in folder.rglob(results.SCORES)) if is_folder(folder) else []
    if not runs:
        raise InputError(f"{given} holds no runs that have kept {results.SCORES}; name a folder of recorded results")
    index = folder.parent / INDEX
    if not is_file(index) or f"| `{folder.name}/` |" not in index.read_text(encoding="utf-8"):
        raise InputError(f"{given} is not entered in {index}; name a folder that was recorded, as {HOME}/banking77")
    for run in runs:
        if missing := [name for name in (CONFIGURATION, PREDICTIONS) if not is_file(run / name)]:
            raise InputError(f"{run} has no {missing[0]}; record it again")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        made = Path(scratch) / folder.name
        shutil.copytree(folder, made)
        for run in runs:
            print(f"{run} …", file=sys.stderr, flush=True)
            _judge(run, made / run.relative_to(folder), anew)
        if (made / MARKDOWN).is_file():
            jobs = jobs_of(made)
            places = {job.run.folder: job.run.folder.relative_to(made) for job in jobs if job.run is not None}
            summarise(jobs, places, made)
        _swap(folder, made)
    files.write(index, _entered(index.read_text(encoding="utf-8"), folder.name))


def _entered(text: str, name: str) -> str:
    """Return an index whose row of a name says at which commit its runs were judged again."""
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}/` |"))
    cells = row.split(" | ")
    cells[2] = f"{cells[2].partition(AGAIN)[0]}{AGAIN}`{commit()}`"
    return with_row(text, name, " | ".join(cells))


def _swap(folder: Path, made: Path) -> None:
    """Put a new folder in the place of another, which stands beside it then; either is whole at any time."""
    before = made.with_name(f"{made.name} before")
    folder.rename(before)
    try:
        made.rename(folder)
    except BaseException:
        before.rename(folder)
        raise


def _judge(run: Path, made: Path, anew: Rescored) -> None:
    """Judge the rules of one run again, and write what changes into a copy of its folder."""
    config = _with_views_of_now(configuration_of(run))
    if config.reranker.on_hard == "defer":
        raise InputError(f"{run} has reranker.on_hard=defer; who was asked then is not asked again, so run it again")
    data, folds = anew.data_of(run, config)
    corpus = data if folds is None else folds.corpus
    kept, before = scored.read(run), results.read(run) or {}
    _check(run, kept, corpus.test.labels, before)
    paper, beside = papers_rule(config), rules_beside(config)
    scores = {}
    for rule in (paper, *beside):
        _, val, test = kept_scores(run, rule, anew)
        scores[rule.name] = {"val": val, "test": test}
    similarity = {split: of_views[0] for split, of_views in scores[paper.name].items()}
    judge = Judge(corpus, kept.logits)
    others = judge.beside(beside, scores)
    tested = Tested(kept.logits, similarity, judge(paper, scores[paper.name]), others)
    measured = measure(config, corpus, tested, act(config, corpus, tested, scores), asked=config)
    after = measured.results
    changed = {key: after[key] for key in OF_RULES if key in after}
    for key in BY_RULE:
        changed[key] = before.get(key, {}) | {rule.name: after[key][rule.name] for rule in beside}
    texts = config.dataset.source == OURS
    names = {*ANSWERS, *(rule.name for rule in beside)}
    _write_predictions(run, made, [{key: line[key] for key in names & line.keys()} for line in measured.predictions])
    if folds is not None:
        suspects = suspects_of(corpus, kept.logits["val"], [*beside, paper], scores)
        lines = [line if texts else line | {"text": ""} for line in suspects]
        (made / f"{results.SUSPECTS}.gz").write_bytes(zipped([_line(line) for line in lines]))
    views = {rule.name: rule.views for rule in (paper, *beside)}
    scored.write(made, corpus, kept.logits, views, scores)
    settings = parsed((run / CONFIGURATION).read_text(encoding="utf-8"))
    settings["reranker"]["fitted"] = asdict(config.reranker.fitted)
    (made / CONFIGURATION).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    results.write(made, before | changed | {REJUDGED: commit()})


def _with_views_of_now(config: Config) -> Config:
    """Return the configuration of a run; where its views are those of an earlier default, with those of now."""
    fitted = config.reranker.fitted
    if fitted.views in FORMER:
        fitted = replace(fitted, views=RuleConfig().views)
    return replace(config, reranker=replace(config.reranker, fitted=fitted))


def _check(run: Path, kept: Scored, labels: Sequence[int], before: Mapping[str, Any]) -> None:
    """Check that the logits are those of which results.json tells."""
    accuracy = (kept.logits["test"].argmax(-1) == torch.tensor(labels)).double().mean().item()
    if abs(accuracy - before["origin"]["accuracy"]) > 1e-6:
        raise InputError(f"{run / results.SCORES} is not of the run that {results.RESULTS} tells of; record it again")


def _write_predictions(run: Path, made: Path, changed: Sequence[Mapping[str, Any]]) -> None:
    """Write a run's predictions with other answers of the rules."""
    with gzip.open(run / PREDICTIONS, "rt", encoding="utf-8") as file:
        lines = [parsed(line) for line in file]
    if len(lines) != len(changed):
        raise InputError(f"{run / PREDICTIONS} has {len(lines)} lines for {len(changed)} test samples; record it again")
    (made / PREDICTIONS).write_bytes(zipped([_line({**line, **new}) for line, new in zip(lines, changed, strict=True)]))


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge recorded runs again, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("rejudge"),
        description="Fit and judge the rules of recorded runs again, as this version has them. Nothing is trained.",
        epilog=f"example: {place.typed('rejudge')} experiments/results/banking77 --data-dir DATA",
    )
    parser.add_argument("folder", nargs="+", type=Path, help="folders of the recorded results")
    parser.add_argument("--data-dir", type=Path, required=True, metavar="FOLDER", help="where the data of the runs lie")
    parser.add_argument(
        "--pretrained",
        metavar="FOLDER",
        help="where the text embedding of the runs lies as it was pretrained, if no longer where they say",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        if not is_folder(given.data_dir):
            raise InputError(f"--data-dir {given.data_dir} is no folder; name the one that holds the data of the runs")
        anew = Rescored(given.data_dir, given.pretrained)
        for folder in given.folder:
            rejudge(folder, anew)
            print(f"{folder}: judged again, as its row in {folder.resolve().parent / INDEX} says")
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
