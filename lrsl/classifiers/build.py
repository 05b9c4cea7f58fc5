"""From a configuration to a network."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.aphan import AdjacencyPairNetwork
from lrsl.classifiers.encoder import EncoderClassifier
from lrsl.classifiers.hldic import LabelTreeNetwork
from lrsl.classifiers.network import Network
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Corpus
from lrsl.errors import InputError
from lrsl.nn.pretrained import (
    adjust,
    check_reads_texts,
    is_causal,
    load_encoder,
    load_tokenizer,
    longest_input,
)

KEY = "model.pretrained"


def build_network(settings: ModelConfig, corpus: Corpus, device: str = "auto", *, shards: bool = False) -> Network:
    """Return the configured classifier network for a corpus, its pretrained part loaded.

    Args:
        settings: the `model` part of the configuration.
        corpus: the data.
        device: the kind of device it will compute on: `cuda`, `mps`, `cpu`, or `auto` for the best there is.
        shards: whether a language model is going to be sharded among processes.

    Raises:
        InputError: the pretrained part is neither a folder with a model nor reachable.
    """
    if settings.architecture == "llm":
        from lrsl.classifiers.llm import load_llm  # noqa: PLC0415  (peft and bitsandbytes, which nothing else needs)

        return load_llm(settings, len(corpus.labels), device, shards=shards)
    return ENCODERS[settings.architecture](settings, corpus)


def _encoder(settings: ModelConfig, corpus: Corpus) -> Network:
    return EncoderClassifier(*_pretrained(settings), len(corpus.labels), settings)


def _aphan(settings: ModelConfig, corpus: Corpus) -> Network:
    return AdjacencyPairNetwork(*_pretrained(settings), len(corpus.labels), settings)


def _hldic(settings: ModelConfig, corpus: Corpus) -> Network:
    return LabelTreeNetwork(*_pretrained(settings), corpus, settings)


def _pretrained(settings: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_tokenizer(settings.pretrained, KEY)
    encoder = load_encoder(settings.pretrained, KEY)
    adjust(encoder, settings.encoder_dropout, settings.attention, "model")
    named = f"{KEY}={settings.pretrained}"
    check_reads_texts(encoder, tokenizer, longest_input(tokenizer, encoder, settings.max_length), named)
    if settings.architecture != "aphan" and (settings.pooling or "cls") == "cls" and is_causal(encoder, tokenizer):
        raise InputError(
            f"{named} reads from left to right, so that its first token knows nothing of the text; set "
            "model.pooling=mean, or model.architecture=llm"
        )
    return encoder, tokenizer


ENCODERS: dict[str, Callable[[ModelConfig, Corpus], Network]] = {
    "encoder": _encoder,
    "aphan": _aphan,
    "hldic": _hldic,
}
"""How the network around a pretrained encoder is made, for each `model.architecture`."""
