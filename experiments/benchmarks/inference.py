"""What ONNX Runtime saves on the embedding, for a text at a time and for many, and what reranking costs then."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from experiments.benchmarks.bare import classifier_module
from experiments.benchmarks.plan import Figure, Plan, Section, Table, quotients
from experiments.benchmarks.reranking import SLACK, classify
from experiments.benchmarks.turns import Clock, repeatedly
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl import Reranker
from lrsl.embedding.onnx import OnnxEmbedding, graph_of
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.nn.onnx import BACKENDS, INT8, ONNX
from lrsl.reranking.rule import Detection
from lrsl.training.trainer import precision

ABOUT = """\
Questions of Banking-77's test and all-MiniLM-L6-v2, off the shelf: from texts to cosines with the 77 label texts, whose
vectors are known. By hand is `SentenceTransformer.encode(texts, normalize_embeddings=True) @ labels.T` in numpy, as its
pages show it, with its batches of 32. The peer's own backend for ONNX takes `optimum`, which is not installed; in its
place stands its way by hand: the same graph in a session of ONNX Runtime with its defaults, and batches of 32 by
length, padded by the tokenizer. Single texts take turns text by text, and all texts at once turn by turn, so that all
meet the same machine. A rerank takes turns with its classifier, a MiniLM that torch computes; its bound is 1 + hard
fraction × (embedding all / classifying all) + 5 % of the classifier alone, embedded by the same backend."""
HAND, PEER, OURS = "by hand", "plain session", "ours, torch"
BATCH = 32
HARD = 0.2
FITTED_ON = 200
NAME = "Banking-77: {} over {}, {}"
ONE, MANY = "single texts", "all texts at once"


def measure(plan: Plan) -> Section:
    """Return how many times as fast the embedding is, how far its answers are off, and what reranking costs."""
    pairs = [(HAND, OURS, None), (HAND, ONNX, 2.0), (HAND, INT8, 2.0), (PEER, ONNX, None), (PEER, INT8, None)]
    reason = absent("banking77")
    if reason is not None:
        return Section(ABOUT, [Figure(NAME.format(*pairs[1][:2], ONE), note=reason)])
    work = workload("banking77", None, plan.held_out)
    embedding = load_embedding(work.config.embedding.pretrained)
    systems = ways(embedding, work.corpus.label_texts)
    singles = one_by_one(systems, work.corpus.test.texts[:: max(1, len(work.corpus.test) // plan.singles)], plan.now)
    batches = repeatedly(
        {name: lambda of=of: of(work.corpus.test.texts) for name, of in systems.items()},  # type: ignore[misc]
        plan.repeats,
        plan.now,
    )
    figures = [
        Figure(NAME.format(slow, quick, what), quotients(seconds[slow], seconds[quick]), at_least=least)
        for what, seconds in ((ONE, singles), (MANY, batches))
        for slow, quick, least in pairs
    ]
    figures += [over_the_bound(work, backend, plan) for backend in BACKENDS]
    return Section(ABOUT, figures, [latencies(singles, batches, len(work.corpus.test)), agreement(systems, work)])


def ways(embedding: SentenceTransformer, label_texts: Sequence[str]) -> dict[str, Callable[[Sequence[str]], Any]]:
    """Return functions from texts to cosines `(n, classes)`, by name."""
    labels = encode(embedding, label_texts)
    graph = graph_of(embedding)
    plain, longest = session(graph), embedding.max_seq_length
    computed = {ONNX: OnnxEmbedding(embedding, graph), INT8: OnnxEmbedding(embedding, graph_of(embedding, INT8))}

    def by_hand(texts: Sequence[str]) -> Any:
        return embedding.encode(list(texts), normalize_embeddings=True, show_progress_bar=False) @ labels.numpy().T

    def peer(texts: Sequence[str]) -> Any:
        order = np.argsort([len(text) for text in texts])
        vectors = np.empty((len(texts), labels.shape[1]), np.float32)
        for start in range(0, len(texts), BATCH):
            rows = order[start : start + BATCH]
            tokens = embedding.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=longest, return_tensors="np"
            )
            given = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
            vectors[rows] = plain.run(None, given)[0]
        return vectors @ labels.numpy().T

    return {
        HAND: by_hand,
        PEER: peer,
        OURS: lambda texts: encode(embedding, texts) @ labels.T,
        ONNX: lambda texts: computed[ONNX](texts) @ labels.T,
        INT8: lambda texts: computed[INT8](texts) @ labels.T,
    }


def session(graph: bytes) -> Any:
    """Return a session with the defaults of ONNX Runtime, but for the number of threads."""
    import onnxruntime  # noqa: PLC0415  (an extra)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def one_by_one(
    systems: Mapping[str, Callable[[Sequence[str]], Any]], texts: Sequence[str], clock: Clock
) -> dict[str, list[float]]:
    """Return the seconds of each system for each text, which they take in turn; the first few do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for number, text in enumerate([*texts[:5], *texts]):
        for name, of in systems.items():
            start = clock()
            of([text])
            taken = clock() - start
            if number >= 5:
                seconds[name].append(taken)
    return seconds


def latencies(singles: Mapping[str, Sequence[float]], batches: Mapping[str, Sequence[float]], texts: int) -> Table:
    """Return milliseconds for a text alone, and texts per second for all at once."""
    rows = [
        [
            name,
            *(f"{1000 * float(np.quantile(singles[name], share)):.1f}" for share in (0.5, 0.99)),
            f"{texts / statistics.median(batches[name]):,.0f}",
        ]
        for name in singles
    ]
    return Table("A text alone, in milliseconds, and all at once", ["", "p50", "p99", "texts per second"], rows)


def agreement(systems: Mapping[str, Callable[[Sequence[str]], Any]], work: Workload) -> Table:
    """Return how far cosines are from those by hand, and how many texts have another nearest label."""
    texts, gold = work.corpus.test.texts, np.array(work.corpus.test.labels)
    expected = np.asarray(systems[HAND](texts))
    rows = []
    for name, of in systems.items():
        found = np.asarray(of(texts))
        other = (found.argmax(-1) != expected.argmax(-1)).mean()
        accuracy = (found.argmax(-1) == gold).mean()
        rows.append([name, f"{np.abs(found - expected).max():.1e}", f"{other:.2%}", f"{accuracy:.2%}"])
    columns = ["", "largest difference of a cosine", "other nearest label", "accuracy of the nearest label"]
    return Table(f"Answers to {len(texts):,} questions by similarity alone", columns, rows)


def over_the_bound(work: Workload, backend: str, plan: Plan) -> Figure:
    """Classify, classify and rerank, and embed, in turn."""
    corpus, test = work.corpus, work.corpus.test
    mixed = precision(work.config.trainer) == "bf16-mixed"
    network = classifier_module(work).network.eval()
    logits = classify(network, test, mixed=mixed)
    reranker = Reranker(work.config.embedding.pretrained, corpus.label_texts, k=work.config.reranker.k, backend=backend)
    some = slice(0, FITTED_ON)
    reranker.fit(logits[some], test.labels[some], test.texts[some], columns="trusted")
    rule: Any = reranker._fitted
    detector = rule.detection.detector
    threshold = detector(logits).double().quantile(HARD).item()
    reranker._fitted = replace(rule, detection=Detection(detector, threshold))
    remembering: Any = reranker._fitted_views[0].encode  # type: ignore[union-attr]

    def rerank() -> Any:
        remembering.last = None
        return reranker.predict(classify(network, test, mixed=mixed), test.texts)

    seconds = repeatedly(
        {
            "origin": lambda: classify(network, test, mixed=mixed),
            "rerank": rerank,
            "embedding": lambda: remembering.compute(test.texts),
        },
        plan.repeats,
        plan.now,
    )
    share = float(reranker.is_hard(logits).double().mean())
    turns = list(zip(seconds["origin"], seconds["rerank"], seconds["embedding"], strict=True))
    bounds = [1 + share * embedding / origin + SLACK for origin, _, embedding in turns]
    costs = [rerank / origin for origin, rerank, _ in turns]
    note = (
        f"{len(test):,} questions, {share:.0%} hard; over the classifier alone: reranked "
        f"{statistics.median(costs):.3f}, the bound {statistics.median(bounds):.3f}"
    )
    return Figure(
        f"{backend}: classifier with reranking over its bound", quotients(costs, bounds), at_most=1, note=note
    )
