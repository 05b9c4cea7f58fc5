"""From a configuration to a network."""

from __future__ import annotations

from lrsl.config import ModelConfig
from lrsl.data.corpus import Corpus
from lrsl.models.encoder import EncoderClassifier
from lrsl.models.network import Network
from lrsl.models.pretrained import load_encoder, load_tokenizer

KEY = "model.pretrained"


def build_network(settings: ModelConfig, corpus: Corpus) -> Network:
    """Return the configured classifier network for a corpus, its pretrained part loaded.

    Raises:
        InputError: the pretrained part is neither a folder with a model nor reachable.
    """
    tokenizer = load_tokenizer(settings.pretrained, KEY)
    encoder = load_encoder(settings.pretrained, KEY)
    return EncoderClassifier(encoder, tokenizer, len(corpus.labels), settings)
