"""How cost grows with the number of samples, of labels and of tokens."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.benchmarks.bare import bare, classifier_module, embedding_module
from experiments.benchmarks.plan import SEED, Curve, Plan, Section, quotients
from experiments.benchmarks.reranking import classify
from experiments.benchmarks.turns import repeatedly
from experiments.benchmarks.workload import Workload, configured
from lrsl.data import Corpus, Split
from lrsl.nn.pretrained import load_tokenizer
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.rule import Detection, FittedRule, scores_of_texts
from lrsl.reranking.view import Given
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.training.trainer import precision

ABOUT = """\
An epoch of training the classifier, an epoch of training the embedding (`negatives=all`), and answering with
reranking, a tenth of the samples hard, on texts of random words, each as long as the others. One thing grows at a
time; each cost is over that of the smallest size, in turn. With 16 tokens there are 34 labels and 64 samples, in the
batches of the recipe; where tokens grow there are 16 samples in batches of 8, so that the longest fit into the
memory of a laptop."""
AXES = {"samples": (64, 256, 1_024), "labels": (34, 150, 1_000), "tokens": (16, 128, 512)}
OTHERWISE = {"samples": 64, "labels": 34, "tokens": 16}
WHERE_TOKENS_GROW = {"samples": 16, "batch_size": 8}
HARD = 0.1


def measure(plan: Plan) -> Section:
    """Return how the three costs grow with the three sizes."""
    curves = []
    for axis, sizes in AXES.items():
        otherwise = OTHERWISE | (WHERE_TOKENS_GROW if axis == "tokens" else {})
        for cost, made_of in COSTS.items():
            works = {str(size): made_of(synthetic(**{**otherwise, axis: size})) for size in sizes}
            seconds = list(repeatedly(works, plan.repeats // 2 + 1, plan.now).values())
            curves.append(Curve(cost, axis, sizes, [quotients(measured, seconds[0]) for measured in seconds]))
    return Section(ABOUT, [], curves=curves)


def synthetic(samples: int, labels: int, tokens: int, batch_size: int | None = None) -> Workload:
    """Return so many samples of random words and so many labels of two words each."""
    config = configured("banking77")
    batch: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    config = replace(
        config,
        model=replace(config.model, max_length=tokens, **batch),
        embedding=replace(config.embedding, max_length=tokens, **batch),
    )
    rng = random.Random(SEED)
    vocabulary = load_tokenizer(config.model.pretrained).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalnum())
    pairs = [f"{words[i // len(words)]} {words[i % len(words)]}" for i in rng.sample(range(len(words) ** 2), labels)]
    split = Split(
        ids=[str(row) for row in range(samples)],
        texts=[" ".join(rng.choices(words, k=tokens - 2)) for _ in range(samples)],  # first and last are special
        labels=[row % labels for row in range(samples)],
    )
    return Workload(config, Corpus("synthetic", [str(label) for label in range(labels)], pairs, split, split, split))


def classifier_epoch(work: Workload) -> Callable[[], None]:
    """Return an epoch of training the classifier."""
    return bare(classifier_module(work), work).epoch


def embedding_epoch(work: Workload) -> Callable[[], None]:
    """Return an epoch of training the embedding."""
    return bare(embedding_module(work), work).epoch


def answering(work: Workload) -> Callable[[], None]:
    """Return the classification of the test texts, and the reranking of the hard ones."""
    test, mixed = work.corpus.test, precision(work.config.trainer) == "bf16-mixed"
    network = classifier_module(work).network.eval()
    detector, view = TopKVariance(work.config.reranker.k), LabelSimilarity()
    embedding = embedding_module(work).ranking.embedding.eval()
    fitted = view.fit(Given(work.corpus.label_texts, load_embedding=lambda: embedding))
    scores = [scores_of_texts(view, fitted, test.texts, work.config.reranker.k)]
    hardness = detector(classify(network, test, mixed=mixed))
    rule = FittedRule(Detection(detector, hardness.double().quantile(HARD).item()), Paper())

    def answer() -> None:
        rule.rerank(classify(network, test, mixed=mixed), scores)

    return answer


COSTS = {
    "training the classifier": classifier_epoch,
    "training the embedding": embedding_epoch,
    "answering with reranking": answering,
}
