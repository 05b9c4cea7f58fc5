"""The text embedding of section 3.1: a sentence-transformers model, loaded from anything that is an encoder."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import Tensor
from transformers import PreTrainedModel

from lrsl import files
from lrsl.config.schema import EmbeddingConfig
from lrsl.embedding.inputs import Inputs, check_reads_texts, longest_of, reads_one_way, sees_padding
from lrsl.errors import InputError
from lrsl.nn.batches import pad, tokenize
from lrsl.nn.pretrained import adjust, loading, locate, quiet
from lrsl.nn.weights import check_weights_in
from lrsl.strict_json import parsed

logging.getLogger("sentence_transformers").setLevel(logging.WARNING)

SETTINGS = "config_sentence_transformers.json"
TRUNCATE = "truncate_dim"
"""The file in which sentence-transformers keeps the settings of an embedding, and one that it keeps from version 6."""
_TRUST: dict[str, Any] = {"trust_remote_code": False}
_PARTS = ("model", "processor", "config")
SLACK = 1.25  # of a batch's lengths: a text is padded by a quarter at most


def load_embedding(
    pretrained: str, *, pooling: str | None = None, max_length: int | None = None, key: str = "pretrained"
) -> SentenceTransformer:
    """Return a text embedding with unit-length vectors.

    A folder or hub id that holds a sentence-transformers model has a pooling of its own; any other encoder gets the
    pooling asked for.

    Args:
        pretrained: hub id or local folder.
        pooling: `cls` or `mean`, for encoders that do not say it themselves; `mean` unless given.
        max_length: longest input in tokens; None keeps the model's own.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable, lacks most of its weights, does not encode
            texts, or has another pooling than is asked for.
    """
    with loading(pretrained, key) as path, warnings.catch_warnings(), _errors_alone():
        warnings.simplefilter("ignore")
        if _is_plain_encoder(path):
            transformer = Transformer(path, **{f"{part}_kwargs": dict(_TRUST) for part in _PARTS})
            width = transformer.get_embedding_dimension()
            modules = [transformer, Pooling(width, pooling_mode=pooling or "mean"), Normalize()]
            embedding = SentenceTransformer(modules=modules, device="cpu")
            if pooling == "cls" and reads_one_way(embedding):
                name = _pooling_key(key)
                raise InputError(
                    f"{name}=cls makes all texts alike: {key}={pretrained} reads from left to right, so that its first "
                    f"token knows nothing of the text; set {name}=mean"
                )
        else:
            embedding = SentenceTransformer(path, device="cpu", **_TRUST)
            _check_pooling(embedding, pooling, pretrained, key)
        if isinstance(embedding.transformers_model, PreTrainedModel):
            check_weights_in(_first_module(path), embedding.transformers_model, f"{key}={pretrained}")
    embedding.float()
    if embedding.truncate_dim is None:
        embedding.truncate_dim = _saved(path).get(TRUNCATE)
    longest = longest_of(embedding) or max_length
    if longest is not None and embedding.transformers_model is not None:  # else it reads without end
        embedding.max_seq_length = min(longest, max_length or longest)
    check_reads_texts(embedding, f"{key}={pretrained}")
    say_what_is_compared(embedding, f"{key}={pretrained}")
    return embedding


def say_what_is_compared(embedding: SentenceTransformer, name: str) -> None:
    """Warn where an embedding is made for another similarity than the cosine, which is taken all the same.

    Args:
        embedding: says so itself.
        name: what the warning calls it.
    """
    if embedding.similarity_fn_name != "cosine":
        warnings.warn(
            f"{name} is made for {embedding.similarity_fn_name} similarity, and here its vectors are compared by their "
            "cosines",
            stacklevel=3,
        )


def _pooling_key(key: str) -> str:
    """Return the key of the pooling that stands beside the one of the weights."""
    return f"{key.rpartition('.')[0]}.pooling".lstrip(".")


def _check_pooling(embedding: SentenceTransformer, asked: str | None, pretrained: str, key: str) -> None:
    own = next((module.pooling_mode for module in embedding if isinstance(module, Pooling)), None)
    if asked not in (None, own):
        name = _pooling_key(key)
        brings = f"brings its own, which is {own}" if own else "makes vectors in its own way"
        raise InputError(f"{name}={asked} has no effect: {key}={pretrained} {brings}; leave {name} out")


def _first_module(path: str) -> str:
    """Return the folder of the network of a sentence-transformers model, or of a plain encoder."""
    modules = Path(path) / "modules.json"
    return str(Path(path) / parsed(modules.read_text(encoding="utf-8"))[0]["path"]) if modules.is_file() else path


@contextmanager
def _errors_alone() -> Iterator[None]:
    """Keep sentence-transformers from warning of weights in half precision, which are not left in it."""
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _is_plain_encoder(path: str) -> bool:
    if Path(path).is_dir():
        return not (Path(path) / "modules.json").exists()
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  (only for hub ids)
    from sentence_transformers.util import is_sentence_transformer_model  # noqa: PLC0415

    if isinstance(try_to_load_from_cache(path, "modules.json"), str):
        return False
    return not is_sentence_transformer_model(locate(path))


_watching: ContextVar[Callable[[int], None] | None] = ContextVar("watching", default=None)


@contextmanager
def watched(seen: Callable[[int], None]) -> Iterator[None]:
    """Have `encode` tell, time and again, how many more texts have a vector."""
    before = _watching.set(seen)
    try:
        yield
    finally:
        _watching.reset(before)


def encode(embedding: SentenceTransformer, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """Return unit-length vectors `(n, d)` of the texts, float32, on the CPU; `(0, d)` for no text.

    What `embedding.encode` returns of each text by itself, to within rounding. On a CPU padding costs as much as text
    does, so that there are smaller batches where lengths differ. Where a network sees padding nothing is padded.
    """
    if not texts:
        return torch.zeros(0, embedding.get_embedding_dimension() or 0)
    longest, inputs, seen = longest_of(embedding), Inputs.of(embedding), _watching.get()
    if inputs is None or longest is None:
        encoded = embedding.encode(
            list(texts),
            batch_size=batch_size,
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return encoded.float().cpu()
    tokenizer, device = embedding.tokenizer, embedding.device
    tokens = tokenize(tokenizer, [(inputs.read(text),) for text in texts], longest)
    ids = [of_text["input_ids"] for of_text in tokens]
    slack = SLACK if device.type == "cpu" else math.inf
    training = embedding.training
    embedding.eval()
    if min(map(len, ids)) < max(map(len, ids)) and sees_padding(inputs):
        slack = 1.0
    vectors: list[Tensor] = []
    rows: list[int] = []
    with torch.inference_mode():
        for batch in by_length([len(of_text) for of_text in ids], batch_size, slack):
            padded = pad([ids[row] for row in batch], int(tokenizer.pad_token_id or 0))
            encoded = inputs({name: values.to(device) for name, values in padded.items()})
            vectors.append(F.normalize(encoded, dim=-1).cpu())
            rows += batch
            if seen is not None:
                seen(len(batch))
    embedding.train(training)
    return torch.cat(vectors)[torch.tensor(rows).argsort()]


def by_length(lengths: Sequence[int], batch_size: int, slack: float) -> Iterator[list[int]]:
    """Yield batches of rows, the shortest first, in none of which the longest exceeds the shortest times `slack`."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == batch_size or lengths[row] > slack * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def save_embedding(embedding: SentenceTransformer, folder: Path) -> None:
    """Save as a standard sentence-transformers folder; `SentenceTransformer(folder).encode` gives the same vectors."""
    with quiet():
        embedding.save_pretrained(str(folder), create_model_card=False)
    saved = _saved(folder)
    if embedding.truncate_dim is not None and saved.get(TRUNCATE) != embedding.truncate_dim:  # before version 6
        text = json.dumps({**saved, TRUNCATE: embedding.truncate_dim}, indent=2, ensure_ascii=False)
        (folder / SETTINGS).write_text(f"{text}\n", encoding="utf-8")
    files.share(folder)


def _saved(folder: str | Path) -> dict[str, Any]:
    """Return the settings that sentence-transformers keeps in a folder; none where it keeps none."""
    try:
        saved = parsed((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def configured_embedding(settings: EmbeddingConfig, pretrained: str | None = None) -> SentenceTransformer:
    """Return a text embedding with what the configuration changes in it.

    Args:
        settings: the `embedding` part of the configuration.
        pretrained: a folder to load instead of the configured one, such as what fine-tuning has left.

    Raises:
        InputError: it is neither a folder with a model nor reachable, has another pooling than is configured, or does
            not know the configured attention.
    """
    embedding = load_embedding(
        pretrained or settings.pretrained,
        pooling=settings.pooling,
        max_length=settings.max_length,
        key="embedding.pretrained",
    )
    if embedding.transformers_model is not None:
        adjust(embedding.transformers_model, settings.encoder_dropout, settings.attention, "embedding")
    return embedding
