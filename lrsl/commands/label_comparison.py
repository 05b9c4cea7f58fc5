"""What label texts are worth before anything is trained: similarity alone, off the shelf, with each of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.data.label_texts import label_texts, readable
from lrsl.data.load import load_corpus
from lrsl.embedding.separation import Separation, measured
from lrsl.embedding.text_embedding import configured_embedding

NAMES = "names"
"""Stands for the labels' names, made readable."""
OWN = "own"
"""Stands for the label texts that the configuration chooses."""


def compare(given: Sequence[str], config: Config) -> str:
    """Return a Markdown table of what similarity alone is worth with each of several label texts.

    The training texts are those on which a language model's answers are tried. A label counts as better or worse where
    more or fewer of its own training texts are right than with the label texts given first.

    Args:
        given: `names`, `own`, or a file as `dataset.label_texts` takes it; a row each.
        config: chooses data, embedding and seed.

    Raises:
        InputError: the data, a file or the embedding is not to be had, or two labels have the same text.
    """
    corpus = load_corpus(replace(config.dataset, label_texts=None), config.data_dir)
    compared = [_label_texts(one, corpus, config) for one in given]
    embedding = configured_embedding(config.embedding)
    known = corpus.test.take([row for row, label in enumerate(corpus.test.labels) if label >= 0])
    train, test = (
        Separation(embedding, split.texts, split.labels, compared[0])
        for split in (measured(corpus.train, config.seed), known)
    )
    first = _by_label(train, compared[0])
    lines = [
        f"| label texts | of {len(train.labels):,} training texts | of {len(test.labels):,} test texts "
        f"| labels better than with {given[0]} | worse |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, texts in zip(given, compared, strict=True):
        now = _by_label(train, texts)
        changes = [int((now > first).sum()), int((now < first).sum())] if texts is not compared[0] else ["", ""]
        cells = [name.replace("|", "\\|"), _percent(train.right(texts)), _percent(test.right(texts)), *changes]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _label_texts(given: str, corpus: Corpus, config: Config) -> list[str]:
    if given == NAMES:
        return label_texts(corpus.labels, [readable(name) for name in corpus.labels], None, None)
    chosen = config.dataset.label_texts if given == OWN else given
    return label_texts(corpus.labels, corpus.label_texts, chosen, config.data_dir)


def _by_label(separation: Separation, texts: Sequence[str]) -> Tensor:
    """Return how many texts of each label are right with these label texts, `(labels,)`."""
    return torch.bincount(separation.labels[separation.right(texts)], minlength=len(texts))


def _percent(right: Tensor) -> str:
    return f"{100 * float(right.double().mean()):.1f} %" if len(right) else "–"
