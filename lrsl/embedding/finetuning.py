"""How the text embedding is fine-tuned, and the loop that does it without a trainer around it."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from lrsl import core
from lrsl.config.schema import EmbeddingConfig
from lrsl.data.corpus import Split
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.errors import InputError
from lrsl.nn.batches import Batch, loader
from lrsl.nn.dropout import quicken
from lrsl.nn.optimisation import adamw, trainable
from lrsl.nn.precision import native_precision
from lrsl.nn.pretrained import adjust

_DECIDED_BY_THE_EMBEDDER = ("name", "pretrained", "pooling", "max_length")
_KINDS = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a string"}
_OR_NONE = " | None"


def embedding_settings(**recipe: Any) -> EmbeddingConfig:
    """Return the default recipe with the given keys changed, for an embedder that is there already.

    With `finetune=False` there is nothing to fine-tune, and no other key has an effect.

    Raises:
        InputError: a key is unknown or has no effect here, or its value is of another kind or out of range.
    """
    types = {setting.name: str(setting.type) for setting in fields(EmbeddingConfig)}
    honoured = [name for name in types if name not in _DECIDED_BY_THE_EMBEDDER]
    for key, value in recipe.items():
        if key in _DECIDED_BY_THE_EMBEDDER:
            raise InputError(f"{key} has no effect on an embedder that is there already; hand in one that has it")
        if key not in types:
            raise InputError(f"{key} is no key of the embedding's recipe; use one of {', '.join(honoured)}")
        if not _is_a(value, types[key]):
            raise InputError(f"{key} is {value!r}; it must be {_KINDS[types[key].removesuffix(_OR_NONE)]}")
        if key != "finetune" and recipe.get("finetune", True) is False:
            raise InputError(f"{key} has no effect with finetune=False; leave it out")
    settings = EmbeddingConfig(**recipe)
    if settings.k < 1:
        raise InputError(f"k={settings.k} is too small; it must be at least 1")
    if "k" in recipe and settings.negatives != "confused":
        raise InputError(f"k has no effect with negatives={settings.negatives}; it goes with negatives=confused")
    return settings


def _is_a(value: Any, kind: str) -> bool:
    """Tell whether a value is of the type that a field of the configuration is annotated with."""
    if value is None:
        return kind.endswith(_OR_NONE)
    kind = kind.removesuffix(_OR_NONE)
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    kinds: dict[str, type] = {"int": numbers.Integral, "float": numbers.Real, "str": str}
    return isinstance(value, kinds[kind])


def confused_labels(logits: Tensor, labels: Tensor, settings: EmbeddingConfig) -> Tensor:
    """Return the labels `(n, k)` a classifier confuses each training row with, for `negatives=confused`.

    Args:
        logits: the classifier's, `(n, classes)`.
        labels: the true ones, `(n,)`.
        settings: k, of which there are at most as many as there are other labels.
    """
    return core.confused_labels(logits, labels, min(settings.k, logits.shape[1] - 1))


class Recipe:
    """How an embedding is fine-tuned, whoever drives: the batches, the optimiser with its schedule, and clipping.

    `finetuned` drives it in a plain loop, `lrsl.training.embedding` in Lightning's. The rule of the best epoch is the
    same in both: the first one with the highest validation accuracy; training stops after `patience` epochs without a
    higher one. On a CPU in float32 the two give the same weights, bit for bit.

    Args:
        ranking: the embedding with its labels and its loss.
    """

    def __init__(self, ranking: LabelRanking) -> None:
        self.ranking = ranking
        self.settings = ranking.settings

    def training(self, split: Split, seed: int) -> DataLoader[Batch]:
        """Return the batches to learn from, shuffled by the seed."""
        return loader(self.ranking.samples(split), self.settings.batch_size, seed=seed)

    def validation(self, split: Split) -> DataLoader[Batch]:
        """Return the batches by which the best epoch is chosen."""
        return loader(self.ranking.samples(split))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained with its peak learning rate."""
        return [{"params": trainable(self.ranking.parameters()), "lr": self.settings.lr}]

    def optimisation(self, steps: int) -> tuple[AdamW, LambdaLR]:
        """Return the optimiser and its schedule over all steps of the training, which moves once per step."""
        settings = self.settings
        return adamw(self.parameter_groups(), weight_decay=settings.weight_decay, steps=steps, warmup=settings.warmup)

    def clip(self) -> None:
        """Shorten the gradient to the largest norm allowed."""
        nn.utils.clip_grad_norm_(self.ranking.parameters(), self.settings.gradient_clip)


def finetuned(
    embedding: SentenceTransformer,
    label_texts: Sequence[str],
    train: tuple[Sequence[str], Tensor, Tensor | None],
    held_out: tuple[Sequence[str], Tensor],
    settings: EmbeddingConfig,
    *,
    seed: int = 0,
) -> tuple[SentenceTransformer, list[float]]:
    """Fine-tune a copy of an embedding without a trainer around it, and keep its best epoch.

    Args:
        embedding: stays as it is.
        label_texts: the text of each label.
        train: texts, labels and, for `negatives=confused`, the classifier's logits.
        held_out: texts and labels by which the best epoch is chosen.
        settings: the recipe.
        seed: of the batches and of dropout; the caller's random state stays as it is.

    Returns:
        the copy, and after each epoch the share of held-out texts whose nearest label is their own.

    Raises:
        ValueError: `negatives=confused` without logits.
        InputError: there is no transformer in the embedding, it does not know the attention of the recipe, or training
            diverges.
    """
    if embedding.transformers_model is None:
        raise InputError(
            f"an embedder of {', '.join(type(module).__name__ for module in embedding)} cannot be fine-tuned, since "
            "there is no transformer in it; finetune=False takes it as it is, and lets views learn from train"
        )
    texts, labels, logits = train
    confused = None
    if settings.negatives == "confused" and logits is not None:
        confused = confused_labels(logits, labels, settings)
    embedding = copy.deepcopy(embedding).float()  # in half precision an optimiser's squares are 0
    device = embedding.device.type
    mixed = native_precision(device) == "bf16-mixed"
    network = embedding.transformers_model
    assert network is not None
    if settings.attention is None and device == "cpu":
        quicken(network)
    adjust(network, settings.encoder_dropout, settings.attention, "embedding")
    ranking = LabelRanking(embedding, label_texts, settings, confused).to(embedding.device)
    recipe = Recipe(ranking)
    batches = recipe.training(_split(texts, labels), seed)
    validation = recipe.validation(_split(*held_out))
    optimizer, schedule = recipe.optimisation(settings.epochs * len(batches))
    accuracies: list[float] = []
    best: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(settings.epochs):
            ranking.train()
            for batch in batches:
                # uncached, as in Lightning: a cast shared by texts and labels would add up their gradients in bfloat16
                with torch.autocast(device, torch.bfloat16, enabled=mixed, cache_enabled=False):
                    loss = ranking(_moved(batch, embedding.device))
                if device == "cpu" and loss.isnan():
                    raise diverged(settings)
                loss.backward()
                recipe.clip()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if not loss.isfinite():
                raise diverged(settings)
            accuracies.append(accuracy(ranking, validation))
            if accuracies[-1] > max(accuracies[:-1], default=-1.0):
                best = {name: value.detach().clone() for name, value in ranking.state_dict().items()}
            if len(accuracies) - accuracies.index(max(accuracies)) > settings.patience:
                break
    ranking.load_state_dict(best)
    return embedding, accuracies


def diverged(settings: EmbeddingConfig) -> InputError:
    """Return the sentence on a fine-tuning whose loss is no number any more."""
    return InputError(
        "fine-tuning the embedding diverged, for its loss is no number any more; lower "
        f"lr={settings.lr:g}, scale={settings.scale:g} or gradient_clip={settings.gradient_clip:g}"
    )


@torch.no_grad()
def accuracy(ranking: LabelRanking, batches: DataLoader[Batch]) -> float:
    """Return the share of texts whose nearest label is their own, and leave the embedding in evaluation mode."""
    ranking.eval()
    label_vectors = ranking.encode_labels(range(len(ranking.label_ids)))
    correct = [
        ranking.scores(batch, label_vectors).argmax(-1) == batch["label"]
        for batch in (_moved(batch, label_vectors.device) for batch in batches)
    ]
    return torch.cat(correct).double().mean().item()


def _split(texts: Sequence[str], labels: Tensor) -> Split:
    return Split(ids=[str(row) for row in range(len(texts))], texts=list(texts), labels=labels.tolist())


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device) for key, value in batch.items()}
