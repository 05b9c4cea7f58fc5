"""Runs that are killed in the middle of a stage, and go on there when the same command is typed again."""

import json
import random
import signal
from pathlib import Path

import killing
import pytest
import tiny
import typed

ROOT = Path(__file__).resolve().parents[2]


def command(corpus: Path, pretrained: Path, *more: str) -> list[str]:
    """Return a run of four short epochs per stage, whose state is kept after every step."""
    return [
        str(ROOT / "run.py"),
        *(f"dataset.{part}={corpus / part}.csv" for part in ("train", "test")),
        *(
            "dataset=custom",
            "dataset.name=tiny",
            "model.name=tiny",
            f"model.pretrained={pretrained}",
            "model.pooling=mean",
        ),
        *(f"embedding.pretrained={pretrained}", "model.batch_size=32", "embedding.batch_size=32"),
        *("model.epochs=4", "model.patience=8", "embedding.epochs=4", "embedding.patience=8"),
        *("trainer=cpu", "trainer.progress=true", "trainer.checkpoint_minutes=0", "logger=csv", *more),
    ]


def test_a_killed_run_goes_on_inside_its_stage(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    words = command(tiny_corpus, tiny_bert, "cache=off")
    assert warm(*words, cwd=whole).returncode == 0
    for stage in ("classifier", "embedding"):
        done = warm(*words, cwd=killed, stop=(signal.SIGKILL, f"{stage}, epoch 2/4"))
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert "continuing classifier" in done.stdout
    assert "classifier, epoch 1/4" not in done.stdout
    done = warm(*words, cwd=killed)
    assert done.returncode == 0, done.stderr
    assert "continuing embedding" in done.stdout
    assert "classifier, epoch" not in done.stdout  # it was through
    assert "embedding, epoch 1/4" not in done.stdout
    assert killing.results(killed) == killing.results(whole)
    assert [path.name for path in killed.rglob(".unfinished")] == []
    assert rows(killed) == rows(whole)


def rows(folder: Path) -> list[str]:
    """Return the metrics that were logged while the embedding was trained, wherever their columns stand."""
    (path,) = folder.rglob("metrics.csv")
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    told = ({key: value for key, value in zip(header, line, strict=True) if value} for line in lines)
    return [json.dumps(row, sort_keys=True) for row in told if any(key.startswith("embedding/") for key in row)]


KINDS = {
    "folds": ["reranker.folds=2", "model.epochs=3", "embedding.epochs=3"],
    "control": ["reranker.control=true"],
    "aphan": ["model.architecture=aphan", "model.pooling=null"],
    "cross_encoder": [
        "reranker.fitted.views=[]",
        "+reranker.rules=[{name: read, views: [{_target_: lrsl.CrossEncoder, pretrained: PRETRAINED}]}]",
    ],
    "confused": ["embedding.negatives=confused"],
    "nf4": ["model.architecture=llm", "model.pooling=null", "model.quantize=nf4"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_kills_change_no_result(
    kind: str, warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    pretrained = str(tiny.write_llama(tmp_path / "llama")) if kind == "nf4" else str(tiny_bert)
    words = command(
        tiny_corpus,
        tiny_bert,
        *(word.replace("PRETRAINED", str(tiny_bert)) for word in KINDS[kind]),
        f"model.pretrained={pretrained}",
    )
    tried = killing.under_fire(warm, words, tmp_path / "tried", 3, random.Random(kind))
    assert tried.killed
    assert tried.survived, tried.killed
    assert list((tmp_path / "tried").rglob("*.training")) == []
