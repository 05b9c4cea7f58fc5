"""What the embedding learns: a text lies near its label's text and far from other labels' (section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from lrsl import core
from lrsl.config.schema import EmbeddingConfig
from lrsl.data.corpus import Split
from lrsl.embedding.text_embedding import encode
from lrsl.errors import InputError
from lrsl.nn.batches import Batch, TokenDataset, Tokenize, loader, pad, tokenize
from lrsl.nn.dropout import quicken
from lrsl.nn.optimisation import adamw, trainable
from lrsl.nn.precision import native_precision


class LabelRanking(nn.Module):
    """A text embedding with the labels it ranks, and the multiple negatives ranking loss over them.

    Each distinct label of a step is encoded once, however many texts share it.

    Args:
        embedding: the sentence-transformers model, trained in place.
        label_texts: the text of each label.
        settings: negatives, scale, longest input.
        confused: the labels each training row is confused with, `(rows, k)`, for `negatives=confused`.

    Raises:
        ValueError: `negatives=confused` without confused labels.
    """

    confused: Tensor | None
    tokenize: Tokenize = staticmethod(tokenize)

    def __init__(
        self,
        embedding: SentenceTransformer,
        label_texts: Sequence[str],
        settings: EmbeddingConfig,
        confused: Tensor | None = None,
    ) -> None:
        super().__init__()
        if settings.negatives == "confused" and confused is None:
            raise ValueError("negatives=confused needs the confused labels of every training row")
        self.embedding = embedding
        self.settings = settings
        self.register_buffer("confused", confused, persistent=False)
        tokenizer = embedding.tokenizer
        self.label_ids = [
            tokens["input_ids"] for tokens in tokenize(tokenizer, [(text,) for text in label_texts], self.max_length)
        ]
        self.pad_token_id = int(tokenizer.pad_token_id or 0)

    @property
    def max_length(self) -> int:
        """Longest input in tokens."""
        return int(self.embedding.max_seq_length or self.settings.max_length)

    def samples(self, split: Split) -> TokenDataset:
        """Return the token ids of a split's texts."""
        return TokenDataset(self.embedding.tokenizer, split.texts, split.labels, self.max_length, self.tokenize)

    def encode(self, batch: Batch) -> Tensor:
        """Return embeddings `(n, d)`, float32, for `input_ids` and `attention_mask` `(n, tokens)`."""
        features = {key: batch[key] for key in ("input_ids", "attention_mask")}
        vectors: Tensor = self.embedding(features)["sentence_embedding"]
        return vectors.float()

    def encode_labels(self, labels: Sequence[int]) -> Tensor:
        """Return the embeddings `(u, d)` of u labels."""
        batch = pad([self.label_ids[label] for label in labels], self.pad_token_id)
        device = next(self.embedding.parameters()).device
        return self.encode({key: value.to(device) for key, value in batch.items()})

    def similarity(self, texts: Tensor, labels: Tensor) -> Tensor:
        """Return cosines in full precision, since the scale would multiply what rounding leaves."""
        with torch.autocast(texts.device.type, enabled=False):
            return core.label_similarity(texts, labels)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of eq. 6 with the configured negatives."""
        labels, candidates = batch["label"], None
        if self.settings.negatives == "all":
            distinct = torch.arange(len(self.label_ids), device=labels.device)
            positive = labels
        elif self.settings.negatives == "batch":
            distinct, positive = labels.unique(return_inverse=True)
        else:
            assert self.confused is not None
            confused = self.confused[batch["index"]]
            distinct, columns = torch.cat([labels[:, None], confused], dim=1).unique(return_inverse=True)
            positive = columns[:, 0]
            candidates = torch.zeros(len(labels), len(distinct), dtype=torch.bool, device=labels.device)
            candidates.scatter_(1, columns[:, 1:], value=True)
        similarity = self.similarity(self.encode(batch), self.encode_labels(distinct.tolist()))
        return core.ranking_loss(similarity, positive, self.settings.scale, candidates)


def embedding_settings(**recipe: Any) -> EmbeddingConfig:
    """Return the default recipe with the given keys changed.

    Raises:
        ValueError: a key is unknown or its value out of range.
    """
    known = [setting.name for setting in fields(EmbeddingConfig)]
    for key in recipe:
        if key not in known:
            raise InputError(f"{key} is no key of the embedding's recipe; use one of {', '.join(known)}")
    return EmbeddingConfig(**recipe)


def finetuned(
    embedding: SentenceTransformer,
    label_texts: Sequence[str],
    train: tuple[Sequence[str], Tensor, Tensor | None],
    held_out: tuple[Sequence[str], Tensor],
    settings: EmbeddingConfig,
) -> tuple[SentenceTransformer, list[float]]:
    """Fine-tune a copy of an embedding without a trainer around it, and keep its best epoch.

    Args:
        embedding: stays as it is.
        label_texts: the text of each label.
        train: texts, labels and, for `negatives=confused`, the classifier's logits.
        held_out: texts and labels by which the best epoch is chosen.
        settings: the recipe.

    Returns:
        the copy, and after each epoch the share of held-out texts whose nearest label is their own.

    Raises:
        ValueError: `negatives=confused` without logits.
    """
    texts, labels, logits = train
    confused = None
    if settings.negatives == "confused" and logits is not None:
        confused = core.confused_labels(logits, labels, min(settings.k, len(label_texts) - 1))
    embedding = copy.deepcopy(embedding)
    device = embedding.device.type
    mixed = native_precision(device) == "bf16-mixed"
    if device == "cpu" and embedding.transformers_model is not None:
        quicken(embedding.transformers_model)
    ranking = LabelRanking(embedding, label_texts, settings, confused).to(embedding.device)
    tokens = TokenDataset(embedding.tokenizer, texts, labels.tolist(), ranking.max_length)
    batches = loader(tokens, settings.batch_size, seed=0)
    optimizer, schedule = adamw(
        [{"params": trainable(ranking.parameters()), "lr": settings.lr}],
        weight_decay=settings.weight_decay,
        steps=settings.epochs * len(batches),
        warmup=settings.warmup,
    )
    accuracies: list[float] = []
    best: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(settings.epochs):
            ranking.train()
            for batch in batches:
                with torch.autocast(device, torch.bfloat16, enabled=mixed):
                    loss = ranking({key: value.to(embedding.device) for key, value in batch.items()})
                loss.backward()
                nn.utils.clip_grad_norm_(ranking.parameters(), settings.gradient_clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            ranking.eval()
            nearest = core.label_similarity(encode(embedding, held_out[0]), encode(embedding, label_texts)).argmax(-1)
            accuracies.append((nearest == held_out[1]).double().mean().item())
            if accuracies[-1] > max(accuracies[:-1], default=-1.0):
                best = {name: value.detach().clone() for name, value in ranking.state_dict().items()}
            if len(accuracies) - accuracies.index(max(accuracies)) > settings.patience:
                break
    ranking.load_state_dict(best)
    return embedding, accuracies
