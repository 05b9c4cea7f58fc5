"""A run that two processes compute finds what one finds with the weights it has trained."""

from dataclasses import replace

import pytest
import several
import tiny
import torch
from forked import forked
from safetensors.torch import load_file

from lrsl import core
from lrsl.data import load_corpus
from lrsl.run.stages.classifier import TrainedClassifier
from lrsl.run.stages.context import RunContext
from lrsl.run.store import Store


@pytest.fixture
def corpus(tmp_path):
    return several.write_corpus(tmp_path)


def test_two_processes_find_what_one_finds_with_their_weights(warm, tmp_path, corpus, tiny_bert):
    words = [*forked(2, "lrsl.commands.main"), *several.words(corpus, tiny_bert), "trainer.devices=2"]
    done = warm(*words, cwd=tmp_path, env=several.ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    for once in ("reading tiny …", "classifier, epoch 1/2", "embedding, epoch 2/2", "σ²_mis ="):
        assert done.stdout.count(once) == 1
    assert "UserWarning" not in done.stderr
    out = tmp_path / "out"
    found = several.results(out)
    assert (found["n_test"], found["status"]) == (300, "finished")
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 300

    config = tiny.config(corpus, tiny_bert)
    config = replace(config, model=replace(config.model, batch_size=5))
    data = load_corpus(config.dataset, None)
    context = RunContext(config, data, tmp_path, None, Store(tmp_path / "own"), logged=False)
    of_one = TrainedClassifier(context, {}, out / "classifier")
    logits = {split: of_one.logits(split) for split in ("val", "test")}
    kept = load_file(out / "scores.safetensors")
    assert all(torch.equal(kept[f"{split}.logits"], logits[split]) for split in logits)
    labels = {split: torch.tensor(data.val.labels if split == "val" else data.test.labels) for split in logits}
    threshold = core.mean_of_misclassified(core.topk_variance(logits["val"], 3), logits["val"], labels["val"])
    assert found["sigma2_mis"] == pytest.approx(threshold, rel=1e-6)
    right = (logits["test"].argmax(-1) == labels["test"]).double().mean()
    assert found["origin"]["accuracy"] == pytest.approx(float(right), abs=1e-9)

    again = warm(*words, cwd=tmp_path, env=several.ENVIRONMENT)
    assert again.returncode == 0
    assert "already finished" in again.stdout
