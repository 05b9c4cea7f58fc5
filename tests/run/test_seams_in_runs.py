"""A run with a detector, a threshold rule, a view and a fusion of the user's own, named in the configuration."""

import itertools
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch

from lrsl.reranking.view.cross_encoder import CrossEncoder
from lrsl.run import pipeline
from lrsl.run.rules import ConfiguredView
from lrsl.run.stages import embedding, made_of
from lrsl.run.store import Store

OWN = {
    "detector": {"_target_": "seams.Margin", "scale": 2.0},
    "threshold": {"_target_": "seams.Share", "share": 0.5},
    "fusion": {"_target_": "seams.Sum", "strength": 9.0},
}


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert, tmp_path_factory):
    made = tiny.config(tiny_corpus, tiny_bert)
    return replace(made, cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))


@pytest.mark.parametrize("view", ["WordOverlap", "SecondGuess"])
def test_a_run_uses_what_its_configuration_names(config, tmp_path, view):
    reranker = replace(config.reranker, **OWN, view={"_target_": f"seams.{view}"})
    found = pipeline.run(replace(config, reranker=reranker), tmp_path)
    assert 0.2 < found["hard_fraction"] < 0.8
    assert found["validation"]["hard_fraction"] == pytest.approx(0.5, abs=0.05)  # the share that was asked for
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert all((line["hardness"] < found["sigma2_mis"]) == line["hard"] for line in lines)
    if view == "SecondGuess":
        hard = [line for line in lines if line["hard"]]
        assert hard
        first_two = [[label for label, _ in line["top_k_before"][:2]] for line in hard]
        assert all(line["rerank"] in two for line, two in zip(hard, first_two, strict=True))


@pytest.mark.parametrize(
    ("threshold", "fusion"),
    [("Budget", "LogLinear"), ("BestGain", "LogLinear"), ("TargetAccuracy", "AuthorsLLM"), ("BestGain", "Paper")],
)
def test_a_run_with_what_is_shipped(config, tmp_path, threshold, fusion):
    settings = {"_target_": f"lrsl.{fusion}"} | ({"power": "auto"} if fusion == "Paper" else {})
    reranker = replace(
        config.reranker,
        detector={"_target_": "lrsl.Entropy"},
        threshold={"_target_": f"lrsl.{threshold}"},
        fusion=settings,
        view={"_target_": "seams.WordOverlap"},
        power=settings.get("power", 1.0),
    )
    found = pipeline.run(replace(config, reranker=reranker), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert all((line["hardness"] < found["sigma2_mis"]) == line["hard"] for line in lines)
    written = json.loads((tmp_path / "results.json").read_text())
    assert ("fitted_power" in written) == (fusion == "Paper")
    if fusion == "Paper":
        assert written["power"] == "auto"
        assert written["fitted_power"] >= 0
    if threshold == "Budget":
        assert written["validation"]["hard_fraction"] <= 0.1


@pytest.mark.parametrize("edited", ["counted.py", "counted_by.py", "counted.txt"])
def test_an_edit_of_what_a_view_runs_or_reads_makes_its_scores_anew(config, tmp_path, monkeypatch, edited):
    made = []
    text = "from seams import SecondGuess as Base\n\n\nclass Guess(Base):\n    def helper(self):\n"
    (tmp_path / "counted.py").write_text(f"{text}        import counted_by\n")
    (tmp_path / "counted_by.py").write_text("WORDS = 'counted.txt'\n")
    (tmp_path / "counted.txt").write_text("the\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    config = replace(config, cache_dir=str(tmp_path / "store"))
    reranker = replace(config.reranker, view={"_target_": "counted.Guess"})
    get = pipeline.Store.get

    def spy(self, stage, made_of, make, **about):
        return get(self, stage, made_of, lambda folder: (made.append(stage), make(folder)), **about)

    monkeypatch.setattr(pipeline.Store, "get", spy)
    pipeline.run(replace(config, reranker=reranker), tmp_path / "first")
    assert "similarity" in made
    made.clear()
    pipeline.run(replace(config, reranker=reranker), tmp_path / "again")
    assert made == []
    with (tmp_path / edited).open("a") as file:
        file.write("\n# a helper below the class, say\n")
    pipeline.run(replace(config, reranker=reranker), tmp_path / "edited")
    assert made == ["similarity", "similarity"]


def test_an_edit_of_the_function_that_makes_a_view_is_another_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"_target_": "making.make", "inner": {"_target_": "inner.Inner"}}
    files = [tmp_path / "making.py", tmp_path / "inner.py"]
    for file in files:
        file.write_text("def make(inner): ...\n")
    keys = [made_of.named(settings)]
    assert made_of.named(settings) == keys[0]
    for file in files:
        file.write_text("def make(inner): return inner\n")
        keys.append(made_of.named(settings))
    assert all(first != second for first, second in itertools.combinations(keys, 2))
    assert "own" not in made_of.named({"_target_": "lrsl.LabelSimilarity"})


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (made_of, "code", lambda *rooms: f"other {rooms}"),  # view/__init__.py, gaps.py or whatever they import
        (embedding, "versions", lambda packages: dict.fromkeys(packages, "0")),  # scikit-learn
        (made_of, "fingerprint", lambda *_: "other"),  # of the cross-encoder
    ],
)
def test_other_code_libraries_or_weights_are_other_scores_of_a_view(
    tmp_path, tiny_bert, monkeypatch, module, name, value
):
    keys = []
    for changed in (False, True):
        if changed:
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(Store, "get", lambda self, stage, made_of, *_, **__: keys.append(made_of) or tmp_path)
        monkeypatch.setattr(embedding, "load", lambda folder: None)
        corpus = SimpleNamespace(
            label_texts=tiny.LABELS, name="tiny", train=SimpleNamespace(fingerprint=lambda: "train")
        )
        test = SimpleNamespace(fingerprint=lambda: "test", texts=[])
        settings = SimpleNamespace(
            reranker=SimpleNamespace(k=2),
            model=SimpleNamespace(name="tiny"),
            trainer=SimpleNamespace(checkpoint_minutes=15.0),
            seed=0,
        )
        context = SimpleNamespace(
            corpus=corpus,
            config=settings,
            split=lambda _, test=test: test,
            store=Store(tmp_path),
            predicted=("val", "test"),
            earlier=[],
        )
        view = ConfiguredView(
            CrossEncoder(str(tiny_bert)), {"_target_": "lrsl.CrossEncoder", "pretrained": str(tiny_bert)}
        )
        embedding.TextEmbedding(context, {"of": "one"}, "").scores(view, "test", torch.rand(3, 4))
    first, second = ({**made_of, "candidates": None} for made_of in keys)
    assert first != second
