"""ONNX Runtime gives the vectors that torch gives, of texts as the embedding reads them."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dropout, Normalize, Pooling
from tiny import samples

from lrsl.embedding.onnx import OnnxEmbedding, graph_of, onnx_embedding
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.nn.batches import noting_what_is_cut

for name in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(name, reason="the extra onnx is not installed")

TEXTS = [*samples(40, 5)[0], "card", " ", ""]


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


@pytest.fixture(scope="module")
def graph(embedding):
    return graph_of(embedding)


def test_vectors_are_those_of_torch(embedding, graph):
    found = OnnxEmbedding(embedding, graph)(TEXTS)
    torch.testing.assert_close(found, encode(embedding, TEXTS), rtol=0, atol=1e-5)
    assert OnnxEmbedding(embedding, graph)([]).shape == (0, 32)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_roberta_whose_positions_start_elsewhere(tiny_roberta, pooling):
    embedding = load_embedding(str(tiny_roberta), pooling=pooling)
    found = OnnxEmbedding(embedding, graph_of(embedding))(TEXTS)
    torch.testing.assert_close(found, encode(embedding, TEXTS), rtol=0, atol=1e-5)


def test_a_prompt_is_read_and_left_out_of_the_mean_where_the_pooling_says_so(tiny_bert):
    transformer = load_embedding(str(tiny_bert))[0]
    pooling = Pooling(transformer.get_embedding_dimension(), include_prompt=False)
    prompts = {"prompts": {"query": "please the "}, "default_prompt_name": "query"}
    embedding = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu", **prompts)
    found = OnnxEmbedding(embedding, graph_of(embedding))(TEXTS[:9])
    torch.testing.assert_close(found, encode(embedding, TEXTS[:9]), rtol=0, atol=1e-5)


def test_texts_are_cut_where_the_embedding_says_and_it_is_noted(embedding, graph):
    longest, computed = embedding.max_seq_length, OnnxEmbedding(embedding, graph)
    embedding.max_seq_length = 5
    with noting_what_is_cut() as noted:
        found = computed(["card cash loan rate the a"])
    torch.testing.assert_close(found, encode(embedding, ["card cash loan"]), rtol=0, atol=1e-5)
    embedding.max_seq_length = longest
    assert noted == {("card cash loan rate the a",): 5}


def test_a_saved_graph_is_taken_for_its_own_weights_alone(embedding, graph, tmp_path, monkeypatch, tiny_roberta):
    OnnxEmbedding(embedding, graph).save(tmp_path, "onnx")
    monkeypatch.setattr("lrsl.embedding.onnx.graph_of", lambda *_: pytest.fail("exported anew"))
    taken = onnx_embedding(embedding, "onnx", tmp_path)
    assert taken.graph.content == graph
    monkeypatch.undo()
    other = load_embedding(str(tiny_roberta))
    with pytest.warns(UserWarning, match="is of another embedding than the one beside it, and is made anew"):
        made = onnx_embedding(other, "onnx", tmp_path)
    torch.testing.assert_close(made(TEXTS), encode(other, TEXTS), rtol=0, atol=1e-5)


def test_integers_give_nearly_the_same_vectors(embedding):
    found = onnx_embedding(embedding, "onnx-int8")(TEXTS)
    cosines = (found * encode(embedding, TEXTS)).sum(-1)
    assert 0.95 < cosines.min() < 1


def test_what_cannot_be_exported_is_left_to_torch(tiny_bert):
    transformer, pooling, _ = load_embedding(str(tiny_bert))
    embedding = SentenceTransformer(modules=[transformer, pooling, Dropout(0.1)], device="cpu")
    with pytest.warns(UserWarning, match="cannot be exported to ONNX, for it has a Dropout; .* it is torch"):
        assert onnx_embedding(embedding, "onnx") is None


def test_the_embedding_stays_as_it_is(tiny_bert):
    embedding = load_embedding(str(tiny_bert)).half().train()
    before = {name: weight.clone() for name, weight in embedding.state_dict().items()}
    graph_of(embedding)
    assert embedding.training
    assert all(torch.equal(weight, before[name]) for name, weight in embedding.state_dict().items())
    assert {weight.dtype for weight in embedding.parameters()} == {torch.float16}
