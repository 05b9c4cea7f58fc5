"""What stages take from the store, and that it makes no difference to any result."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import tiny

from lrsl.config.schema import ModelConfig, RuleConfig
from lrsl.nn.batches import tokenize
from lrsl.nn.pretrained import load_tokenizer
from lrsl.run import pipeline
from lrsl.run.stages import classifier, embedding, made_of, tokens
from lrsl.run.stages.tokens import StoredTokens
from lrsl.run.store import Store

SQUARED = {"power": 2.0, "fusion": {"_target_": "lrsl.Paper", "power": 2.0}}


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert, tmp_path_factory):
    """A run of the paper's rule with a store, and negatives=all, so that the embedding does not need the classifier."""
    made = tiny.config(tiny_corpus, tiny_bert)
    embedding = replace(made.embedding, negatives="all")
    made = with_part(made, "reranker", fitted=replace(made.reranker.fitted, views=[]))
    return replace(made, embedding=embedding, cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))


@pytest.fixture
def made(monkeypatch):
    """The stages (tokens and labels aside) that are made, not taken, from here on, in their order."""
    stages_made = []
    make = Store._make

    def spy(self, place, manifest, *arguments):
        if manifest["stage"] not in ("tokens", "labels"):
            stages_made.append(manifest["stage"])
        return make(self, place, manifest, *arguments)

    monkeypatch.setattr(Store, "_make", spy)
    return stages_made


@pytest.fixture(scope="module")
def first(config, tmp_path_factory):
    """Everything a first run leaves behind."""
    return contents(config, tmp_path_factory.mktemp("first"))


def contents(config, folder):
    """Run; return the results without their times, the bytes of the predictions, and the files there are."""
    found = pipeline.run(config, folder)
    assert json.loads((folder / "results.json").read_text()) == found
    files = sorted(
        path.relative_to(folder).as_posix()
        for name in ("classifier", "embedding")
        for path in (folder / name).rglob("*")
    )
    return {**found, "seconds": None}, (folder / "predictions.jsonl").read_bytes(), files


def with_part(config, group, **keys):
    return replace(config, **{group: replace(getattr(config, group), **keys)})


def test_a_reused_stage_gives_what_a_fresh_one_gives(config, first, made, tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "fit", None)  # nothing is trained
    monkeypatch.setattr(pl.Trainer, "predict", None)
    assert contents(config, tmp_path) == first
    assert made == []


def test_without_the_cache_everything_is_made_anew_and_is_the_same(config, first, made, tmp_path):
    assert contents(replace(config, cache=False), tmp_path) == first
    assert made == ["classifier", "logits", "logits", "embedding", "similarity", "similarity", "views"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_rerun_makes_everything_anew(config, first, made, tmp_path):
    assert contents(replace(config, rerun=True), tmp_path) == first
    assert made == ["classifier", "logits", "logits", "embedding", "similarity", "similarity", "views"]


@pytest.mark.parametrize("keys", [SQUARED, {"k": 2}, {"detector": {"_target_": "lrsl.TopKVariance", "k": 4}}])
def test_options_of_the_reranker_train_nothing(config, first, made, tmp_path, keys):
    found, _, _ = contents(with_part(config, "reranker", **keys), tmp_path)
    assert made == []
    assert found["origin"]["accuracy"] == first[0]["origin"]["accuracy"]


def test_options_of_the_reranker_on_what_is_stored_give_what_they_give_alone(config, first, tmp_path):
    changed = with_part(config, "reranker", **SQUARED, k=2)
    fresh = contents(replace(changed, cache=False), tmp_path / "fresh")
    assert contents(changed, tmp_path / "reused") == fresh
    assert fresh[1] != first[1]


def test_the_variants_of_the_ablation_train_one_classifier(config, first, made, tmp_path):
    confused = with_part(config, "embedding", negatives="confused")
    contents(confused, tmp_path / "full")
    assert made == ["logits", "embedding", "similarity", "similarity", "views"]  # the logits of train
    contents(with_part(config, "embedding", negatives="batch"), tmp_path / "without triplets")
    assert made[5:] == ["embedding", "similarity", "similarity", "views"]
    contents(with_part(config, "embedding", finetune=False), tmp_path / "without fine-tuning")
    assert made[9:] == ["similarity", "similarity", "views"]
    contents(with_part(confused, "reranker", **SQUARED), tmp_path / "again")
    assert made[12:] == []


def test_confused_labels_of_another_k_are_other_triplets(config, first, made, tmp_path):
    confused = with_part(config, "embedding", negatives="confused", k=1)
    contents(confused, tmp_path / "one")
    made.clear()
    contents(with_part(confused, "embedding", k=2), tmp_path / "two")
    assert made == ["embedding", "similarity", "similarity", "views"]


def test_rules_beside_share_what_views_make(config, first, made, tmp_path):
    fitted = RuleConfig()
    contents(with_part(config, "reranker", fitted=fitted), tmp_path / "fitted")
    kept = [*["similarity"] * 6, *["views"] * 3]  # the other three views, of val and test, and what they have learnt
    assert made == kept
    words = {"name": "words", "views": ["lexical"], "detector": "entropy"}
    found, _, _ = contents(with_part(config, "reranker", fitted=fitted, rules=[words]), tmp_path / "more")
    assert made == kept
    assert found["rules"]["words"]["views"] == ["lexical"]
    assert found["sigma2_mis"] == first[0]["sigma2_mis"]
    made.clear()
    controlled = with_part(replace(config, seed=7), "reranker", fitted=fitted, control=True)
    found, _, _ = contents(controlled, tmp_path / "control")
    assert made.count("classifier") == 2
    assert found["control"]["views"] == ["second_classifier"]
    contents(replace(config, seed=8), tmp_path / "next seed")
    assert made.count("classifier") == 2  # it was the control's


@pytest.mark.parametrize(
    ("group", "keys", "remade"),
    [
        ("model", {"lr": 1e-4}, {"classifier", "logits"}),
        ("model", {"name": "renamed"}, set()),
        ("embedding", {"scale": 10.0}, {"embedding", "similarity", "views"}),
        ("embedding", {"name": "renamed"}, set()),
        ("trainer", {"precision": "bf16-mixed"}, {"classifier", "logits", "embedding", "similarity", "views"}),
        ("trainer", {"progress": True}, set()),
    ],
)
def test_a_key_remakes_the_stages_that_depend_on_it(config, first, made, tmp_path, group, keys, remade):
    contents(with_part(config, group, **keys), tmp_path)
    assert set(made) == remade


def test_another_seed_and_other_data_are_other_stages(config, first, made, tmp_path, tiny_corpus):
    contents(replace(config, seed=1), tmp_path / "seed")
    assert {"classifier", "embedding"} <= set(made)
    made.clear()
    test = tiny.write_csv(tmp_path / "test.csv", 40, seed=9)
    contents(with_part(config, "dataset", test=str(test)), tmp_path / "test set")
    assert made == ["logits", "similarity"]  # of the new test split
    made.clear()
    texts = {label: f"all about {label}" for label in tiny.LABELS}
    contents(with_part(config, "dataset", label_texts=texts), tmp_path / "label texts")
    assert set(made) == {"embedding", "similarity", "views"}


@pytest.mark.parametrize(("name", "value"), [("code", "other"), ("versions", {"torch": "0"}), ("fingerprint", "other")])
def test_other_code_libraries_and_weights_are_other_stages(config, first, made, tmp_path, monkeypatch, name, value):
    for stage in (classifier, embedding):
        monkeypatch.setattr(stage, name, lambda *_: value, raising=False)
        monkeypatch.setattr(made_of, name, lambda *_: value, raising=False)
    contents(config, tmp_path)
    assert set(made) == {"classifier", "logits", "embedding", "similarity", "views"}


def test_the_same_weights_elsewhere_are_the_same(config, first, made, tmp_path):
    copy = shutil.copytree(config.model.pretrained, tmp_path / "elsewhere")
    contents(with_part(config, "model", pretrained=str(copy)), tmp_path / "run")
    assert made == []


@pytest.mark.parametrize("model", ["encoder", "nf4"])
def test_a_classifier_from_the_store_answers_as_it_did_when_trained(config, made, tmp_path, model):
    if model == "nf4":
        pretrained = str(tiny.write_llama(tmp_path / "llama"))
        llm = ModelConfig("llama", "llm", pretrained, epochs=1, batch_size=16, lr=3e-3, quantize="nf4")
        config = replace(config, model=llm)
    config = replace(with_part(config, "embedding", finetune=False), cache_dir=str(tmp_path / "store"), seed=3)
    fresh = contents(config, tmp_path / "fresh")
    assert ("classifier/adapter/adapter_model.safetensors" in fresh[2]) == (model == "nf4")
    shutil.rmtree(tmp_path / "store" / "logits")
    made.clear()
    assert contents(config, tmp_path / "reused") == fresh
    assert made == ["logits", "logits"]


def test_a_tokenised_corpus_is_reused(config, first, tmp_path, monkeypatch, tiny_bert):
    monkeypatch.setattr(tokens, "tokenize", None)  # nothing is tokenised
    contents(replace(config, seed=5), tmp_path)


def test_tokens_from_the_store_are_those_of_the_tokenizer(tmp_path, tiny_bert):
    tokenizer = load_tokenizer(str(tiny_bert))
    context = SimpleNamespace(store=Store(tmp_path), corpus=SimpleNamespace(name="tiny"))
    stored = StoredTokens(context)
    texts = [("card1 the loan2",), ("cash0", "rate1 a please rate3"), ("a",)]
    for types in (False, True):
        expected = tokenize(tokenizer, texts, 6, token_types=types)
        assert "token_type_ids" in expected[0] or not types
        assert stored(tokenizer, texts, 6, token_types=types) == expected  # made
        assert stored(tokenizer, texts, 6, token_types=types) == expected  # taken
    assert stored(tokenizer, texts, 4) == tokenize(tokenizer, texts, 4)
    assert stored(tokenizer, [], 4) == []
    assert len(list((tmp_path / "tokens").glob("*/stage.json"))) == 3
