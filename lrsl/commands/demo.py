"""Fit a reranker on the corpus that comes along, and show what it does, in seconds and without a network.

lrsl demo
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrsl.commands import given as of

if TYPE_CHECKING:
    from lrsl.data.corpus import Corpus
    from lrsl.plugin.reranker import Reranker

NEXT = """\
next, on the same corpus and in minutes:
  lrsl run logger=csv hydra.run.dir=my-run           trains a classifier, fine-tunes the embedding, reranks
  lrsl explain my-run "Customer: I want to cancel"   why a text has the answer of that run
  lrsl predict my-run texts.csv --out answers.jsonl  answers to a file of texts
or for a classifier of yours, its logits and texts in files:
  lrsl fit --help                                    learns which rows are hard, and says whether it pays
  lrsl rerank --help                                 answers to any number of rows"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Show it and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="lrsl demo",
        description="Train TF-IDF and logistic regression on the synthetic corpus that comes along, rerank its hard\n"
        "samples with the packaged text embedding off the shelf, and show what that gives on its test, with\n"
        "one sample explained. It takes seconds, needs no network and writes nothing.",
        epilog="example: lrsl demo",
        formatter_class=of.Help,
    )
    parser.parse_args(arguments)
    return of.status(_demo)


class _Steps:
    """Says each step when it begins."""

    def __init__(self, many: int) -> None:
        self.many, self.done, self.began = many, 0, time.perf_counter()

    def __call__(self, what: str) -> None:
        self.done += 1
        print(f"[{self.done}/{self.many}] {what} …", flush=True)

    def end(self) -> None:
        """Say what all took."""
        print(f"done in {time.perf_counter() - self.began:.0f} s\n", flush=True)


def _demo() -> None:
    from lrsl.nn import threads  # noqa: PLC0415

    threads.prepare()
    step = _Steps(4)
    step("loading the libraries, and making telecom34, brief synthetic calls to a telephone company")
    from lrsl.data.telecom34 import load  # noqa: PLC0415
    from lrsl.plugin import report  # noqa: PLC0415  (torch)
    from lrsl.plugin.reranker import Reranker  # noqa: PLC0415

    corpus = load()
    labels = len(corpus.labels)
    step(f"training TF-IDF and logistic regression on {len(corpus.train):,} calls with {labels} labels")
    logits = _logits(corpus)
    step(f"fitting the reranker on {len(corpus.val):,} calls that the classifier has not seen")
    from lrsl.fingerprint import MINILM  # noqa: PLC0415

    reranker = Reranker(MINILM, corpus.label_texts, names=corpus.labels, rule="fitted")
    train = (corpus.train.texts, corpus.train.labels, None)
    reranker.fit(logits["val"], corpus.val.labels, corpus.val.texts, train, finetune=False)
    step(f"reranking {len(corpus.test):,} test calls")
    after = reranker.predict(logits["test"], corpus.test.texts)
    step.end()
    print("\n".join(report.sentences(reranker.report_, {}, labels)))
    _show(corpus, reranker, logits["test"], after)
    print(NEXT)


def _logits(corpus: Corpus) -> dict[str, Any]:
    """Return the classifier's logits of validation and test, `(n, classes)`, its columns the labels in their order."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=200))
    classifier.fit(corpus.train.texts, corpus.train.labels)  # every label occurs in train
    return {split: classifier.decision_function(getattr(corpus, split).texts) for split in ("val", "test")}


def _show(corpus: Corpus, reranker: Reranker, logits: Any, after: Any) -> None:
    import numpy as np  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from lrsl import metrics  # noqa: PLC0415
    from lrsl.commands.explain import show  # noqa: PLC0415
    from lrsl.screen import Screen  # noqa: PLC0415

    gold, before, hard = np.array(corpus.test.labels), logits.argmax(axis=1), reranker.is_hard(logits)
    table = Table(title="accuracy on test in %", title_justify="left")
    table.add_column("")
    parts = {"all": np.ones_like(hard), "hard": hard, "easy": ~hard}
    for name, rows in parts.items():
        table.add_column(f"{name} ({int(rows.sum()):,})", justify="right")
    for name, answers in (("origin, the classifier alone", before), ("reranked", after)):
        shares = (np.mean(answers[rows] == gold[rows]) if rows.any() else np.nan for rows in parts.values())
        table.add_row(name, *(f"{100 * share:.2f}" for share in shares))
    console = Screen()
    console.print(table)
    gain = metrics.bootstrap_gain(before == gold, after == gold)
    print(
        f"gain {100 * gain.gain:+.2f} points, 95 % interval {100 * gain.low:+.2f} to {100 * gain.high:+.2f}; of "
        f"{int(hard.sum())} hard calls {int(((before != gold) & (after == gold)).sum())} mended, "
        f"{int(((before == gold) & (after != gold)).sum())} broken\n"
    )
    mended = np.flatnonzero(hard & (before != gold) & (after == gold))
    shown = int((mended if len(mended) else np.flatnonzero(hard))[0])
    (explanation,) = reranker.explain(logits[[shown]], [corpus.test.texts[shown]])
    print(f"one of them; its true label is {corpus.labels[gold[shown]]}:")
    show(explanation, reranker, logits[shown].tolist(), console)
    print()
