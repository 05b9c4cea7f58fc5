"""What reranking adds to the cost of answering."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.bare import classifier_module, embedding_module
from experiments.benchmarks.plan import Figure, Plan, Section
from experiments.benchmarks.turns import repeatedly
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl.classifiers.network import Network
from lrsl.data import Split
from lrsl.embedding.text_embedding import encode
from lrsl.nn.batches import loader
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.rule import Detection, FittedRule, scores_of_texts
from lrsl.reranking.view import Given
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.training.trainer import precision

ABOUT = """\
Answering the questions of test from their texts: by the classifier alone, by the classifier with reranking after it,
and, for the bound, embedding all of them. The bound is 1 + hard fraction × (embedding all / classifying all) + 5 %
of the classifier alone, turn by turn. What it costs does not depend on what weights have learnt, so the networks are
merely loaded, and the threshold is put where it makes the fraction hard that the line names."""
FRACTIONS = (0.1, 0.3)
SLACK = 0.05


def measure(plan: Plan) -> Section:
    """Return what classifying and reranking cost, over the bound."""
    if (reason := absent("banking77")) is not None:
        return Section(ABOUT, [Figure(line(fraction), note=reason) for fraction in FRACTIONS])
    work = workload("banking77", None, plan.answers)
    return Section(ABOUT, [over_the_bound(work, fraction, plan) for fraction in FRACTIONS])


def line(fraction: float) -> str:
    """Return what a line compares."""
    return f"banking77, {fraction:.0%} hard: classifier with reranking over its bound"


def over_the_bound(work: Workload, fraction: float, plan: Plan) -> Figure:
    """Classify, classify and rerank, and embed, in turn."""
    test = work.corpus.test
    mixed = precision(work.config.trainer) == "bf16-mixed"
    network = classifier_module(work).network.eval()
    embedding = embedding_module(work).ranking.embedding.eval()
    detector, view = TopKVariance(work.config.reranker.k), LabelSimilarity()
    fitted = view.fit(Given(work.corpus.label_texts, load_embedding=lambda: embedding))
    scores = [scores_of_texts(view, fitted, test.texts, work.config.reranker.k)]
    logits = classify(network, test, mixed=mixed)
    remembering: Any = fitted.encode
    rule = FittedRule(Detection(detector, detector(logits).double().quantile(fraction).item()), Paper())

    def rerank() -> Any:
        remembering.last = None  # so that the same texts are embedded every time
        return rule.rerank(classify(network, test, mixed=mixed), scores)

    seconds = repeatedly(
        {
            "origin": lambda: classify(network, test, mixed=mixed),
            "rerank": rerank,
            "embedding": lambda: encode(embedding, test.texts),
        },
        plan.repeats,
        plan.now,
    )
    embedded: list[int] = []
    embedding[0].register_forward_pre_hook(lambda _, features: embedded.append(len(features[0]["input_ids"])))
    remembering.last = None
    hard = int(rule.rerank(logits, scores).hard.sum())
    turns = list(zip(seconds["origin"], seconds["rerank"], seconds["embedding"], strict=True))
    bounds = [1 + hard / len(test) * embedding / origin + SLACK for origin, _, embedding in turns]
    costs = [rerank / origin for origin, rerank, _ in turns]
    middle = len(turns) // 2
    note = (
        f"{len(test):,} questions, {hard} hard; over the classifier alone: reranked {sorted(costs)[middle]:.3f}, "
        f"the bound {sorted(bounds)[middle]:.3f}; texts embedded while reranking, labels included: {sum(embedded)}"
    )
    ratios = [cost / bound for cost, bound in zip(costs, bounds, strict=True)]
    return Figure(line(fraction), ratios, at_most=1.0, note=note)


def classify(network: Network, split: Split, *, mixed: bool) -> Tensor:
    """Return the logits `(n, classes)` of a split, from its texts."""
    logits, rows = [], []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        for batch in loader(network.samples(split)):
            logits.append(network(batch))
            rows.append(batch["index"])
    return torch.cat(logits)[torch.cat(rows).argsort()]
