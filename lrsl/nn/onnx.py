"""A network that reads tokens as an ONNX graph, which ONNX Runtime runs on a CPU faster than torch runs the network.

A graph is data: operations that ONNX Runtime knows, and weights that lie in the same file. It loads no library of
others' operations, and no graph that takes weights from other files.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from lrsl.errors import InputError
from lrsl.nn.dropout import ATTENTION

TORCH, ONNX, INT8 = BACKENDS = ("torch", "onnx", "onnx-int8")
FILES = {ONNX: "model.onnx", INT8: "model_int8.onnx"}
"""What the graph of each backend is called, in a folder of its own."""
FOLDER = "onnx"
TOLERANCE = 1e-4
"""How far what a graph gives may be from what its network gives, where it is not quantised."""
TOKENS = 256
"""Tokens of a batch, at most, for texts that are no longer than that alone: more are no faster."""
_INPUTS = ("input_ids", "attention_mask")
_LARGEST = 2_000_000_000  # bytes in a file of Protocol Buffers, less what is no weight
_SPIN = 100  # microseconds that a thread waits for the next operation before it gives its core away


def check_backend(backend: str) -> None:
    """Check that a backend is one, and that what it takes is installed.

    Raises:
        ValueError: it is none.
        InputError: something is missing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; it must be one of {', '.join(BACKENDS)}")
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if backend != TORCH and missing:
        raise InputError(f"backend={backend} takes {missing[0]}, which is not installed: pip install 'lrsl[onnx]'")


@torch.no_grad()
def exported(network: nn.Module, tokens: Sequence[int], name: str, about: Mapping[str, str] | None = None) -> bytes:
    """Return a network as a graph in float32, for any number of texts of any length.

    Args:
        network: gives `(n, d)` for `input_ids` and `attention_mask`, `(n, tokens)`; it stays as it is.
        tokens: of a text, at least two and at most half of what it can read, with which the graph is tried.
        name: what an error calls it.
        about: what is written into the graph.

    Raises:
        InputError: it cannot be exported, is too large, or its graph gives something else than it does.
    """
    if sum(weight.numel() * weight.element_size() for weight in network.state_dict().values()) > _LARGEST:
        raise InputError(
            f"{name} has more than 2 GB of weights, which one file of ONNX cannot hold; take backend=torch"
        )
    network = copy.deepcopy(network).cpu().float().eval()
    for module in network.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == ATTENTION:
            module.set_attn_implementation("sdpa")  # the same numbers, by operations that are exported
    reasons = []
    for dynamo in (False, True):
        try:
            with _quiet():
                graph = _described(_written(network, tokens, dynamo=dynamo), about or {})
            _check_same(Graph(graph), network, tokens)
        except Exception as error:  # the exporters and the runtime raise what they like
            reasons.append(" ".join(str(error).split("\n")[0].split())[:160].rstrip(". ") or type(error).__name__)
        else:
            return graph
    raise InputError(f"{name} cannot be exported to ONNX ({reasons[0]}); take backend=torch")


def _written(network: nn.Module, tokens: Sequence[int], *, dynamo: bool) -> Any:
    """Return the model that torch makes of a network: by following a call, in a second or two, or with its compiler."""
    import onnx  # noqa: PLC0415  (an extra)

    example = torch.tensor([tokens, tokens[::-1]])
    export: Any = torch.onnx.export
    how: dict[str, Any] = {"input_names": [*_INPUTS], "output_names": ["rows"], "dynamo": dynamo}
    given = (example, torch.ones_like(example))
    if dynamo:
        sizes = tuple(dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for _ in _INPUTS)
        return export(network, given, dynamic_shapes=sizes, verbose=False, **how).model_proto
    axes = {name: {0: "n", 1: "tokens"} for name in _INPUTS} | {"rows": {0: "n"}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES[ONNX]
        export(network, given, str(path), dynamic_axes=axes, **how)
        return onnx.load(path)


def _check_same(graph: Graph, network: nn.Module, tokens: Sequence[int]) -> None:
    """Check that a graph gives what its network gives, for other numbers of texts and of tokens than it was made from.

    Raises:
        ValueError: it does not.
    """
    for ids in ([tokens], [tokens[:2], tokens[-2:]], [[*tokens, *tokens[-2:]]] * 3, [[*tokens[:-1]] * 2]):
        given = torch.tensor(ids)
        found, expected = graph(ids), network(given, torch.ones_like(given)).numpy()
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=TOLERANCE):
            raise ValueError("what ONNX Runtime makes of a text is not what torch makes of it")


def quantised(graph: bytes) -> bytes:
    """Return a graph whose weights, and what they are multiplied by, are 8-bit integers.

    Weights have a scale per channel and 7 bits, so that processors without instructions for this do not saturate.
    What they are multiplied by is scaled as it comes, by the largest value in a batch.
    """
    import onnx  # noqa: PLC0415  (an extra)
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415  (an extra)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / FILES[INT8]
        model = onnx.load_from_string(graph)
        quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        return path.read_bytes()


def read(path: Path) -> bytes:
    """Return the graph in a file.

    Raises:
        ValueError: there is none, or it takes weights from other files.
    """
    import onnx  # noqa: PLC0415  (an extra)

    graph = path.read_bytes()
    try:
        model = onnx.load_from_string(graph)
    except Exception:  # Protocol Buffers have errors of their own in every version
        raise ValueError(f"{path} is no ONNX graph; save it anew") from None
    if any(tensor.data_location or tensor.external_data for tensor in _tensors(model)):
        raise ValueError(f"{path} takes weights from other files, which is refused; save it anew, in one file")
    return graph


def described(graph: bytes) -> dict[str, str]:
    """Return what was written into a graph."""
    import onnx  # noqa: PLC0415  (an extra)

    return {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}


class Graph:
    """A graph that is run on the CPU, with as many threads as torch has.

    Texts are batched with others of the same length, so that nothing is padded.

    Args:
        graph: what `exported`, `quantised` or `read` returned.

    Raises:
        ValueError: ONNX Runtime does not know it, or it has other inputs.
    """

    def __init__(self, graph: bytes) -> None:
        import onnxruntime  # noqa: PLC0415  (an extra)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class per kind
            reason = " ".join(str(error).split())[:160]
            raise ValueError(f"ONNX Runtime cannot run this graph ({reason}); save it anew") from None
        if [one.name for one in self._session.get_inputs()] != list(_INPUTS) or len(self._session.get_outputs()) != 1:
            raise ValueError(f"this graph does not give one thing for {' and '.join(_INPUTS)}; save it anew")
        self.content = graph

    def __reduce__(self) -> tuple[Callable[[bytes], Graph], tuple[bytes]]:
        """Be copied and pickled as the graph alone."""
        return Graph, (self.content,)

    def __call__(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return what the network gives for the token ids of n texts, at least one, `(n, d)`."""
        rows: list[int] = []
        found = []
        for batch in of_one_length([len(of_text) for of_text in tokens]):
            ids = np.array([tokens[row] for row in batch], dtype=np.int64)
            found.append(self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])
            rows += batch
        together: NDArray[np.float32] = np.empty((len(rows), *found[0].shape[1:]), np.float32)
        together[rows] = np.concatenate(found)
        return together


def of_one_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield batches of rows of the same length, of at most `TOKENS` tokens together, or of one row."""
    alike: dict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(lengths):
        alike[length].append(row)
    for length, rows in sorted(alike.items()):
        step = max(1, TOKENS // max(length, 1))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


def _described(model: Any, about: Mapping[str, str]) -> bytes:
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    graph: bytes = model.SerializeToString()
    return graph


def _tensors(model: Any) -> Iterator[Any]:
    """Yield all tensors of a model, those in its functions and in the graphs inside its graph too."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield from getattr(graph, "initializer", ())
        sparse = list(getattr(graph, "sparse_initializer", ()))
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
                waiting += [attribute.g, *attribute.graphs]
        for tensor in sparse:
            yield from (tensor.values, tensor.indices)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter and what quantises from telling how they go."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
