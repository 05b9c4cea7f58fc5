"""What `Reranker.fit` found on held-out rows, as figures and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrsl import metrics
from lrsl.plugin.calibration import CrossFitted
from lrsl.reranking.rule import FittedRule, Reranked
from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD


def figures(
    fitted: FittedRule,
    reranked: Reranked,
    *,
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    found: CrossFitted | None,
) -> dict[str, Any]:
    """Return the accuracies on held-out rows, by the rule that was fitted on them all and by cross-fitting.

    Args:
        fitted: the rule.
        reranked: what it makes of the rows.
        logits: the classifier's, `(n, classes)`.
        labels: true labels, `(n,)`.
        scores: each view's, `(n, classes)`.
        found: what rules that were not fitted on it make of each row; None where there are too few rows.
    """
    answers = {"origin": logits.argmax(-1), "rerank": reranked.labels}
    if len(scores) == 1:
        answers["similarity"] = scores[0].nan_to_num(nan=-torch.inf).argmax(-1)
    return {
        "n": len(logits),
        "sigma2_mis": fitted.detection.threshold,
        "hard_fraction": reranked.hard.double().mean().item(),
        **{name: metrics.accuracies(answer, labels, reranked.hard) for name, answer in answers.items()},
        "cross_fitted": None
        if found is None
        else {
            "hard_fraction": found.hard.double().mean().item(),
            "origin": metrics.accuracies(answers["origin"], labels, found.hard),
            "rerank": metrics.accuracies(found.labels, labels, found.hard),
        },
    }


def cost(seconds: Mapping[str, float], costs: Mapping[str, str], n: int, hard_fraction: float) -> dict[str, Any]:
    """Return what reranking costs on this machine, in seconds.

    Args:
        seconds: what each view took for all held-out rows; one that shares the embedding with another before it takes
            no second pass.
        costs: what each view says that it costs.
        n: number of held-out rows.
        hard_fraction: share of rows that are hard; the texts of others are not looked at.
    """
    hard = 1000 * sum(seconds.values()) / n
    return {
        "seconds_per_1000": hard * hard_fraction,
        "seconds_per_1000_hard": hard,
        "views": {name: {"seconds_per_1000_hard": 1000 * seconds[name] / n, "cost": costs[name]} for name in seconds},
    }


def sentences(report: Mapping[str, Any], cost: Mapping[str, Any], classes: int) -> Iterator[str]:
    """Yield the lines in which a report is shown: rows, accuracies, verdict, cost.

    Args:
        report: what `fit` found.
        cost: what it costs; empty where that is not known.
        classes: number of labels.
    """
    threshold = report["sigma2_mis"]
    end = "" if threshold in (NOTHING_HARD, EVERYTHING_HARD) else f", below {threshold:.4g}"
    yield f"{report['n']:,} held-out rows of {classes:,} labels; {report['hard_fraction']:.1%} are hard{end}"
    found = report.get("cross_fitted")
    if found is not None:
        yield "each row judged by a rule that was not fitted on it:"
        yield f"  {'accuracy':<12}{'all':>9}{'hard':>9}{'easy':>9}"
        for name, heading in (("origin", "before"), ("rerank", "after")):
            values = (found[name][part] for part in ("accuracy", "accuracy_hard", "accuracy_easy"))
            yield f"  {heading:<12}" + "".join(f"{'–' if value is None else f'{value:.2%}':>9}" for value in values)
    yield report["verdict"]["reason"]
    if cost:
        yield (
            f"cost here: {cost['seconds_per_1000']:.2g} s per 1,000 texts, of which only the hard ones are read "
            f"({cost['seconds_per_1000_hard']:.2g} s per 1,000 of these)"
        )
