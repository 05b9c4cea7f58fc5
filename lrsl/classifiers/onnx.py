"""A classifier that ONNX Runtime computes: the same logits, to within a tolerance, in less time on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.encoder import EncoderClassifier
from lrsl.errors import InputError
from lrsl.nn.batches import noting_nothing, tokenize
from lrsl.nn.onnx import FILES, INT8, ONNX, TORCH, Graph, check_backend, described, exported, quantised, read
from lrsl.nn.pretrained import load_tokenizer, longest_input, quiet
from lrsl.paths import is_file

LONGEST = 512
"""Tokens that are read of a text where nothing says another number."""
_MAX_LENGTH, _CLASSES = "lrsl.max_length", "lrsl.classes"
_TRIAL = "a text of some words, by which both are compared, and no more than that"


class OnnxClassifier:
    """A function from texts to logits, as `lrsl.from_function` takes one.

    Args:
        tokenizer: the tokenizer of the network.
        graph: its graph, in which the longest input is written.

    Raises:
        ValueError: ONNX Runtime does not know the graph, or it is no classifier's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, graph: bytes) -> None:
        about = described(graph)
        if not all(about.get(key, "").isdecimal() for key in (_MAX_LENGTH, _CLASSES)):
            raise ValueError("this graph is no classifier's; make one with export_classifier")
        self.tokenizer = tokenizer
        self.max_length, self.classes = int(about[_MAX_LENGTH]), int(about[_CLASSES])
        self.graph = Graph(graph)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return logits `(n, classes)`, float32."""
        if not texts:
            return torch.zeros(0, self.classes)
        tokens = tokenize(self.tokenizer, [(text,) for text in texts], self.max_length)
        return torch.from_numpy(self.graph([of_text["input_ids"] for of_text in tokens]))

    @classmethod
    def load(cls, folder: str | Path, backend: str = ONNX) -> OnnxClassifier:
        """Load what `export_classifier` wrote; nothing in the folder is executed.

        Raises:
            ValueError: there is no graph for the backend, or it is damaged or takes weights from other files.
            InputError: what the backend takes is not installed, or there is no tokenizer.
        """
        _check_runs_graphs(backend)
        path = Path(folder) / FILES[backend]
        if not is_file(path):
            raise ValueError(f"{folder} holds no classifier for backend={backend}; write one with export_classifier")
        graph = read(path)
        return cls(load_tokenizer(str(folder)), graph)


def export_classifier(
    network: EncoderClassifier | PreTrainedModel,
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    backend: str = ONNX,
) -> OnnxClassifier:
    """Write a classifier into a folder as a graph with its tokenizer, and return it.

    Args:
        network: of a run, with `model` an encoder; or one of transformers with logits for a text. It stays as it is.
        folder: where to; the graphs of both backends may lie in the same.
        tokenizer: of a network of transformers; one of a run has its own.
        max_length: longest input of a network of transformers in tokens; what it allows, up to 512, unless given.
        backend: `onnx`, or `onnx-int8` for 8-bit integers.

    Raises:
        ValueError: the backend is none, or a network of transformers comes without its tokenizer.
        InputError: what the backend takes is not installed, or the network is of another kind or cannot be exported.
    """
    _check_runs_graphs(backend)
    if isinstance(network, EncoderClassifier):
        tokenizer, longest = network.tokenizer, network.max_length
    elif not isinstance(network, PreTrainedModel):
        raise InputError(
            f"a classifier of type {type(network).__name__} cannot be exported to ONNX; torch computes it, and "
            "exported are encoders with a head of a run, and classifiers of transformers"
        )
    elif tokenizer is None:
        raise ValueError("a network of transformers needs its tokenizer; give tokenizer=")
    else:
        longest = longest_input(tokenizer, network, max_length or LONGEST)
    with noting_nothing():
        tokens = tokenize(tokenizer, [(_TRIAL,)], max(longest // 2, 2))[0]["input_ids"]
    with torch.no_grad():
        ids = torch.tensor([tokens], device=next(network.parameters()).device)
        classes = _Logits(network)(ids, torch.ones_like(ids)).shape[-1]
    about = {_MAX_LENGTH: str(longest), _CLASSES: str(classes)}
    graph = exported(_Logits(network), tokens, "the classifier", about)
    graph = quantised(graph) if backend == INT8 else graph
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        tokenizer.save_pretrained(folder)
    (folder / FILES[backend]).write_bytes(graph)
    return OnnxClassifier(tokenizer, graph)


def _check_runs_graphs(backend: str) -> None:
    """Check that a backend is one that runs graphs, and installed.

    Raises:
        ValueError: it is none.
        InputError: something is missing.
    """
    if backend == TORCH:
        raise ValueError("backend is 'torch', which runs no graph; it must be one of onnx, onnx-int8")
    check_backend(backend)


class _Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if isinstance(self.network, EncoderClassifier):
            return self.network(batch)  # type: ignore[no-any-return]
        logits: Tensor = self.network(**batch).logits
        return logits
