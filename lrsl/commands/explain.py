"""Show on one screen why a text has its answer: what a finished run's classifier and reranker make of it.

lrsl explain RUN_FOLDER "a text"
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrsl.commands import given as of
from lrsl.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lrsl.plugin.answers import Explanation, Neighbour
    from lrsl.plugin.reranker import Reranker

NEIGHBOURS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Explain and return the exit status."""
    typed = _parser().parse_args(arguments)
    return of.status(lambda: _explain(typed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl explain",
        usage='lrsl explain RUN_FOLDER "TEXT" [flags]',
        description="Show why a text has its answer: what the run's classifier says, whether it hesitates, what each\n"
        "view says of the candidates, the training texts that lie nearest, and what comes of it.",
        epilog='example: lrsl explain outputs/telecom34/minilm/0123abcd/seed0 "i want to change my package"',
        formatter_class=of.Help,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN_FOLDER", help="what a finished run has left, with its results.json")
    add("text", metavar="TEXT", help="the text, in quotation marks")
    add("--k", type=int, help="candidates before and after (the run's k)")
    add("--neighbours", type=int, default=NEIGHBOURS, metavar="N", help=f"training texts shown ({NEIGHBOURS})")
    return parser


def _explain(typed: argparse.Namespace) -> None:
    from lrsl.nn import threads  # noqa: PLC0415
    from lrsl.run.finished import finished_results  # noqa: PLC0415

    threads.prepare()
    results = finished_results(typed.run)
    if not typed.text.strip():
        raise InputError("the text is empty; give one in quotation marks")
    if typed.neighbours < 0:
        raise InputError(f"--neighbours is {typed.neighbours}; it must be at least 0")
    from lrsl.run.reopened import reopen, training_texts  # noqa: PLC0415  (torch)
    from lrsl.screen import Screen, literal  # noqa: PLC0415

    reopened = reopen(typed.run)
    reranker, logits = reopened.reranker, reopened.logits([typed.text])
    (explanation,) = reranker.explain(logits, [typed.text], typed.k)
    (answer,) = reranker.answers(logits, [typed.text], typed.k)
    console = Screen()
    show(explanation, reranker, logits[0].tolist(), console)
    if typed.neighbours:
        try:
            (near,) = reranker.neighbours([typed.text], typed.neighbours)
            console.print(of_neighbours(near, training_texts(typed.run)))
        except (ValueError, OSError) as error:
            console.print(literal(f"nearest training texts: not to be had, for {error}"), soft_wrap=True)
    what = answer.name or (f"none of its own, but the set {', '.join(answer.names)}" if answer.names else "none")
    probability = float(reranker.predict_proba(logits, [typed.text])[0].max())
    rule = f"deployed: {results.get('verdict', {}).get('deployed')}"
    told = f"answer: {what}  (probability of the likeliest label {probability:.1%}; {rule})"
    console.print(literal(told), soft_wrap=True)


def show(explanation: Explanation, reranker: Reranker, logits: Sequence[float], console: Console) -> None:
    """Show whether a text is hard and why, and its candidates before and after.

    Args:
        explanation: of the text.
        reranker: has explained it.
        logits: the classifier's of the text, `(classes,)`.
        console: where to.
    """
    from lrsl.screen import literal  # noqa: PLC0415

    console.print(literal(_shortened(explanation.text, 3 * console.width), "bold"))
    detector = type(reranker.rule.detector).__name__
    sign, kind = ("<", "hard") if explanation.hard else (">=", "easy")
    done = "reranked" if explanation.hard and explanation.is_on else "the classifier's answer stands"
    if explanation.hard and not explanation.is_on:
        done = f"reranking is off, so {done}"
    below = f"{detector} {explanation.hardness:.4g} {sign} {explanation.threshold:.4g}, the threshold"
    console.print(literal(f"{kind}: {below}; {done}"), soft_wrap=True)
    table = _table("candidates, with their places before and after")
    table.add_column("label", overflow="fold")
    views = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in explanation.views]  # so that they can be wrapped
    for heading in ("logit", "before", *views, "after"):
        table.add_column(heading, justify="right")
    before = sorted(explanation.candidates, key=lambda one: -one.before)
    for number, one in enumerate(explanation.candidates):
        scores = [of_view[number] for of_view in explanation.views.values()]
        table.add_row(
            literal(one.name),
            f"{logits[one.label]:.2f}",
            f"{one.before:.3f} ({before.index(one) + 1})",
            *("–" if math.isnan(score) else f"{score:.3f}" for score in scores),
            f"{one.after:.3f} ({number + 1})",
        )
    console.print(table)


def of_neighbours(near: Sequence[Neighbour], texts: Sequence[str]) -> Table:
    """Return a table of the training texts that lie nearest.

    Args:
        near: which these are, nearest first.
        texts: all training texts.
    """
    from lrsl.screen import literal  # noqa: PLC0415

    table = _table("nearest training texts")
    table.add_column("cosine", justify="right")
    table.add_column("label", overflow="fold")
    table.add_column("text")
    for one in near:
        table.add_row(f"{one.cosine:.3f}", literal(one.name), literal(_shortened(texts[one.row], 120)))
    return table


def _table(title: str) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)


def _shortened(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
