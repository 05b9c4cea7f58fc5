"""Texts that are longer than what a run's classifier and its embedding read of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsl.classifiers.aphan import PairDataset, adjacency_pairs, tells_parts_apart, units_of
from lrsl.classifiers.build import KEY
from lrsl.config.schema import Config, EmbeddingConfig, ModelConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.embedding.text_embedding import configured_embedding
from lrsl.nn.batches import TokenDataset, Tokenize, tokenize
from lrsl.nn.pretrained import fingerprint, load_outline, load_tokenizer, longest_input
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.made_of import LIBRARIES, code, versions
from lrsl.run.stages.tokens import StoredTokens

Truncated = dict[str, dict[str, int]]
"""Of `classifier` and `embedding`: `max_length`, the longest input in tokens; the number of texts of each split that
are longer; `labels`, that of label texts, where they are read; and for `aphan` `pairs`, the most pairs it reads."""

FILE = "truncated.json"
LABELS = "labels"


def truncated(config: Config, corpus: Corpus, tokenize: Tokenize = tokenize) -> Truncated:
    """Return how many texts are longer than what is read of them.

    Args:
        config: the run.
        corpus: its data.
        tokenize: how tokenizers are asked.

    Raises:
        InputError: the classifier or the embedding is neither a folder with a model nor reachable.
    """
    counted = {"classifier": _by_classifier(config.model, corpus, tokenize)}
    of_embedding = _by_embedding(config.embedding, corpus, tokenize)
    return counted if of_embedding is None else {**counted, "embedding": of_embedding}


def stored(context: RunContext, corpus: Corpus) -> Truncated:
    """Return what `truncated` does, counted once for all runs with the same texts and models.

    Args:
        context: the run.
        corpus: its data; the context's may be dealt into folds.
    """
    model, embedding = context.config.model, context.config.embedding

    def make(folder: Path) -> None:
        counted = truncated(context.config, corpus, StoredTokens(context))
        (folder / FILE).write_text(json.dumps(counted), encoding="utf-8")

    made_of = {
        "code": code("classifiers", "embedding", "run/truncation.py"),
        "libraries": versions(LIBRARIES),
        "classifier": [fingerprint(model.pretrained, KEY), model.architecture, model.max_length, model.aphan.pairs],
        "embedding": [fingerprint(embedding.pretrained, "embedding.pretrained"), embedding.max_length],
        "data": corpus.fingerprint(),
    }
    folder = context.store.get("tokens", made_of, make, about=f"{corpus.name}, texts that are cut")
    counted: Truncated = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return counted


def sentences(counted: Mapping[str, Mapping[str, int]], corpus: Corpus) -> Iterator[str]:
    """Yield a sentence for each split, and for the label texts, of which something is not read."""
    sizes = {name: len(split) for name, split in _splits(corpus).items()} | {LABELS: len(corpus.labels)}
    for name, size in sizes.items():
        parts = [
            f"{of_reader[name]:,} {'is' if of_reader[name] == 1 else 'are'} longer than the {_limit(reader, of_reader)}"
            for reader, of_reader in counted.items()
            if of_reader.get(name)
        ]
        if parts:
            what = "label texts" if name == LABELS else f"texts of {name}"
            yield f"of {size:,} {what} {', and '.join(parts)}; what is beyond is cut off"


def _limit(reader: str, counted: Mapping[str, int]) -> str:
    group = "model" if reader == "classifier" else "embedding"
    tokens = f"{counted['max_length']:,} tokens"
    if "pairs" in counted:
        return f"{counted['pairs']:,} pairs of {tokens} that the {reader} reads (model.aphan.pairs, model.max_length)"
    return f"{tokens} that the {reader} reads ({group}.max_length)"


def _splits(corpus: Corpus) -> dict[str, Split]:
    splits = {"train": corpus.train, "val": corpus.val, "test": corpus.test}
    return splits if corpus.unlabelled is None else {**splits, "unlabelled": corpus.unlabelled}


def _by_classifier(settings: ModelConfig, corpus: Corpus, tokenize: Tokenize) -> dict[str, int]:
    tokenizer = load_tokenizer(settings.pretrained, KEY)
    outline = load_outline(settings.pretrained, KEY)
    longest = longest_input(tokenizer, outline, settings.max_length)
    counted = {"max_length": longest}
    if settings.architecture != "aphan":
        for name, split in _splits(corpus).items():
            counted[name] = sum(TokenDataset(tokenizer, split.texts, split.labels, longest, tokenize).cut)
        if settings.architecture == "hldic":  # which reads the label texts, too
            counted[LABELS] = _cut(tokenizer, corpus.label_texts, longest, tokenize)
        return counted
    most = counted["pairs"] = settings.aphan.pairs
    types = tells_parts_apart(outline, tokenizer)
    for name, split in _splits(corpus).items():
        units = list(units_of(split))
        pairs = [adjacency_pairs(of_sample, most) for of_sample in units]
        cut = PairDataset(tokenizer, pairs, split.labels, longest, token_types=types, tokenize=tokenize).cut
        counted[name] = sum(len(of_sample) > 2 * most or is_cut for of_sample, is_cut in zip(units, cut, strict=True))
    return counted


def _by_embedding(settings: EmbeddingConfig, corpus: Corpus, tokenize: Tokenize) -> dict[str, int] | None:
    """Return the counts of the embedding; None of one that is no transformer, or reads without end."""
    embedding = configured_embedding(settings)
    longest = embedding.max_seq_length
    if embedding.transformers_model is None or longest is None:
        return None
    tokenizer = embedding.tokenizer
    counted = {name: _cut(tokenizer, split.texts, longest, tokenize) for name, split in _splits(corpus).items()}
    return {"max_length": int(longest), **counted, LABELS: _cut(tokenizer, corpus.label_texts, longest, tokenize)}


def _cut(tokenizer: Any, texts: list[str], longest: int, tokenize: Tokenize) -> int:
    return sum(tokens.cut for tokens in tokenize(tokenizer, [(text,) for text in texts], int(longest)))
