"""A finished run opened again, to answer new texts: its classifier with its weights, and the reranker that it deploys.

Nothing is trained, and nothing in the folder is executed: weights are read as tensors alone, and what its configuration
names is not imported.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrsl.classifiers.aphan import AdjacencyPairNetwork
from lrsl.classifiers.build import build_network
from lrsl.classifiers.network import Network
from lrsl.config.composition import recorded
from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.load import load_corpus
from lrsl.data.turns import parse_turns
from lrsl.embedding.text_embedding import configured_embedding
from lrsl.errors import InputError
from lrsl.nn.batches import loader
from lrsl.nn.onnx import TORCH
from lrsl.nn.precision import native_precision
from lrsl.paths import is_file, is_folder
from lrsl.plugin.function import RerankedFunction
from lrsl.plugin.reranker import Reranker
from lrsl.plugin.saving import CONFIG
from lrsl.reranking.on_hard.defer import Defer
from lrsl.run import results
from lrsl.run.finished import CONFIGURATION, RERANKER, finished_results
from lrsl.run.shapes import of_labels
from lrsl.strict_json import parsed

CLASSIFIER, CHECKPOINT, ADAPTER, EMBEDDING = "classifier", "best.ckpt", "adapter", "embedding"
"""What a run calls the folders and files of what it has trained."""

_CASTS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def reopen(
    folder: Path,
    *,
    device: str = "auto",
    defer: Defer | None = None,
    allow_server: bool = False,
    backend: str = TORCH,
) -> RerankedFunction:
    """Return the classifier of a finished run with the reranker that it deploys, for new texts.

    On the texts of its test it answers as the run did. Where the run deploys the classifier alone, the answers are the
    classifier's, and what is hard is told all the same. A dialogue is a text with a line per turn, which may start with
    `Agent:` or `Customer:`.

    Args:
        folder: the run's.
        device: where to compute: `cuda`, `mps`, `cpu`, or `auto` for the best there is.
        defer: who answers hard texts where the run has `reranker.on_hard=defer`, for a function is never kept.
        allow_server: as for `Reranker.from_pretrained`.
        backend: what computes the embedding, as for `Reranker.from_pretrained`; the classifier is left to torch.

    Raises:
        InputError: there is no finished run, something of it is missing or damaged, or its pretrained weights are no
            longer where they were.
        ValueError: as for `Reranker.from_pretrained`.
    """
    told = finished_results(folder)
    config, labels = configuration_of(folder), _labels(folder)
    where = _device(device)
    reranker = _reranker(folder, config, where, backend, defer=defer, allow_server=allow_server)
    corpus = _outline(config, labels)
    network = _network(folder, config, corpus, where)
    turns = isinstance(network, AdjacencyPairNetwork) and bool(told.get("turns"))
    return RerankedFunction(Reopened(network, where, _precision(told, where), turns), reranker)


@dataclass(frozen=True)
class Reopened:
    """The classifier of a run: gives logits `(n, classes)`, float32, on the CPU, for n texts.

    Attributes:
        network: in evaluation mode, on the device.
        device: where it computes.
        precision: of the run, as far as the device computes in it natively.
        turns: whether a line of a text is a turn of a dialogue.
    """

    network: Network
    device: torch.device
    precision: str
    turns: bool

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the logits.

        Raises:
            ValueError: a text is empty, and the network reads the parts of texts.
        """
        if not texts:
            return torch.zeros(0, 0)
        if isinstance(self.network, AdjacencyPairNetwork):
            _check_not_empty(texts)
        turns = [_turns(text) for text in texts] if self.turns else None
        split = Split([""] * len(texts), [*texts], [0] * len(texts), turns)
        cast = _CASTS.get(self.precision)
        found, rows = [], []
        with nullcontext() if cast is None else torch.autocast(self.device.type, cast, cache_enabled=False):
            for batch in loader(self.network.samples(split)):
                found.append(self.network({key: value.to(self.device) for key, value in batch.items()}).float().cpu())
                rows.append(batch["index"])
        return torch.cat(found)[torch.cat(rows).argsort()]


def configuration_of(folder: Path) -> Config:
    """Return the configuration of a finished run.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        plain = parsed((folder / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder / CONFIGURATION} is missing or damaged; run it again with rerun=true") from None
    if not isinstance(plain, dict):
        raise InputError(f"{folder / CONFIGURATION} is damaged; run it again with rerun=true")
    try:
        return recorded(plain)
    except InputError as error:
        raise InputError(f"{folder / CONFIGURATION}: {error}") from None


def training_texts(folder: Path) -> list[str]:
    """Return the texts that the views of a finished run have learnt from, in their order, read from its data.

    Raises:
        InputError: the data are not where they were, or have changed.
    """
    told, config = finished_results(folder), configuration_of(folder)
    corpus = load_corpus(config.dataset, config.data_dir)
    if corpus.fingerprint() != told.get("data"):
        raise InputError("the data of the run have changed since")
    return (corpus.train.joined(corpus.val) if config.reranker.folds else corpus.train).texts


def _labels(folder: Path) -> dict[str, Any]:
    """Return what labels.json says of the labels.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / results.LABELS
    try:
        labels = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        labels = None
    texts = labels.get("texts") if isinstance(labels, dict) else None
    if not (of_labels(labels) and isinstance(texts, list) and len(texts) == len(labels["labels"])):
        raise InputError(f"{path} is missing or damaged; run it again with rerun=true")
    return dict(labels)


def _outline(config: Config, labels: dict[str, Any]) -> Corpus:
    """Return the corpus without its samples, which is what a network is built for."""
    nothing = Split([], [], [])
    return Corpus(
        config.dataset.name, labels["labels"], labels["texts"], nothing, nothing, nothing, labels.get("groups")
    )


def _device(asked: str) -> torch.device:
    if asked != "auto":
        return torch.device(asked)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _precision(told: dict[str, Any], device: torch.device) -> str:
    """Return the precision that the run computed in, where the device computes in it natively; else 32-true."""
    precision = str(told.get("precision", "32-true"))
    native = device.type == "cuda" or native_precision(device.type) == precision
    return precision if native else "32-true"


def _network(folder: Path, config: Config, corpus: Corpus, device: torch.device) -> Network:
    """Return the network with the weights of the run, in evaluation mode.

    Raises:
        InputError: its pretrained part cannot be had, or its weights are missing or damaged.
    """
    place = folder / CLASSIFIER
    weights = place / (ADAPTER if config.model.architecture == "llm" else CHECKPOINT)
    if not weights.exists():
        raise InputError(f"{weights} is missing; run it again with rerun=true")
    try:
        if config.model.architecture == "llm":
            from lrsl.classifiers.llm import load_exported  # noqa: PLC0415  (peft, which nothing else needs)

            network: Network = load_exported(weights, device=device.type)
        else:
            network = build_network(config.model, corpus, device.type)
    except InputError as error:
        raise InputError(
            f"the classifier of {folder} is built on {config.model.pretrained}, which cannot be loaded any more; put "
            f"it back there ({error})"
        ) from None
    if config.model.architecture != "llm":
        _fill(network, weights)
    return network.to(device).eval()


def _fill(network: Network, checkpoint: Path) -> None:
    """Load the weights of a checkpoint, of which nothing but tensors is read.

    Raises:
        InputError: it is damaged, or that of another network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused a moment later
            saved = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
        state = {name.removeprefix("network."): value for name, value in saved.items() if name.startswith("network.")}
        network.load_state_dict(state)
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{checkpoint} is damaged ({reason}); run it again with rerun=true") from None


def _reranker(
    folder: Path, config: Config, device: torch.device, backend: str, *, defer: Defer | None, allow_server: bool
) -> Reranker:
    """Return the reranker that the run has kept, with the run's embedding.

    Raises:
        InputError: the run has kept none, or the embedding cannot be had.
        ValueError: as for `Reranker.from_pretrained`.
    """
    place = folder / RERANKER
    if not is_file(place / CONFIG):
        raise InputError(
            f"{folder} has kept no reranker, as runs of earlier versions have not, nor those of a rule that cannot be "
            "saved; run it again with rerun=true"
        )
    if config.reranker.on_hard == "defer" and defer is None:
        raise InputError(
            f"the run in {folder} asks elsewhere about hard texts (reranker.on_hard=defer), and whom it asks is never "
            "kept; open it in Python with reopen(folder, defer=…)"
        )
    tuned = folder / EMBEDDING
    if config.embedding.finetune and not is_folder(tuned):
        raise InputError(f"{tuned} is missing; run it again with rerun=true")
    embedding = configured_embedding(config.embedding, str(tuned) if config.embedding.finetune else None)
    return Reranker.from_pretrained(
        place, embedder=embedding.to(device).eval(), defer=defer, allow_server=allow_server, backend=backend
    )


def _check_not_empty(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"text {number} is empty; a network that reads the parts of texts needs some")


def _turns(text: str) -> list[Turn]:
    """Return the turns of a text with a line per turn."""
    return parse_turns(text.split("\n"), "\n", "a text") or [Turn("", text)]
