"""`Reranker` with components of the user's own: fitted, saved, and loaded in another process."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import seams
import torch
from test_reranker import LABELS, TEST, TRAIN, VAL

from lrsl import BestGain, Entropy, LabelSimilarity, LogLinear, Paper, Reranker, TargetAccuracy
from lrsl.embedding.text_embedding import load_embedding

TRAINED = (TRAIN.texts, TRAIN.labels, None)


def own(embedder, **changed):
    """A reranker in which nothing is the paper's."""
    parts = {
        "detector": seams.Margin(2.0),
        "threshold": seams.Share(0.4),
        "views": [seams.WordOverlap(["please"]), seams.SecondGuess()],
        "fusion": seams.Sum(),
    }
    return Reranker(embedder, LABELS, k=2, **{**parts, **changed})


@pytest.fixture(scope="module")
def fitted():
    return own(None).fit(VAL.logits, VAL.labels, VAL.texts, train=TRAINED)


def test_components_of_ones_own_need_no_embedding(fitted):
    hard = fitted.is_hard(TEST.logits)
    assert 0.1 < hard.double().mean() < 0.9
    assert torch.equal(hard, seams.Margin(2.0)(TEST.logits).double() < fitted.report_["sigma2_mis"])
    answers = fitted.predict(TEST.logits, TEST.texts)
    assert torch.equal(answers[~hard], TEST.logits.argmax(-1)[~hard])
    assert not torch.equal(answers[hard], TEST.logits.argmax(-1)[hard])


def test_another_process_answers_the_same_to_the_last_bit(fitted, tmp_path, warm):
    fitted.save_pretrained(tmp_path / "own")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == [
        "README.md",
        "learnt.safetensors",
        "reranker.json",
    ]
    np.save(tmp_path / "logits.npy", TEST.logits.numpy())
    (tmp_path / "texts.json").write_text(json.dumps(TEST.texts))
    program = (
        "import json, sys; import numpy as np; import seams; from lrsl import Reranker; "
        "again = Reranker.from_pretrained('own'); "
        "np.save('scores.npy', again.rerank(np.load('logits.npy'), json.load(open('texts.json'))))"
    )
    tests = Path(seams.__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"}
    done = warm("-c", program, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "scores.npy"), fitted.rerank(TEST.logits.numpy(), TEST.texts))


def test_a_module_that_is_not_imported_is_named_and_stays_so(fitted, tmp_path, monkeypatch):
    fitted.save_pretrained(tmp_path / "own")
    monkeypatch.delitem(sys.modules, "seams")
    with pytest.raises(ValueError, match=r"seams\.Margin is not imported; import seams before loading"):
        Reranker.from_pretrained(tmp_path / "own")
    assert "seams" not in sys.modules


def test_the_embedding_is_loaded_only_if_a_view_asks(monkeypatch, tiny_bert, tmp_path):
    loaded = []
    monkeypatch.setattr("lrsl.plugin.reranker.load_embedding", lambda name: loaded.append(name) or load_embedding(name))
    reranker = own(str(tiny_bert), views=[seams.SecondGuess()]).fit(VAL.logits, VAL.labels, VAL.texts)
    reranker.predict(TEST.logits, TEST.texts)
    assert loaded == []
    asking = own(str(tiny_bert), views=[LabelSimilarity(), seams.SecondGuess()])
    asking.fit(VAL.logits, VAL.labels, VAL.texts)
    assert loaded == [str(tiny_bert)]


def test_a_reranker_of_version_0_1_is_still_read(tiny_bert, tmp_path):
    now = Reranker(str(tiny_bert), LABELS, k=3, power=2.0).fit(VAL.logits, VAL.labels, VAL.texts)
    now.save_pretrained(tmp_path)
    (tmp_path / "learnt.safetensors").unlink()
    old = {"k": 3, "power": 2.0, "sigma2_mis": now.report_["sigma2_mis"], "label_texts": LABELS, "report": now.report_}
    (tmp_path / "reranker.json").write_text(json.dumps(old))
    again = Reranker.from_pretrained(tmp_path)
    assert again.power == 2.0
    assert torch.equal(again.rerank(TEST.logits, TEST.texts), now.rerank(TEST.logits, TEST.texts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, and this version of lrsl reads up to 1"),
        ({"format": "new"}, "is damaged"),
        ({"sigma2_mis": ...}, "lacks sigma2_mis; fit and save the reranker anew"),
        ({"rule": {}}, "lacks detector"),
    ],
)
def test_a_damaged_folder_is_one_sentence(fitted, tmp_path, change, message):
    fitted.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "reranker.json").read_text()) | change
    saved = {key: value for key, value in saved.items() if value is not ...}
    (tmp_path / "reranker.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=message):
        Reranker.from_pretrained(tmp_path)


def test_no_embedder_for_the_default_view_is_refused():
    with pytest.raises(ValueError, match="there is no embedder; give one, or views that need none"):
        Reranker(None, LABELS)
    with pytest.raises(RuntimeError, match="this view needs a text embedding"):
        own(None, views=[LabelSimilarity()], fusion=None).fit(VAL.logits, VAL.labels, VAL.texts)


@pytest.mark.parametrize(
    "parts",
    [
        {"threshold": BestGain(), "fusion": LogLinear(rows="all")},
        {"threshold": TargetAccuracy(0.9), "detector": Entropy(), "fusion": LogLinear()},
        {"threshold": BestGain(), "fusion": Paper("auto"), "views": [seams.WordOverlap(["please"])]},
    ],
)
def test_what_is_shipped_is_fitted_saved_and_loaded(parts, tmp_path):
    fitted = own(None, **parts).fit(VAL.logits, VAL.labels, VAL.texts, train=TRAINED)
    assert list(fitted.report_)[:2] == ["n", "sigma2_mis"]
    hard = fitted.is_hard(VAL.logits)
    assert fitted.report_["hard_fraction"] == pytest.approx(hard.double().mean().item())
    assert fitted.report_["rerank"]["accuracy"] >= fitted.report_["origin"]["accuracy"]
    fitted.save_pretrained(tmp_path)
    again = Reranker.from_pretrained(tmp_path)
    assert torch.equal(again.rerank(TEST.logits, TEST.texts), fitted.rerank(TEST.logits, TEST.texts))
    assert torch.equal(again.is_hard(TEST.logits), fitted.is_hard(TEST.logits))
