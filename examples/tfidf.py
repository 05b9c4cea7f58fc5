"""Rerank a TF-IDF classifier of scikit-learn's.

python examples/tfidf.py

The classifier has never heard of embeddings; its log-probabilities serve as logits. The calls are made up (telecom34),
so the figures say that it works, and nothing about real calls. About a minute on two CPU cores.
"""

from __future__ import annotations

import argparse

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from lrsl import Reranker
from lrsl.data import Split
from lrsl.data.telecom34 import load


def first(split: Split, rows: int | None) -> Split:
    """Return the first rows of a split; all of them without a number."""
    return split.take(list(range(len(split)))[:rows])


def main() -> None:
    """Train, rerank, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="rows to learn from (default: all 2,000)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the embedding (default: 2)")
    chosen = parser.parse_args()

    corpus = load()
    train, val, test = first(corpus.train, chosen.rows), first(corpus.val, chosen.rows), first(corpus.test, chosen.rows)

    # your classifier
    classifier = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10))
    classifier.fit(train.texts, train.labels)
    label_texts = [corpus.label_texts[label] for label in classifier.classes_]  # in the order of its columns
    column = {label: i for i, label in enumerate(classifier.classes_)}
    val = val.take([row for row, label in enumerate(val.labels) if label in column])

    # the plug-in: the threshold from rows the classifier has not seen, the embedding from those it has
    reranker = Reranker("sentence-transformers/all-MiniLM-L6-v2", label_texts)
    reranker.fit(
        classifier.predict_log_proba(val.texts),
        [column[label] for label in val.labels],
        val.texts,
        train=(train.texts, [column[label] for label in train.labels], None),
        epochs=chosen.epochs,
    )

    logits = classifier.predict_log_proba(test.texts)
    before = classifier.predict(test.texts)
    after = classifier.classes_[reranker.predict(logits, test.texts)]
    print(f"hard: {reranker.is_hard(logits).mean():.1%} of {len(test)} test texts")
    print(f"accuracy before: {accuracy_score(test.labels, before):.1%}")
    print(f"accuracy after:  {accuracy_score(test.labels, after):.1%}")


if __name__ == "__main__":
    main()
