"""A text embedding that ONNX Runtime computes: the same vectors, to within a tolerance, in less time on a CPU."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from torch import Tensor, nn

from lrsl.embedding.inputs import Inputs, longest_of, prompt_of
from lrsl.errors import InputError
from lrsl.nn.batches import noting_nothing, tokenize
from lrsl.nn.onnx import FILES, INT8, ONNX, Graph, check_backend, described, exported, quantised, read

_KNOWN = (Transformer, Pooling, Normalize, Dense)
_WEIGHTS = "lrsl.weights"
_TRIAL = "a text of some words, by which both are compared, and no more than that"
_OF_NO_EFFECT = ("transformers_version", "dtype", "torch_dtype", "name_or_path", "attn_implementation")


class OnnxEmbedding:
    """A text embedding as a graph.

    Args:
        embedding: whose tokenizer, prompt and longest input are used, as they are at each call.
        graph: what `graph_of` returned for it.

    Raises:
        InputError: the embedding prepares texts in a way that only itself knows.
        ValueError: ONNX Runtime does not know the graph.
    """

    def __init__(self, embedding: SentenceTransformer, graph: bytes) -> None:
        self.embedding = embedding
        self.graph = Graph(graph)
        self._inputs = _inputs(embedding)
        self._positions = longest_of(embedding) or 0

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length vectors `(n, d)` of the texts, float32; `(0, d)` for no text."""
        if not texts:
            return torch.zeros(0, self.embedding.get_embedding_dimension() or 0)
        longest = min(self.embedding.max_seq_length or self._positions, self._positions)
        tokens = tokenize(self.embedding.tokenizer, [(self._inputs.read(text),) for text in texts], longest)
        return torch.from_numpy(self.graph([of_text["input_ids"] for of_text in tokens]))

    def save(self, folder: Path, backend: str) -> None:
        """Write the graph into a folder, under the name of its backend."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILES[backend]).write_bytes(self.graph.content)


def onnx_embedding(embedding: SentenceTransformer, backend: str, folder: Path | None = None) -> OnnxEmbedding | None:
    """Return an embedding as a graph; None, and a warning that says why, where it cannot be one.

    Args:
        embedding: the embedding.
        backend: `onnx` or `onnx-int8`.
        folder: where a graph may lie that was saved; it is taken if it is of these weights.

    Raises:
        ValueError: the backend is none, or the graph in the folder is damaged or takes weights from other files.
        InputError: what the backend takes is not installed.
    """
    check_backend(backend)
    saved = None if folder is None else folder / FILES[backend]
    if saved is not None and saved.is_file():
        graph = read(saved)
        if described(graph).get(_WEIGHTS) == _digest(embedding):
            return OnnxEmbedding(embedding, graph)
        warnings.warn(f"{saved} is of another embedding than the one beside it, and is made anew", stacklevel=2)
    try:
        return OnnxEmbedding(embedding, graph_of(embedding, backend))
    except InputError as error:
        warnings.warn(f"{error}; until then it is torch that is taken", stacklevel=2)
        return None


def graph_of(embedding: SentenceTransformer, backend: str = ONNX) -> bytes:
    """Return the graph of an embedding: transformer, pooling and whatever comes behind, up to unit length.

    Args:
        embedding: changed in nothing.
        backend: `onnx`, or `onnx-int8` for one with 8-bit integers.

    Raises:
        InputError: it has modules that are not sentence-transformers' own for texts, prepares texts in a way that only
            itself knows, or cannot be exported.
    """
    inputs = _inputs(embedding)
    with noting_nothing():
        limit = longest_of(embedding) or 0
        tokens = tokenize(embedding.tokenizer, [(inputs.read(_TRIAL),)], max(limit // 2, 2))[0]["input_ids"]
    graph = exported(_UnitLength(inputs), tokens, "the embedding", {_WEIGHTS: _digest(embedding)})
    return quantised(graph) if backend == INT8 else graph


class _UnitLength(nn.Module):
    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.embedding = inputs.embedding
        self.inputs = inputs

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.inputs({"input_ids": input_ids, "attention_mask": attention_mask})
        return F.normalize(vectors, dim=-1)


def _inputs(embedding: SentenceTransformer) -> Inputs:
    other = [type(module).__name__ for module in embedding if type(module) not in _KNOWN]
    inputs = None if other else Inputs.of(embedding)
    if inputs is None or longest_of(embedding) is None:
        which = f"has a {other[0]}" if other else "prepares texts in a way that only itself knows"
        raise InputError(f"the embedding cannot be exported to ONNX, for it {which}; take backend=torch")
    return inputs


def _digest(embedding: SentenceTransformer) -> str:
    """Return what tells an embedding from others that make other vectors of the same tokens."""
    network = embedding.transformers_model
    config = {} if network is None else network.config.to_dict()
    said = {key: value for key, value in config.items() if key.lstrip("_") not in _OF_NO_EFFECT}
    modules = [
        (type(module).__name__, *(getattr(module, name, None) for name in ("pooling_mode", "include_prompt")))
        for module in embedding
    ]
    settings = [said, modules, embedding.truncate_dim, prompt_of(embedding)]
    of_all = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in embedding.state_dict().items():
        of_all.update(name.encode())
        of_all.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return of_all.hexdigest()
