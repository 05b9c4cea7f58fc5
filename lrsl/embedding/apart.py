"""Labels that cannot be told apart: by the embedding, or by whoever reads them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lrsl import core
from lrsl.embedding.text_embedding import encode
from lrsl.errors import InputError
from lrsl.nn.batches import tokenize

SAME = 1 - 1e-6
"""The cosine from which on two vectors are the same, to within rounding."""
LONG = 512
"""Tokens of a label text that are compared, at most."""
SHOWN = 5
"""Pairs that a message lists."""


def check_apart(embedding: SentenceTransformer, label_texts: Sequence[str], key: str = "the embedder") -> None:
    """Check that an embedding gives each label text a vector of its own.

    It gives two the same where its tokenizer does, as that of an English model does with most Chinese characters. No
    training tells such labels apart.

    Args:
        embedding: off the shelf; in evaluation mode while it is asked.
        label_texts: the text of each label.
        key: what a message calls the embedding.

    Raises:
        InputError: it does not.
    """
    vectors = encode(embedding, label_texts)
    check_distinct(core.label_similarity(vectors, vectors), label_texts, key)


def check_distinct(similarity: Tensor, label_texts: Sequence[str], key: str) -> None:
    """Check that the cosines `(classes, classes)` of label texts with each other are 1 with themselves alone.

    Raises:
        InputError: they are not; it lists pairs, and says how many there are.
    """
    _check_none_same(similarity > SAME, label_texts, key, "vectors", "an embedding")


def check_tokens(tokenizer: PreTrainedTokenizerBase, label_texts: Sequence[str], key: str) -> None:
    """Check that a tokenizer gives each label text tokens of its own.

    Raises:
        InputError: it does not.
    """
    tokens = [of_text["input_ids"] for of_text in tokenize(tokenizer, [(text,) for text in label_texts], LONG)]
    same = torch.tensor([[first == second for second in tokens] for first in tokens])
    _check_none_same(same, label_texts, key, "tokens", "a model")


def _check_none_same(same: Tensor, label_texts: Sequence[str], key: str, what: str, other: str) -> None:
    pairs = same.triu(diagonal=1).nonzero().tolist()
    if pairs:
        labels = len({label for pair in pairs for label in pair})
        raise InputError(
            f"{key} cannot tell {labels} of {len(label_texts)} labels apart, whose texts have the same {what}: "
            f"{listed([(label_texts[first], label_texts[second]) for first, second in pairs])}; take {other} that "
            "knows the language of the labels, or give them other texts"
        )


def look_alike(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of texts that differ in case, width, spaces or characters that are not seen alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        alike[_seen(text)].append(text)
    return [pair for group in alike.values() for pair in combinations(group, 2)]


def listed(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the first pairs of labels as a message lists them, and how many more there are."""
    more = f" and {len(pairs) - SHOWN:,} more pairs" if len(pairs) > SHOWN else ""
    return ", ".join(f"{first!r} and {second!r}" for first, second in pairs[:SHOWN]) + more


def _seen(text: str) -> str:
    """Return what a reader sees of a text: without zero-width characters (category Cf), case, width or extra spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(character for character in folded if unicodedata.category(character) != "Cf").split())
