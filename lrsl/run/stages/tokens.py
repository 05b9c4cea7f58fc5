"""Tokens, each text's made once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from lrsl.nn.batches import Text, Tokens, tokenize
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.made_of import code, versions
from lrsl.run.stages.tensor import TENSOR
from lrsl.run.store import key_of

PASSING = ("truncation", "padding")  # what a tokenizer remembers of the last call, and is told anew with the next


class StoredTokens:
    """Tokenises what the store does not hold yet."""

    def __init__(self, context: RunContext) -> None:
        self.context = context

    def __call__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int, *, token_types: bool = False
    ) -> list[Tokens]:
        """Return the tokens of each text."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not texts:  # a tokenizer in Python does not say what it is made of
            return tokenize(tokenizer, texts, max_length, token_types=token_types)

        def make(folder: Path) -> None:
            tokens = tokenize(tokenizer, texts, max_length, token_types=token_types)
            tensors = {
                key: torch.tensor(list(chain.from_iterable(of[key] for of in tokens)), dtype=torch.int32)
                for key in tokens[0]
            }
            tensors["cut"] = torch.tensor([of_text.cut for of_text in tokens])
            tensors["lengths"] = torch.tensor([len(of_text["input_ids"]) for of_text in tokens])
            save_file(tensors, folder / f"{TENSOR}.safetensors")

        settings = {key: value for key, value in json.loads(backend.to_str()).items() if key not in PASSING}
        made_of = {
            "tokenizer": key_of(settings),
            "library": versions(["tokenizers", "transformers"]),
            "code": code(),
            "max_length": max_length,
            "holds": ["ids", "cut"],
            "token_types": token_types,
            "texts": key_of({"texts": texts}),
        }
        folder = self.context.store.get(
            "tokens", made_of, make, about=f"{self.context.corpus.name}, {len(texts):,} texts"
        )
        tensors = load_file(folder / f"{TENSOR}.safetensors")
        lengths = tensors.pop("lengths").tolist()
        cut = tensors.pop("cut").tolist()
        parts = {key: [ids.tolist() for ids in tensor.split(lengths)] for key, tensor in tensors.items()}
        taken = [Tokens(zip(parts, of_text, strict=True)) for of_text in zip(*parts.values(), strict=True)]
        for of_text, is_cut in zip(taken, cut, strict=True):
            of_text.cut = is_cut
        return taken
