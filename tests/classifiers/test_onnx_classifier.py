"""ONNX Runtime gives the logits that torch gives."""

import pytest
import tiny
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import lrsl
from lrsl.classifiers.build import build_network
from lrsl.classifiers.onnx import OnnxClassifier, export_classifier
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.nn.batches import padded

for name in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(name, reason="the extra onnx is not installed")

TEXTS = tiny.samples(30, 5)[0]


@pytest.fixture(scope="module")
def network(tiny_corpus, tiny_bert):
    config = tiny.config(tiny_corpus, tiny_bert)
    return build_network(config.model, load_corpus(config.dataset, None)).eval()


@pytest.fixture(scope="module")
def logits(network):
    with torch.no_grad():
        return network(padded(network.tokenizer, TEXTS, network.max_length))


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    export_classifier(network, folder)
    return folder


def test_a_runs_classifier_loaded_anew_gives_its_logits(folder, logits):
    classifier = OnnxClassifier.load(folder)
    torch.testing.assert_close(classifier(TEXTS), logits, rtol=0, atol=1e-4)
    assert classifier([]).shape == (0, 4)


def test_integers_give_nearly_its_logits(network, folder, logits):
    export_classifier(network, folder, backend="onnx-int8")
    found = OnnxClassifier.load(folder, "onnx-int8")(TEXTS)
    assert 0 < (found - logits).abs().max() < 0.2 * logits.std()


def test_a_classifier_of_transformers(tiny_roberta, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_roberta)
    network = AutoModelForSequenceClassification.from_pretrained(tiny_roberta, num_labels=4).eval()
    found = export_classifier(network, tmp_path, tokenizer=tokenizer)(TEXTS)
    batch = padded(tokenizer, TEXTS, tiny.POSITIONS)
    with torch.no_grad():
        torch.testing.assert_close(found, network(**batch).logits, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="needs its tokenizer"):
        export_classifier(network, tmp_path)


def test_it_is_a_function_that_is_reranked(folder, tiny_bert):
    reranked = lrsl.from_function(OnnxClassifier.load(folder), tiny_bert, tiny.LABELS)
    texts, labels = tiny.samples(40, 6)
    reranked.fit(texts, labels, columns="trusted")
    assert set(reranked.predict(TEXTS)) <= set(tiny.LABELS)


def test_what_is_none_is_refused(folder, network, tmp_path):
    with pytest.raises(InputError, match="a classifier of type Linear cannot be exported to ONNX; torch computes it"):
        export_classifier(nn.Linear(2, 2), tmp_path)
    with pytest.raises(ValueError, match="backend is 'torch', which runs no graph"):
        export_classifier(network, tmp_path, backend="torch")
    with pytest.raises(ValueError, match="holds no classifier for backend=onnx"):
        OnnxClassifier.load(tmp_path)
