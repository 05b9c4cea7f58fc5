import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Normalize
from sklearn.linear_model import LogisticRegression
from tiny import LABELS, VOCABULARY, samples, write_bert

import lrsl
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.errors import InputError
from lrsl.reranking.view import Given
from lrsl.reranking.view.linear_probe import FittedLinearProbe, LinearProbe

TEXTS, GOLD = samples(120, seed=3)
UNSEEN, ANSWERS = samples(60, seed=4)


@pytest.fixture(scope="module")
def probe(tiny_bert):
    return LinearProbe(str(tiny_bert))


@pytest.fixture(scope="module")
def fitted(probe):
    return probe.fit(Given(LABELS, TEXTS, GOLD))


def test_it_is_scikit_learns_regression_on_the_vectors_of_the_encoder(fitted, tiny_bert):
    encoder = load_embedding(str(tiny_bert))
    regression = LogisticRegression(C=10, max_iter=300).fit(encode(encoder, TEXTS).numpy(), np.array(GOLD))
    expected = torch.from_numpy(regression.predict_log_proba(encode(encoder, UNSEEN).numpy())).float()
    torch.testing.assert_close(fitted(UNSEEN), expected, rtol=1e-3, atol=1e-3)
    assert (fitted(UNSEEN).argmax(-1) == torch.tensor(ANSWERS)).double().mean() > 0.5
    assert fitted([]).shape == (0, 4)


def test_neither_texts_nor_vectors_are_kept_and_the_same_comes_back(fitted, probe):
    learnt = {name: value.clone() for name, value in fitted.learnt().items()}
    assert {name for name in learnt if not name.startswith("encoder.")} == {"weights", "bias"}
    assert "encoder.model.safetensors" in learnt
    restored = probe.restore(learnt, Given(LABELS))
    assert torch.equal(restored(UNSEEN), fitted(UNSEEN))
    assert restored.of_training(torch.tensor([0])) is None


def test_a_label_without_rows_gets_the_smallest_score_of_the_row(probe):
    kept = [row for row, label in enumerate(GOLD) if label != 2]
    scores = probe.fit(Given(LABELS, [TEXTS[row] for row in kept], [GOLD[row] for row in kept]))(UNSEEN)
    assert torch.equal(scores[:, 2], scores[:, [0, 1, 3]].amin(-1))
    torch.testing.assert_close(scores[:, [0, 1, 3]].exp().sum(-1), torch.ones(60))


def test_training_rows_are_scored_by_a_regression_without_them_or_their_copies(probe, fitted):
    left_out = fitted.of_training(torch.arange(120))
    torch.testing.assert_close(fitted.of_training(torch.tensor([7, 3])), left_out[[7, 3]])
    gold = torch.tensor(GOLD)[:, None]
    wrong = torch.arange(120) % 10 == 9
    assert left_out.gather(1, gold)[wrong].mean() < fitted(TEXTS).gather(1, gold)[wrong].mean() - 0.3
    twice = probe.fit(Given(LABELS, [*TEXTS, *TEXTS[:40]], [*GOLD, *GOLD[:40]])).of_training(torch.arange(160))
    torch.testing.assert_close(twice[120:], twice[:40])


def test_nothing_has_to_be_there_when_it_is_loaded_again(tmp_path):
    folder = write_bert(tmp_path / "encoder")
    view = LinearProbe(str(folder), max_length=7)
    made = view.fit(Given(LABELS, TEXTS, GOLD))
    learnt = made.learnt()
    shutil.rmtree(folder)
    restored = view.restore(learnt, Given(LABELS))
    assert torch.equal(restored(UNSEEN), made(UNSEEN))
    assert restored.encoder.max_seq_length == 7
    assert torch.equal(pickle.loads(pickle.dumps(made))(UNSEEN), made(UNSEEN))


def test_a_file_that_is_none_of_an_encoder_is_not_written(fitted, probe):
    learnt = {**fitted.learnt(), "encoder.../../outside.json": torch.zeros(1, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"'\.\./\.\./outside\.json' is no file of an embedding"):
        probe.restore(learnt, Given(LABELS))


def test_an_encoder_that_names_code_is_refused(fitted, probe):
    learnt = dict(fitted.learnt())
    settings = json.loads(bytes(learnt["encoder.config.json"].numpy()))
    settings["auto_map"] = {"AutoModel": "theirs.Model"}
    learnt["encoder.config.json"] = torch.frombuffer(bytearray(json.dumps(settings).encode()), dtype=torch.uint8)
    with pytest.raises(InputError, match="the saved view LinearProbe would run code"):
        probe.restore(learnt, Given(LABELS))


def test_an_encoder_that_is_nowhere_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"view\.pretrained="):
        LinearProbe(str(tmp_path / "nowhere")).fit(Given(LABELS, TEXTS, GOLD))


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "learns from training rows, and there are none"),
        (["a", "b"], [1, 1], "all training rows have label 1; the linear_probe view needs two or more"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_sentence(probe, texts, labels, message):
    with pytest.raises(ValueError, match=message):
        probe.fit(Given(LABELS, texts, labels))


@pytest.mark.parametrize("settings", [{"strength": 0.0}, {"max_length": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"{min(settings)} is 0"):
        LinearProbe(**settings)


def test_a_length_is_of_the_encoder_that_is_named():
    with pytest.raises(ValueError, match="max_length is of the encoder that pretrained names"):
        LinearProbe(max_length=7)


def test_without_a_name_it_asks_the_text_embedding_and_saves_it_no_second_time(fitted, tiny_bert):
    given = Given(LABELS, TEXTS, GOLD, load_embedding=lambda: load_embedding(str(tiny_bert)))
    made = LinearProbe().fit(given)
    torch.testing.assert_close(made(UNSEEN), fitted(UNSEEN))
    assert set(made.learnt()) == {"weights", "bias"}
    assert torch.equal(LinearProbe().restore(made.learnt(), replace(given, texts=[], labels=[]))(UNSEEN), made(UNSEEN))


def test_without_a_name_it_asks_the_text_embedding_as_it_was_before_it_was_fine_tuned(fitted, tiny_bert, tmp_path):
    tuned = load_embedding(str(write_bert(tmp_path / "tuned", VOCABULARY[::-1])))
    untuned = load_embedding(str(tiny_bert))
    given = Given(LABELS, TEXTS, GOLD, load_embedding=lambda: tuned, load_untuned=lambda: untuned)
    made = LinearProbe().fit(given)
    assert torch.equal(made(UNSEEN), fitted(UNSEEN))
    restored = LinearProbe().restore(made.learnt(), Given(LABELS, load_embedding=lambda: tuned))
    assert torch.equal(restored(UNSEEN), made(UNSEEN))


def test_without_a_name_and_without_an_embedding_it_is_one_sentence():
    with pytest.raises(RuntimeError, match="needs a text embedding, and none is given"):
        LinearProbe().fit(Given(LABELS, TEXTS, GOLD))


def test_a_reranker_asks_its_embedder_as_it_was_handed_in(tiny_bert, tmp_path):
    torch.manual_seed(0)
    logits = torch.randn(60, 4)
    logits[torch.arange(60), torch.tensor(ANSWERS)] += 1
    reranker = lrsl.Reranker(str(tiny_bert), LABELS, rule="fitted", deploy="always")
    reranker.fit(logits, ANSWERS, UNSEEN, train=(TEXTS, GOLD, None), epochs=1)
    (probe,) = (view for view in reranker._fitted_views if isinstance(view, FittedLinearProbe))
    expected = LinearProbe(str(tiny_bert)).fit(Given(LABELS, TEXTS, GOLD))
    torch.testing.assert_close(probe(UNSEEN), expected(UNSEEN))
    reranker.fit(logits, ANSWERS, UNSEEN, train=(TEXTS, GOLD, None), epochs=1)
    (again,) = (view for view in reranker._fitted_views if isinstance(view, FittedLinearProbe))
    assert torch.equal(again(UNSEEN), probe(UNSEEN))
    reranker.save_pretrained(tmp_path / "saved")
    loaded = lrsl.Reranker.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(loaded.rerank(logits, UNSEEN), reranker.rerank(logits, UNSEEN))


def test_a_reranker_with_it_comes_back(probe, tmp_path):
    torch.manual_seed(0)
    logits = torch.randn(60, 4)
    logits[torch.arange(60), torch.tensor(ANSWERS)] += 1
    reranker = lrsl.Reranker(None, LABELS, views=[probe], deploy="always")
    reranker.fit(logits, ANSWERS, UNSEEN, train=(TEXTS, GOLD, None))
    reranker.save_pretrained(tmp_path / "saved")
    again = lrsl.Reranker.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.rerank(logits, UNSEEN), reranker.rerank(logits, UNSEEN))


def test_what_becomes_of_the_embedder_that_was_handed_in_changes_nothing(tiny_bert):
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(4)[torch.tensor(ANSWERS)]
    embedder = load_embedding(str(tiny_bert))
    reranker = lrsl.Reranker(embedder, LABELS, rule="fitted", deploy="always")
    reranker.fit(logits, ANSWERS, UNSEEN, train=(TEXTS, GOLD, None), epochs=1)
    (probe,) = (view for view in reranker._fitted_views if isinstance(view, FittedLinearProbe))
    before = probe(UNSEEN)
    embedder.max_seq_length = 3
    assert torch.equal(probe(UNSEEN), before)


def test_it_is_restored_where_the_embedding_computes(fitted, probe, tiny_bert, monkeypatch):
    embedding = load_embedding(str(tiny_bert))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    restored = probe.restore(fitted.learnt(), Given(LABELS, load_embedding=lambda: embedding))
    assert restored.encoder.device.type == "cpu"


class Own(Normalize):
    """A module that no folder can name."""


def test_an_embedder_with_a_module_of_ones_own_is_asked_by_the_other_views_alone(tiny_bert, tmp_path):
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(4)[torch.tensor(ANSWERS)]
    embedder = load_embedding(str(tiny_bert))
    embedder[-1] = Own()
    reranker = lrsl.Reranker(embedder, LABELS, rule="fitted", deploy="always")
    with pytest.warns(UserWarning, match=r"a module of your own \(Own\).* linear_probe is left out"):
        reranker.fit(logits, ANSWERS, UNSEEN, train=(TEXTS, GOLD, None), epochs=1)
    assert len(reranker.views) == 3
    reranker.save_pretrained(tmp_path)
    again = lrsl.Reranker.from_pretrained(tmp_path, embedder=reranker.embedding)
    torch.testing.assert_close(again.rerank(logits, UNSEEN), reranker.rerank(logits, UNSEEN))
    by_hand = LinearProbe().fit(Given(LABELS, TEXTS, GOLD, load_untuned=lambda: embedder))
    with pytest.raises(InputError, match="would run code"):
        by_hand.learnt()
