"""What a real run leaves in W&B's files besides its numbers: figures, the classifier and the reranker."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_tracking import pristine
from wandb_offline import offline_runs

from lrsl import Reranker
from lrsl.classifiers.build import build_network
from lrsl.commands import run as door
from lrsl.config.schema import LoggerConfig
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.run import outcome, pipeline, scored

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


@pytest.fixture(scope="module")
def tracked(tiny_corpus, tiny_bert, tmp_path_factory):
    """A run in W&B, offline, with figures and artifacts."""
    import wandb

    folder = tmp_path_factory.mktemp("tracked")
    config = tiny.config(tiny_corpus, tiny_bert)
    config = replace(config, logger=LoggerConfig(mode="offline", artifacts=True))
    config = replace(config, reranker=replace(config.reranker, deploy="fitted"))  # whatever the verdict on so few rows
    with pytest.MonkeyPatch.context() as patch:
        pristine(patch, folder / "home")
        found = pipeline.run(config, folder / "run", door.figures)
        (written,) = offline_runs(folder / "run")
        yield SimpleNamespace(config=config, folder=folder / "run", results=found, wandb=written)
    wandb.teardown()


def unpacked(tracked, name, folder):
    for path, file in tracked.wandb.artifacts[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / path)
    return folder


def test_the_figures_are_images_of_the_run(tracked):
    shown = {name: row[name] for row in tracked.wandb.history for name in row if name.startswith("figures/")}
    assert {"figures/figure4-marginal-effect", "figures/figure9-label-distance"} <= set(shown)
    for image in shown.values():
        assert image["_type"] == "image-file"
        assert (tracked.wandb.folder / "files" / image["path"]).read_bytes().startswith(b"\x89PNG")


def test_the_summary_has_every_name_and_number_that_trainers_log(tracked):
    summary = tracked.wandb.summary
    assert outcome.summary_metrics(tracked.results).items() <= summary.items()
    assert summary["val/rerank_acc"] == tracked.results["validation"]["rerank"]["accuracy"]
    by_trainers = {name for row in tracked.wandb.history for name in row if name.startswith("test/")}
    assert by_trainers
    assert by_trainers <= set(outcome.summary_metrics(tracked.results))


def test_the_classifier_can_be_built_again(tracked, tmp_path):
    folder = unpacked(tracked, "tiny-tiny-classifier", tmp_path)
    about = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    corpus = load_corpus(tracked.config.dataset, None)
    assert about["labels"] == corpus.labels
    network = build_network(tracked.config.model, corpus)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    saved = torch.load(tracked.folder / "classifier" / "best.ckpt", weights_only=True)["state_dict"]
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, saved[f"network.{name}"])


def test_the_reranker_answers_as_the_run_did(tracked, tmp_path):
    reranker = Reranker.from_pretrained(unpacked(tracked, "tiny-tiny-reranker", tmp_path))
    lines = (tracked.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in lines]
    corpus = load_corpus(tracked.config.dataset, None)
    assert reranker.label_texts == corpus.label_texts
    assert tracked.results["verdict"]["deployed"] != "origin"
    found = reranker.predict(scored.read(tracked.folder).logits["test"], [line["text"] for line in lines])
    assert [corpus.labels[label] for label in found.tolist()] == [line["deployed"] for line in lines]


def test_no_artifact_holds_a_pickle(tracked):
    files = [path for artifact in tracked.wandb.artifacts.values() for path in artifact]
    assert any(path.endswith("model.safetensors") for path in files)
    assert not [path for path in files if path.endswith(PICKLES)]


def test_only_wandb_takes_artifacts():
    with pytest.raises(InputError, match=r"logger\.artifacts=true is W&B's, and logger=csv"):
        LoggerConfig(name="csv", artifacts=True)


def test_figures_that_cannot_be_drawn_cost_a_sentence(tiny_corpus, tiny_bert, tmp_path, capfd):
    def broken(folder: Path, out: Path) -> dict[str, Path]:
        raise RuntimeError("no ink")

    config = tiny.config(tiny_corpus, tiny_bert)
    config = replace(
        config, logger=LoggerConfig(name="tensorboard"), embedding=replace(config.embedding, finetune=False)
    )
    assert pipeline.run(config, tmp_path, broken)["status"] == "finished"
    assert "The run's figures are not drawn: no ink." in capfd.readouterr().out


def test_without_matplotlib_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib" or "experiments.figures" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert door.figures(tmp_path, tmp_path) == {}
    assert "pip install 'lrsl[experiments]'" in capsys.readouterr().out
