"""Graphs give what their networks give, and a graph from others is data or is refused."""

import copy
import importlib.util
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrsl.errors import InputError
from lrsl.nn import onnx as backend

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

TOKENS = [1, 2, 3, 4, 5, 6]


class Mean(nn.Module):
    """The mean of the tokens' vectors, through a layer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.tokens, self.layer = nn.Embedding(10, 16), nn.Linear(16, 8)

    def forward(self, input_ids, attention_mask):
        weight = attention_mask[..., None].float()
        return self.layer((self.tokens(input_ids) * weight).sum(1) / weight.sum(1))


@pytest.fixture(scope="module")
def network():
    return Mean().eval()


@pytest.fixture(scope="module")
def graph(network):
    return backend.exported(network, TOKENS, "the network", {"about": "this"})


def expected(network, ids):
    with torch.no_grad():
        return np.concatenate([network(torch.tensor([one]), torch.ones(1, len(one))).numpy() for one in ids])


IDS = [[1, 2, 3], [9], [4, 5, 6], [7, 8], [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_a_graph_gives_what_its_network_gives_in_the_order_of_the_texts(network, graph):
    np.testing.assert_allclose(backend.Graph(graph)(IDS), expected(network, IDS), rtol=0, atol=1e-6)


def test_a_copied_graph_gives_the_same(graph):
    run = backend.Graph(graph)
    for copied in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        np.testing.assert_array_equal(copied(IDS), run(IDS))


def test_what_is_written_into_a_graph_is_read_from_it(graph, tmp_path):
    (tmp_path / "model.onnx").write_bytes(graph)
    assert backend.described(backend.read(tmp_path / "model.onnx"))["about"] == "this"


def test_integers_are_smaller_and_nearly_the_same(network, graph):
    small = backend.quantised(graph)
    model = onnx.load_from_string(small)
    kinds = {tensor.data_type for tensor in model.graph.initializer if np.prod(tensor.dims) > 50}
    assert kinds == {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    found, wanted = backend.Graph(small)(IDS), expected(network, IDS)
    assert 0 < np.abs(found - wanted).max() < 0.05
    assert backend.described(small)["about"] == "this"


def test_a_graph_that_gives_something_else_is_none():
    with pytest.raises(InputError, match=r"the network cannot be exported to ONNX .*; take backend=torch"):
        backend.exported(Wrong().eval(), TOKENS, "the network")


class Wrong(Mean):
    """Gives something else each time, which no graph does."""

    calls = 0

    def forward(self, input_ids, attention_mask):
        self.calls += 1
        return super().forward(input_ids, attention_mask) + self.calls


def test_a_network_that_is_too_large_is_refused(monkeypatch, network):
    monkeypatch.setattr(backend, "_LARGEST", 100)
    with pytest.raises(InputError, match="more than 2 GB of weights"):
        backend.exported(network, TOKENS, "the network")


def elsewhere(tensor, name="../weights"):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)


def in_weights(model):
    elsewhere(model.graph.initializer[0])


def in_a_constant(model):
    constant = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.ones(3), "c"))
    elsewhere(constant.attribute[0].t)
    model.graph.node.append(constant)


def in_a_branch(model):
    inner = onnx.helper.make_graph([], "inner", [], [], [onnx.numpy_helper.from_array(np.ones(3), "w")])
    elsewhere(inner.initializer[0], "inside")
    condition = onnx.helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner)
    model.graph.node.append(condition)


def in_a_function(model):
    node = onnx.helper.make_node("Constant", [], ["y"], value=onnx.numpy_helper.from_array(np.ones(3), "c"))
    elsewhere(node.attribute[0].t)
    opset = [onnx.helper.make_opsetid("", 18)]
    model.functions.append(onnx.helper.make_function("mine", "f", [], ["y"], [node], opset))


@pytest.mark.parametrize("place", [in_weights, in_a_constant, in_a_branch, in_a_function])
def test_weights_in_other_files_are_refused(place, graph, tmp_path):
    model = onnx.load_from_string(graph)
    place(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="takes weights from other files, which is refused"):
        backend.read(path)


def test_what_is_no_graph_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff\x00 no graph")
    with pytest.raises(ValueError, match="is no ONNX graph; save it anew"):
        backend.read(path)


def test_operations_of_others_are_refused(graph):
    model = onnx.load_from_string(graph)
    model.graph.node[-1].domain = "elsewhere"
    with pytest.raises(ValueError, match="ONNX Runtime cannot run this graph"):
        backend.Graph(model.SerializeToString())


def test_other_inputs_are_refused():
    given = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])]
    given += [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", given[:1], given[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ValueError, match="does not give one thing for input_ids and attention_mask"):
        backend.Graph(model.SerializeToString())


@given(st.lists(st.integers(1, 600), max_size=40))
def test_batches_hold_every_row_once_with_others_of_its_length(lengths):
    batches = list(backend.of_one_length(lengths))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[row] for row in batch}) == 1
        assert len(batch) == 1 or sum(lengths[row] for row in batch) <= backend.TOKENS


def test_a_backend_that_is_none_or_not_installed_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="backend is 'tensorrt'; it must be one of torch, onnx, onnx-int8"):
        backend.check_backend("tensorrt")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backend.check_backend("torch")
    with pytest.raises(InputError, match=r"backend=onnx takes onnx, .*: pip install 'lrsl\[onnx\]'"):
        backend.check_backend("onnx")
