"""What a text embedding reads of a text: its own prompt in front, its own tokens, and no more of them than it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor

from lrsl.errors import InputError
from lrsl.nn.batches import Batch, noting_nothing, tokenize
from lrsl.nn.pretrained import PROBED, is_causal, positions

PADDING = 3
"""Tokens of padding behind a text, by which it is seen whether they matter."""
_seen: WeakKeyDictionary[SentenceTransformer, tuple[tuple[Any, ...], bool]] = WeakKeyDictionary()
_PROBES = ("  Rate 3, a LOAN. ", "卡 é", "please")


def prompt_of(embedding: SentenceTransformer) -> str:
    """Return what `embedding.encode` puts in front of every text; empty for nothing."""
    name = embedding.default_prompt_name
    return "" if name is None else str(embedding.prompts.get(name) or "")


def longest_of(embedding: SentenceTransformer) -> int | None:
    """Return the most tokens an embedding reads, by what it says and by the positions it has; None where neither says.

    A tokenizer that does not say its limit has one of 10³⁰.
    """
    network = embedding.transformers_model
    limits = [embedding.max_seq_length, None if network is None else positions(network)]
    known = [int(limit) for limit in limits if limit is not None and limit < 10**9]
    return min(known, default=None)


@dataclass(frozen=True)
class Inputs:
    """How the texts of an embedding become its batches, as `embedding.encode` does it.

    Attributes:
        embedding: a transformer with a pooling, which reads plain texts.
        strips: whether white space at the ends of a text is dropped before it is read.
    """

    embedding: SentenceTransformer
    strips: bool

    @classmethod
    @noting_nothing()
    def of(cls, embedding: SentenceTransformer) -> Inputs | None:
        """Return the inputs of an embedding; None where it prepares texts in a way that only itself knows.

        Whether it does is seen by the tokens it makes of a few texts, once as long as what makes them is the same.
        """
        if type(embedding[0]) is not Transformer or embedding.tokenizer is None:
            return None
        replaced = vars(embedding).get("preprocess"), vars(embedding).get("tokenize")
        by = (id(embedding.tokenizer), prompt_of(embedding), embedding.max_seq_length, *replaced)
        seen = _seen.get(embedding)
        if seen is not None and seen[0] == by:
            return cls(embedding, seen[1])
        limit, prepare = longest_of(embedding) or 512, getattr(embedding, "preprocess", embedding.tokenize)
        for strips in (False, True):
            inputs = cls(embedding, strips)
            for text in _PROBES:
                given: Any = prepare([prompt_of(embedding) + text])
                mine = tokenize(embedding.tokenizer, [(inputs.read(text),)], limit)[0]["input_ids"]
                own = given["input_ids"][0][: len(mine) + 1].tolist() if "input_ids" in given else None
                if own != mine or given.get("modality", "text") != "text":
                    break
            else:
                _seen[embedding] = by, strips
                return inputs
        return None

    @classmethod
    def for_training(cls, embedding: SentenceTransformer) -> Inputs:
        """Return the inputs of an embedding that is to be trained.

        Raises:
            InputError: it prepares texts in a way that only itself knows.
        """
        inputs = cls.of(embedding)
        if inputs is None:
            raise InputError(
                f"the embedding cannot be fine-tuned here: its {type(embedding[0]).__name__} prepares texts in a way "
                "that only itself knows; take it off the shelf (embedding.finetune=false, or no train), or give another"
            )
        return inputs

    def read(self, text: str) -> str:
        """Return what is tokenised of a text, its prompt included."""
        whole = prompt_of(self.embedding) + text
        return whole.strip() if self.strips else whole

    def features(self, batch: Batch) -> dict[str, Any]:
        """Return what the embedding takes of a batch with `input_ids` and `attention_mask`, `(n, tokens)`."""
        features: dict[str, Any] = {key: batch[key] for key in ("input_ids", "attention_mask")}
        if prompt_of(self.embedding) and any(
            isinstance(module, Pooling) and not module.include_prompt for module in self.embedding
        ):
            features["prompt_length"] = self.prompt_length
        return features

    @property
    @noting_nothing()
    def prompt_length(self) -> int:
        """Number of tokens before the text, which a pooling may leave out; a token that ends a text is not of these."""
        tokenizer = self.embedding.tokenizer
        limit = longest_of(self.embedding) or 512
        ids = tokenize(tokenizer, [(prompt_of(self.embedding),)], limit)[0]["input_ids"]
        return len(ids) - int(ids[-1] in tokenizer.all_special_ids)

    def __call__(self, batch: Batch) -> Tensor:
        """Return embeddings `(n, d)`, float32, of a batch with `input_ids` and `attention_mask`, `(n, tokens)`."""
        vectors: Tensor = self.embedding(self.features(batch))["sentence_embedding"]
        return truncated(self.embedding, vectors.float())


@torch.inference_mode()
@noting_nothing()
def sees_padding(inputs: Inputs) -> bool:
    """Tell whether an embedding makes another vector of a text that is padded.

    Convolutions over tokens and networks without an attention mask do, so that a text depends on its batch.
    """
    tokenizer, device = inputs.embedding.tokenizer, inputs.embedding.device
    limit = longest_of(inputs.embedding) or 512
    ids = tokenize(tokenizer, [(inputs.read("a text"),)], limit)[0]["input_ids"]
    if len(ids) + PADDING > limit:
        return False
    alone = torch.tensor([ids], device=device)
    padded = torch.tensor([[*ids, *[int(tokenizer.pad_token_id or 0)] * PADDING]], device=device)
    training = inputs.embedding.training
    inputs.embedding.eval()
    of_alone = inputs({"input_ids": alone, "attention_mask": torch.ones_like(alone)})
    mask = (torch.arange(padded.shape[1], device=device) < len(ids)).long()[None]
    of_padded = inputs({"input_ids": padded, "attention_mask": mask})
    inputs.embedding.train(training)
    return not torch.allclose(F.normalize(of_alone, dim=-1), F.normalize(of_padded, dim=-1), rtol=0, atol=1e-4)


def truncated(embedding: SentenceTransformer, vectors: Tensor) -> Tensor:
    """Return the leading dimensions of vectors `(n, d)`, as many as the embedding is set to keep."""
    return vectors if embedding.truncate_dim is None else vectors[..., : embedding.truncate_dim]


def reads_one_way(embedding: SentenceTransformer) -> bool:
    """Tell whether the first token's state in the transformer of an embedding knows nothing of the tokens behind it."""
    network, tokenizer = embedding.transformers_model, embedding.tokenizer
    try:
        return network is not None and tokenizer is not None and is_causal(network, tokenizer)
    except (TypeError, ValueError, AttributeError, RuntimeError):  # it reads no texts, or takes more for it
        return False


@torch.no_grad()
@noting_nothing()
def check_reads_texts(embedding: SentenceTransformer, name: str) -> None:
    """Let an embedding encode a long text.

    Args:
        embedding: changed in nothing.
        name: what an error calls it, as in `embedding.pretrained=FOLDER`.

    Raises:
        InputError: it cannot.
    """
    inputs, limit = Inputs.of(embedding), min(longest_of(embedding) or PROBED, PROBED)
    try:
        if inputs is None:
            embedding.encode(["a text"], show_progress_bar=False)
            return
        ids = tokenize(embedding.tokenizer, [("a " * limit,)], limit)[0]["input_ids"]
        whole = torch.tensor([ids], device=embedding.device)
        training = embedding.training
        embedding.eval()
        inputs({"input_ids": whole, "attention_mask": torch.ones_like(whole)})
        embedding.train(training)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(". ")
        raise InputError(
            f"{name} is no text embedding: it cannot encode a text ({reason}); give one that does"
        ) from None
