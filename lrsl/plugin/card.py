"""The card of a saved reranker: what it is worth, how it was fitted and on what, and where it ends.

Label texts and settings come from whoever fitted it. They stand in blocks of code, as JSON, so that nothing in them is
read as YAML, Markdown or HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from lrsl.masking import masked
from lrsl.text import visible

METADATA = {
    "library_name": "lrsl",
    "pipeline_tag": "text-classification",
    "tags": ["text-classification", "reranking", "hard-samples", "label-semantics"],
}
FOLDER = "my-reranker"
"""What the example loads from, where it is not known where the card will stand."""
SHOWN = 500
"""Labels that are listed."""
FEWEST_HARD = 100  # hard rows, below which an interval says little


def text(about: Mapping[str, Any], *, embeds: bool, where: str) -> str:
    """Return a card in Markdown, with the metadata of the hub in front.

    Args:
        about: what `reranker.json` says.
        embeds: whether there is an embedding.
        where: the folder, or `OWNER/NAME` on the hub, that the reranker is loaded from in the example.
    """
    classes = len(about["label_texts"])
    parts = [
        f"---\n{yaml.safe_dump(METADATA, sort_keys=False)}---",
        f"# Reranker for {classes:,} labels",
        "An [LRSL](https://aclanthology.org/2024.findings-emnlp.657) reranker for one text classifier. Where the "
        "classifier hesitates, it ranks the labels anew by what they mean; other texts keep the classifier's answer. "
        "It takes the classifier's logits, and is no classifier by itself.",
        "## How to use it",
        _block("python", _example(where)),
        f"`logits` are the classifier's, or log-probabilities, `(n, {classes})`, with the columns in the order of the "
        "labels below. `labels` are numbers of columns"
        + (", −1 where there is no answer." if about["on_hard"]["action"] in ("abstain", "set", "defer") else "."),
        "## What it is worth",
        *_figures(about["report"], about["cost"], str(about["deploy"])),
        "## How it was fitted",
        _block("text", _components(about)),
        *_learning(about, embeds),
        "## Labels",
        "Column, name where it has one, and text:",
        _block("text", _labels(about["label_texts"], about.get("names"))),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(about)),
    ]
    return "\n\n".join(parts) + "\n"


def _example(where: str) -> list[str]:
    return [
        "from lrsl import Reranker",
        "",
        f"reranker = Reranker.from_pretrained({json.dumps(where)})",
        "labels = reranker.predict(logits, texts)",
    ]


def _figures(report: Mapping[str, Any], cost: Mapping[str, Any], deploy: str) -> Iterator[str]:
    """Yield what was measured on held-out rows, each judged by a rule that was not fitted on it."""
    found, judged = report.get("cross_fitted") or {}, report.get("verdict") or {}
    yield (
        f"Measured on {_count(report.get('n'))} held-out rows, each judged by a rule that was not fitted on it "
        "(cross-fitting):"
    )
    rows = ["| accuracy | all | hard | easy |", "|---|---:|---:|---:|"]
    for name, heading in (("origin", "classifier alone"), ("rerank", "reranked")):
        of = found.get(name) or {}
        shown = (_percent(of.get(part)) for part in ("accuracy", "accuracy_hard", "accuracy_easy"))
        rows.append(f"| {heading} | {' | '.join(shown)} |")
    yield "\n".join(rows)
    gain, low, high = (_points(judged.get(f"gain{bound}")) for bound in ("", "_low", "_high"))
    pays = judged.get("deploy")
    reranks = deploy == "always" or bool(pays)
    verdict = "not known" if pays is None else "it pays" if pays is True else "it does not pay"
    lines = [
        f"gain in accuracy: {gain} points (90 % interval {low} to {high})",
        f"hard: {_percent(found.get('hard_fraction'))} of the rows",
        f"verdict: {verdict}, and hard texts {'are reranked' if reranks else 'keep the answer of the classifier'}",
    ]
    if cost:
        lines.append(
            f"cost: {_seconds(cost.get('seconds_per_1000'))} s per 1,000 texts where it was fitted, of which only the "
            f"hard ones are read ({_seconds(cost.get('seconds_per_1000_hard'))} s per 1,000 of these)"
        )
    yield "\n".join(f"- {line}" for line in lines)
    if judged.get("reason"):
        yield _block("text", [str(judged["reason"])])


def _components(about: Mapping[str, Any]) -> Iterator[str]:
    rule = about["rule"]
    views = [("view", view) for view in rule["views"]]
    of_rule = [("detector", rule["detector"]), ("threshold", rule["threshold"]), *views, ("fusion", rule["fusion"])]
    for seam, component in of_rule:
        settings = masked(dict(component["settings"]))
        yield f"{seam:<10} {component['kind']} {_json(settings) if settings else ''}".rstrip()
    yield f"{'hard below':<10} {about['sigma2_mis']:.6g}"
    yield f"{'candidates':<10} {about['k']}"
    yield f"{'reranks':<10} {_json(about['deploy'])}"
    yield f"{'on hard':<10} {_json(about['on_hard'])}"


def _learning(about: Mapping[str, Any], embeds: bool) -> Iterator[str]:
    report = about["report"]
    rows = f"Threshold and fusion were learnt on {_count(report.get('n'))} rows that the classifier was not trained on"
    if report.get("out_of_fold"):
        rows += ", by logits out of fold; the views learnt from the same rows."
    elif report.get("n_train"):
        rows += f"; the views learnt from {_count(report['n_train'])} training rows."
    else:
        rows += "."
    yield rows
    if embeds:
        tuned = report.get("embedding_accuracy") is not None
        yield f"The text embedding {'was fine-tuned on the training rows' if tuned else 'is as it was, off the shelf'}."


def _labels(texts: Sequence[str], names: Sequence[str] | None) -> Iterator[str]:
    for column, meaning in enumerate(texts[:SHOWN]):
        yield "  ".join([str(column), *([] if names is None else [_json(names[column])]), _json(meaning)])
    if len(texts) > SHOWN:
        yield f"and {len(texts) - SHOWN:,} more, in reranker.json"


def _limits(about: Mapping[str, Any]) -> Iterator[str]:
    report = about["report"]
    yield (
        "It belongs to one classifier. Another one, or the same trained anew, hesitates on other texts: fit a reranker "
        "for it."
    )
    yield "Logits with their columns in another order give answers that look like any other, and are wrong."
    yield "The figures are of texts like the held-out ones. Of others, or of texts of no label, they say nothing."
    n_hard = (report.get("verdict") or {}).get("n_hard")
    if isinstance(n_hard, int) and n_hard < FEWEST_HARD:
        yield f"{n_hard} of the held-out rows are hard, which are few: see how wide the interval is."
    if report.get("embedding_accuracy") is not None:
        yield "The epoch of the embedding was chosen on the held-out rows, which the interval leaves out of account."
    kinds = {view["kind"] for view in about["rule"]["views"]}
    if "lrsl.Lexical" in kinds:
        yield "It holds words and pairs of words of the training texts."
    if "lrsl.Instances" in kinds:
        yield "It holds the vectors of the training texts."
    if "lrsl.LinearProbe" in kinds and report.get("embedding_accuracy") is not None:
        yield "It holds the embedding twice, fine-tuned and as it was before."
    if any(not str(kind).startswith("lrsl.") for kind in kinds):
        yield "A view is not of lrsl itself: its module has to be imported before the reranker is loaded."


def _block(language: str, lines: Iterator[str] | Sequence[str]) -> str:
    """Return a block of code that nothing in its lines ends."""
    shown = [visible(" ".join(line.splitlines())) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *shown, fence])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _percent(value: Any) -> str:
    return f"{value:.2%}" if isinstance(value, int | float) else "–"


def _points(value: Any) -> str:
    return f"{100 * value:+.2f}" if isinstance(value, int | float) else "–"


def _seconds(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, int | float) else "–"
