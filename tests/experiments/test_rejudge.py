"""Recorded runs that are judged again by the rules of now come to what new runs come to."""

import gzip
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
import torch

from experiments.record import Allowed, record
from experiments.rejudge import main
from lrsl.run import pipeline, scored

BEFORE = ["label_similarity", "instances", "lexical"]
KEPT = ("id", "text", "gold", "origin", "rerank", "similarity", "hard", "top_k_before", "top_k_after")


@pytest.fixture(scope="module", params=[0, 2], ids=["held out", "out of fold"])
def made(request, tiny_corpus, tiny_bert, tmp_path_factory):
    """Records of a run by the views of old, the same run by those of now, and the folder of its data."""
    home = tmp_path_factory.mktemp("made")
    config = tiny.config(tiny_corpus, tiny_bert)
    every, free = {"_target_": "lrsl.Budget", "share": 1.0}, {"_target_": "lrsl.LogLinear", "penalty": 0.0}
    fitted = replace(config.reranker.fitted, threshold=every, fusion=free)
    config = replace(config, model=replace(config.model, epochs=1))
    reranker = replace(config.reranker, control=True, folds=request.param, fitted=fitted, deploy="fitted")
    config = replace(config, reranker=reranker, cache=True, cache_dir=str(home / "store"))
    old = replace(config, reranker=replace(reranker, fitted=replace(fitted, views=BEFORE)))
    pipeline.run(old, home / "old" / "seed0")
    (home / "old" / "seed0" / "config.json").write_text(json.dumps(asdict(old)), encoding="utf-8")
    now = pipeline.run(config, home / "now")
    record(home / "old", "tiny", Allowed(dirty=True), commit="0123456", into=home / "results")
    path = home / "results" / "tiny" / "seed0" / "config.json"
    settings = json.loads(path.read_text())
    settings |= {part: asdict(old)[part] for part in ("dataset", "embedding")}  # of which records leave out folders
    path.write_text(json.dumps(settings))
    return home / "results" / "tiny", (now, home / "now"), tiny_corpus


@pytest.fixture
def recorded(made, tmp_path):
    return shutil.copytree(made[0].parent, tmp_path / "results") / "tiny"


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_they_come_to_what_a_new_run_comes_to(made, recorded, capsys):
    _, (now, folder), data = made
    before = json.loads((recorded / "seed0" / "results.json").read_text())
    predicted = lines(recorded / "seed0" / "predictions.jsonl.gz")
    assert main([str(recorded), "--data-dir", str(data)]) == 0
    assert "judged again" in capsys.readouterr().out
    after = json.loads((recorded / "seed0" / "results.json").read_text())
    assert before["fitted"]["views"] == BEFORE
    assert max(now["fitted"]["weights"].values()) > 0
    for system in ("fitted", "control"):
        assert after[system]["views"] == now[system]["views"]
        assert after[system]["pays"] == now[system]["pays"]
        for part in ("accuracy", "hard_fraction"):  # scores are kept with 16 bits, so that a row may go the other way
            assert after[system][part] == pytest.approx(now[system][part], abs=2 / 60)
        assert after["validation"][system]["accuracy"] == pytest.approx(
            now["validation"][system]["accuracy"], abs=2 / 48
        )
        assert after["selective"][system]["aurc"] == pytest.approx(now["selective"][system]["aurc"])
    assert after["verdict"]["deployed"] == now["verdict"]["deployed"]
    for kept in ("origin", "rerank", "similarity", "significance", "seconds", "commit", "configuration"):
        assert after[kept] == before[kept]
    new = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    again = lines(recorded / "seed0" / "predictions.jsonl.gz")
    for system in ("fitted", "control", "deployed"):
        assert sum(line[system] != other[system] for line, other in zip(again, new, strict=True)) <= 2
    right = sum(line["fitted"] == line["gold"] for line in again) / len(again)
    assert right == pytest.approx(after["fitted"]["accuracy"])
    for line, old in zip(again, predicted, strict=True):
        assert {key: line[key] for key in KEPT} == {key: old[key] for key in KEPT}
        assert line["beside"].keys() == {"fitted", "control"}


def test_scores_configuration_and_index_are_those_of_now(made, recorded):
    _, (_, folder), data = made
    assert main([str(recorded), "--data-dir", str(data)]) == 0
    kept, new = scored.read(recorded / "seed0"), scored.read(folder)
    assert kept.settings == new.settings
    for split in scored.SPLITS:
        assert torch.equal(kept.alike[split], new.alike[split])
        assert torch.equal(kept.views["linear_probe"][split], new.views["linear_probe"][split])
    settings = json.loads((recorded / "seed0" / "config.json").read_text())
    assert settings["reranker"]["fitted"]["views"] == [*BEFORE, "linear_probe"]
    index = (recorded.parent / "README.md").read_text()
    told = json.loads((recorded / "seed0" / "results.json").read_text())["judged_again"]
    assert f"`; judged again at `{told}` | 0 | " in index
    assert index.count("`tiny/`") == 1
    assert sorted(path.name for path in recorded.parent.iterdir()) == ["README.md", "tiny"]
    if (folder / "suspect_labels.jsonl").is_file():
        suspects = (folder / "suspect_labels.jsonl").read_text(encoding="utf-8").splitlines()
        again = lines(recorded / "seed0" / "suspect_labels.jsonl.gz")
        assert again == [json.loads(line) | {"text": ""} for line in suspects]


def test_what_cannot_be_judged_again_is_left_as_it_is(made, recorded, tmp_path, capsys):
    data = str(made[2])
    assert main([str(tmp_path / "nowhere"), "--data-dir", data]) == 1
    assert "holds no runs that have kept scores.safetensors" in capsys.readouterr().err
    assert main([str(recorded.parent), "--data-dir", data]) == 1
    assert "is not entered in" in capsys.readouterr().err
    assert main([str(recorded), "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is no folder; name the one that holds the data of the runs" in capsys.readouterr().err
    path = recorded / "seed0" / "results.json"
    told = json.loads(path.read_text())
    content = json.dumps(told | {"origin": told["origin"] | {"accuracy": 0.125}})
    path.write_text(content)
    assert main([str(recorded), "--data-dir", data]) == 1
    assert "scores.safetensors is not of the run that results.json tells of" in capsys.readouterr().err
    assert path.read_text() == content
    assert [other.name for other in recorded.parent.iterdir() if other.name.startswith(".")] == []


def test_an_encoder_that_has_gone_is_named_and_may_be_given(made, recorded, tiny_bert, capsys):
    path = recorded / "seed0" / "config.json"
    settings = json.loads(path.read_text())
    settings["embedding"]["pretrained"] = "FOLDER/tiny"
    path.write_text(json.dumps(settings))
    assert main([str(recorded), "--data-dir", str(made[2])]) == 1
    assert "embedding.pretrained=FOLDER/tiny" in (error := capsys.readouterr().err)
    assert error.strip().endswith("; or name its folder by --pretrained")
    assert main([str(recorded), "--data-dir", str(made[2]), "--pretrained", str(tiny_bert)]) == 0


def test_a_record_is_whole_whatever_interrupts(made, recorded, monkeypatch):
    before = {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()}
    rename, places = Path.rename, []

    def interrupted(self, target):
        places.append(target)
        if Path(target) == recorded and len(places) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main([str(recorded), "--data-dir", str(made[2])])
    assert {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()} == before


def test_views_that_were_chosen_stay(made, recorded):
    path = recorded / "seed0" / "config.json"
    settings = json.loads(path.read_text())
    settings["reranker"]["fitted"]["views"] = ["instances"]
    path.write_text(json.dumps(settings))
    assert main([str(recorded), "--data-dir", str(made[2])]) == 0
    assert json.loads((recorded / "seed0" / "results.json").read_text())["fitted"]["views"] == ["instances"]


def test_one_folder_stands_for_one_encoder(made, recorded, tiny_bert, capsys):
    other = shutil.copytree(recorded / "seed0", recorded / "seed1")
    settings = json.loads((other / "config.json").read_text())
    settings["embedding"]["pretrained"] = "another"
    (other / "config.json").write_text(json.dumps(settings))
    assert main([str(recorded), "--data-dir", str(made[2]), "--pretrained", str(tiny_bert)]) == 1
    assert "would stand for two" in capsys.readouterr().err
