"""Rerank classifiers of scikit-learn's, in five lines each, and say what it gains on texts that nobody has seen.

python examples/scikit_learn.py --data DIR/banking77

TF-IDF with a logistic regression, and with a linear support vector machine; the embedding is taken off the shelf. Some
ten minutes on two CPU cores, most of them for training each classifier six times.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from lrsl import RerankedClassifier, metrics


def read(path: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the texts and the labels of a CSV file, its first two columns."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row[0] for row in rows], np.array([row[1] for row in rows])


def tfidf(characters: bool) -> Any:
    """Return words and pairs of words, weighed; with characters, too, if asked for."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    if not characters:
        return words
    return make_union(words, TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=3))


def main() -> None:
    """Fit each, and print accuracy before, gain with its 95 % interval, and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with train.csv and test.csv")
    parser.add_argument("--embedding", default="sentence-transformers/all-MiniLM-L6-v2", help="a folder or an id")
    parser.add_argument("--characters", action="store_true", help="let the classifier see characters, too")
    chosen = parser.parse_args()
    texts, labels = read(chosen.data / "train.csv")
    new, gold = read(chosen.data / "test.csv")
    for classifier in (LogisticRegression(C=30, solver="saga", tol=0.03), LinearSVC()):
        whole = make_pipeline(tfidf(chosen.characters), classifier)
        reranked = RerankedClassifier(whole, chosen.embedding).fit(texts, labels)

        before, after = reranked.estimator_.predict(new) == gold, reranked.predict(new) == gold
        gain = metrics.bootstrap_gain(before, after)
        print(f"{type(classifier).__name__}: {before.mean():.2%} before, {after.mean():.2%} after")
        low, high = 100 * gain.low, 100 * gain.high
        print(f"  gain {100 * gain.gain:+.2f} points ({low:+.2f} to {high:+.2f}) on {len(gold):,} texts")
        print(f"  {reranked.reranker_.report_['verdict']['reason']}", flush=True)


if __name__ == "__main__":
    main()
