"""What was measured, read again and shown: peers.md."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.tables.table import percent
from lrsl.errors import InputError
from lrsl.metrics import mean_std
from lrsl.run import shapes
from lrsl.strict_json import parsed

logger = logging.getLogger("experiments")

PAGE = "peers.md"
COLUMNS = ("", "accuracy", "training, s", "s per 1,000 texts", "peak memory, MB", "seeds")
TITLES = {
    "linear_svm": "TF-IDF, `LinearSVC`",
    "linear_svm_refitted": "TF-IDF, `LinearSVC`, trained on train and val",
    "sentence_transformers_lr": "frozen sentence-transformers, `LogisticRegression`",
    "sentence_transformers_lr_refitted": "frozen sentence-transformers, `LogisticRegression`, trained on train and val",
    "transformers_trainer": "fine-tuned, transformers' `Trainer`",
    "setfit": "SetFit",
    "autointent": "AutoIntent, `classic-light`",
    "reranked_lr": "frozen sentence-transformers, `LogisticRegression`, with `lrsl.Reranker`",
    "reranked_lr_out_of_fold": "frozen sentence-transformers, `LogisticRegression`, in `lrsl.RerankedClassifier`, "
    "trained on train and val",
    "origin": "a run's classifier alone (`origin`)",
    "rerank": "a run, the paper's rule (`rerank`)",
    "fitted": "a run, the default (`fitted`)",
    "lrsl": "a run",
}
HEAD = """\
# Other tools on the same rows

Written by `python -m experiments.peers`. Every tool starts from the same rows and, where it has one, the same encoder;
train is what it learns from, val is what it may choose by, and test is what it answers; those that take seconds to
train are trained again on both once val has chosen. Accuracies are in %, mean ± standard deviation over seeds, best
first. Training is from texts to a model that is ready to answer; imports do not count. Texts of test are given all at
once. An encoder reads as many tokens of a text as the classifier of the run. Memory is the most that the tool's process
has held, libraries among it; the three rows of a run share one process, and its training seconds are those of its
stages, in which val and test are answered, too. `fitted` gives the classifier's answers where val says that reranking
does not pay. SetFit trains on twenty pairs of both kinds per text, or on as many as come to 32,000 pairs, and on one
at least. AutoIntent has an environment of its own.
"""
SPLITS = ("train", "val", "test")
TOLD: Mapping[str, shapes.Is] = {
    **dict.fromkeys(("peer", "corpus", "encoder", "commit", "machine"), shapes.text),
    **dict.fromkeys(("seed", "memory_mb"), shapes.whole),
    "rows": shapes.having(dict.fromkeys(SPLITS, shapes.whole)),
    "data": shapes.mapped(shapes.text),
    "versions": shapes.mapped(shapes.text),
}
"""What a file says of each peer."""
FIGURES: Mapping[str, shapes.Is] = dict.fromkeys(("accuracy", "train_seconds", "seconds_per_1000"), shapes.number)
MEASURED: Mapping[str, shapes.Is] = {
    "systems": lambda value: shapes.mapped(shapes.having(FIGURES))(value) and len(value) > 0,
    "absent": shapes.text,
}
"""Of which it has either."""
MAY_BE_TOLD: Mapping[str, shapes.Is] = {
    **MEASURED,
    "weights": shapes.maybe(shapes.text),
    "load": shapes.maybe(shapes.number),
}

Result = Mapping[str, Any]


def result(file: Path) -> dict[str, Any] | None:
    """Return what a file holds of one peer and one seed; None where there is none, or it is damaged."""
    try:
        found = parsed(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict) and not shapes.wrong(found, TOLD, MAY_BE_TOLD) and MEASURED.keys() & found.keys():
        return found
    logger.warning("%s is damaged and left out; the same command measures it again", file)
    return None


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all that was measured into a folder."""
    found = (result(file) for file in sorted(folder.glob("*/*/seed*.json")))
    return [one for one in found if one is not None]


def page(found: Sequence[Result]) -> str:
    """Return the page: a section per corpus, in the order of their names.

    Raises:
        InputError: two peers were measured on other rows or another encoder.
    """
    corpora = sorted({one["corpus"] for one in found})
    return "\n".join([HEAD, *(section(name, [one for one in found if one["corpus"] == name]) for name in corpora)])


def section(name: str, found: Sequence[Result]) -> str:
    """Return the table of a corpus, best accuracy first, and what is to be known of it."""
    check(name, found)
    systems = by_system(found)
    accuracy = {system: mean_std(figures(of, "accuracy")).mean for system, of in systems.items()}
    ranked = sorted(systems, key=lambda system: -accuracy[system])
    most = max((len(of) for of in systems.values()), default=0)
    complete = [system for system in ranked if len(systems[system]) == most]
    best = {system for system in complete if accuracy[system] == accuracy[complete[0]]}
    table = [line(COLUMNS), line(["---", *["---:"] * (len(COLUMNS) - 1)])]
    table += [line(row(system, systems[system], bold=system in best)) for system in ranked]
    return "\n".join([f"## `{name}`", "", *table, "", *(f"- {note}" for note in notes(found)), ""])


def row(system: str, of: Mapping[int, Mapping[str, float]], *, bold: bool) -> list[str]:
    """Return the cells of a system."""
    accuracy = percent(figures(of, "accuracy"))
    return [
        TITLES.get(system, system),
        f"**{accuracy}**" if bold else accuracy,
        number(figures(of, "train_seconds"), 1),
        number(figures(of, "seconds_per_1000"), 2),
        number(figures(of, "memory_mb"), 0),
        ", ".join(map(str, sorted(of))),
    ]


def by_system(found: Iterable[Result]) -> dict[str, dict[int, dict[str, float]]]:
    """Return the figures by system and seed."""
    systems: dict[str, dict[int, dict[str, float]]] = {}
    for one in found:
        for system, told in one.get("systems", {}).items():
            systems.setdefault(system, {})[one["seed"]] = {**told, "memory_mb": one["memory_mb"]}
    return systems


def figures(of: Mapping[int, Mapping[str, float]], name: str) -> list[float]:
    """Return a figure of each seed."""
    return [told[name] for told in of.values()]


def number(values: Sequence[float], digits: int) -> str:
    """Return the mean of numbers, with their standard deviation where there are several."""
    mean, std = mean_std(values)
    spread = f" ± {std:,.{digits}f}" if len(values) > 1 else ""
    return f"{mean:,.{digits}f}{spread}"


def check(name: str, found: Sequence[Result]) -> None:
    """Check that all have seen the same rows of a seed, and the same encoder.

    Raises:
        InputError: they have not.
    """
    seen: dict[int, Result] = {}
    for one in found:
        first = seen.setdefault(one["seed"], one)
        for key, what in (("data", "rows"), ("weights", "weights of the encoder")):
            if one.get(key) != first.get(key):
                raise InputError(
                    f"{name}, seed {one['seed']}: {one['peer']} and {first['peer']} were measured on other {what}; "
                    "measure both again into a new folder"
                )


def notes(found: Sequence[Result]) -> list[str]:
    """Return under which conditions a table was measured, and who is absent; each a sentence or a list."""
    rows = found[0]["rows"]
    told = [
        f"{', '.join(f'{split} {rows[split]:,}' for split in SPLITS)} rows; encoder {found[0]['encoder']}",
        f"commit {listed(one['commit'] for one in found)}; {listed(one['machine'] for one in found)}; load when each "
        f"began {spread([one['load'] for one in found if one.get('load') is not None])}",
        listed(f"{package} {version}" for one in found for package, version in one["versions"].items()),
    ]
    absent = {one["peer"]: one["absent"] for one in found if "absent" in one}
    return told + [f"{TITLES.get(peer, peer)}: {reason}" for peer, reason in absent.items()]


def listed(texts: Iterable[str]) -> str:
    """Return texts one after the other, each once."""
    return ", ".join(dict.fromkeys(texts))


def spread(loads: Sequence[float]) -> str:
    """Return the smallest and the largest number."""
    return f"{min(loads):.1f} to {max(loads):.1f}" if loads else "unknown"


def line(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
