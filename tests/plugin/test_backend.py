"""A reranker whose embedding ONNX Runtime computes answers as one whose embedding torch computes."""

import pytest
import torch
from tiny import LABELS, samples

from lrsl import Reranker
from lrsl.embedding.text_embedding import load_embedding
from lrsl.errors import InputError

for name in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(name, reason="the extra onnx is not installed")


def rows(n, seed):
    texts, labels = samples(n, seed)
    generator = torch.Generator().manual_seed(seed)
    return texts, torch.tensor(labels), torch.randn(n, 4, generator=generator) + 1.5 * torch.eye(4)[labels]


TEXTS, GOLD, LOGITS = rows(60, 1)
NEW, _, NEW_LOGITS = rows(50, 2)
TRAIN = rows(80, 3)


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


@pytest.fixture(scope="module")
def fitted(embedding):
    return Reranker(embedding, LABELS).fit(LOGITS, GOLD, TEXTS)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    """What torch has fitted, saved by a reranker that has a graph."""
    folder = tmp_path_factory.mktemp("reranker")
    fitted.save_pretrained(folder)
    Reranker.from_pretrained(folder, backend="onnx").save_pretrained(folder)
    return folder


def test_answers_are_the_same_and_scores_within_the_tolerance(fitted, saved, monkeypatch):
    assert (saved / "onnx" / "model.onnx").is_file()
    monkeypatch.setattr("lrsl.embedding.onnx.graph_of", lambda *_: pytest.fail("exported anew"))
    quick = Reranker.from_pretrained(saved, backend="onnx")
    monkeypatch.setattr("lrsl.reranking.view.encode", lambda *_: pytest.fail("computed by torch"))
    scores = quick.rerank(NEW_LOGITS, NEW)
    monkeypatch.undo()
    torch.testing.assert_close(scores, fitted.rerank(NEW_LOGITS, NEW), rtol=0, atol=1e-4)
    assert torch.equal(quick.predict(NEW_LOGITS, NEW), fitted.predict(NEW_LOGITS, NEW))
    assert quick.is_hard(NEW_LOGITS).any()


def test_loaded_without_a_backend_it_is_torch_that_computes(fitted, saved, monkeypatch):
    monkeypatch.setattr("lrsl.plugin.reranker.onnx_embedding", lambda *_: pytest.fail("computed by ONNX Runtime"))
    plain = Reranker.from_pretrained(saved)
    assert torch.equal(plain.rerank(NEW_LOGITS, NEW), fitted.rerank(NEW_LOGITS, NEW))


def test_a_fine_tuned_embedding_has_a_graph_of_its_own(embedding, tmp_path, monkeypatch):
    quick = Reranker(embedding, LABELS, backend="onnx")
    quick.fit(LOGITS, GOLD, TEXTS, train=TRAIN, epochs=1, batch_size=32, lr=2e-3)
    assert quick._onnx.embedding is quick.embedding is not embedding
    scores = quick.rerank(NEW_LOGITS, NEW)
    plain = Reranker(quick.embedding, LABELS).fit(LOGITS, GOLD, TEXTS)
    torch.testing.assert_close(scores, plain.rerank(NEW_LOGITS, NEW), rtol=0, atol=1e-4)
    quick.save_pretrained(tmp_path)
    monkeypatch.setattr("lrsl.embedding.onnx.graph_of", lambda *_: pytest.fail("exported anew"))
    assert torch.equal(Reranker.from_pretrained(tmp_path, backend="onnx").rerank(NEW_LOGITS, NEW), scores)


def test_integers_rank_nearly_alike(fitted, saved):
    scores = Reranker.from_pretrained(saved, backend="onnx-int8").rerank(NEW_LOGITS, NEW)
    assert 0 < (scores - fitted.rerank(NEW_LOGITS, NEW)).abs().max() < 0.2


def test_a_graph_with_weights_elsewhere_is_not_loaded(saved, tmp_path):
    import shutil

    import onnx

    folder = tmp_path / "reranker"
    shutil.copytree(saved, folder)
    model = onnx.load(folder / "onnx" / "model.onnx")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    (folder / "onnx" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="takes weights from other files"):
        Reranker.from_pretrained(folder, backend="onnx")
    Reranker.from_pretrained(folder)  # which does not look at it


def test_a_backend_that_is_none_is_refused(embedding, monkeypatch):
    with pytest.raises(ValueError, match="backend is 'tflite'; it must be one of"):
        Reranker(embedding, LABELS, backend="tflite")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'lrsl\[onnx\]'"):
        Reranker(embedding, LABELS, backend="onnx")
