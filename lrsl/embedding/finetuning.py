"""Fine-tuning a text embedding without a trainer around it."""

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
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import encode
from lrsl.errors import InputError
from lrsl.nn.batches import TokenDataset, loader
from lrsl.nn.dropout import quicken
from lrsl.nn.optimisation import adamw, trainable
from lrsl.nn.precision import native_precision


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
