"""What variance, hardness and reranking cost, as a multiple of one softmax over the same logits."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.benchmarks.plan import Figure, Plan, Section, quotients
from experiments.benchmarks.turns import repeatedly
from lrsl import core

CLASSES = 151
K = 3
ABOUT = """\
Random float32 logits and similarities, {rows:,} × {classes}; every row is hard, and every one is reranked. Each call
takes turns with one softmax over the same logits."""


def measure(plan: Plan) -> Section:
    """Return the time of each part and of all over one softmax's, and of all rows over a tenth of them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(plan.rows, CLASSES, generator=generator)
    similarity = torch.rand(plan.rows, CLASSES, generator=generator)

    def all_three(part: slice = slice(None)) -> Tensor:
        core.topk_variance(logits[part], K)
        core.is_hard(logits[part], torch.inf, K)
        return core.rerank(logits[part], similarity[part])

    def variance_once() -> tuple[Tensor, Tensor]:
        return core.topk_variance(logits, K) < torch.inf, core.rerank(logits, similarity)

    seconds = repeatedly(
        {
            "softmax": lambda: torch.softmax(logits, -1),
            "topk": lambda: logits.topk(K),
            "variance": lambda: core.topk_variance(logits, K),
            "rerank": lambda: core.rerank(logits, similarity),
            "all three": all_three,
            "variance once": variance_once,
            "tenth": lambda: all_three(slice(plan.rows // 10)),
        },
        plan.repeats,
        plan.now,
    )
    over_softmax = {name: quotients(times, seconds["softmax"]) for name, times in seconds.items()}
    return Section(
        ABOUT.format(rows=plan.rows, classes=CLASSES),
        [
            Figure("variance, hardness and rerank over one softmax", over_softmax["variance once"], at_most=4),
            Figure("the same, the variance computed once more by `is_hard`", over_softmax["all three"], at_most=4),
            Figure("`topk_variance` over one softmax", over_softmax["variance"]),
            Figure("`rerank` over one softmax", over_softmax["rerank"]),
            Figure("`torch.topk` alone over one softmax", over_softmax["topk"]),
            Figure("all rows over a tenth of them", quotients(seconds["all three"], seconds["tenth"])),
        ],
    )
