"""A run with a detector, a threshold rule, a view and a fusion of the user's own, named in the configuration."""

import json
from dataclasses import replace

import pytest
import tiny

from lrsl.run import pipeline

OWN = {
    "detector": {"_target_": "seams.Margin", "scale": 2.0},
    "threshold": {"_target_": "seams.Share", "share": 0.5},
    "fusion": {"_target_": "seams.Sum", "strength": 3.0},
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
        assert all(line["rerank"] == line["top_k_before"][1][0] for line in hard)


def test_an_edit_of_the_views_module_makes_its_scores_anew(config, tmp_path, monkeypatch):
    made = []
    (tmp_path / "counted.py").write_text("from seams import SecondGuess as Base\n\n\nclass Guess(Base):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
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
    with (tmp_path / "counted.py").open("a") as file:
        file.write("\n# a helper below the class, say\n")
    pipeline.run(replace(config, reranker=reranker), tmp_path / "edited")
    assert made == ["similarity", "similarity"]
