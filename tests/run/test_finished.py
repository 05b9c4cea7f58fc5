import gzip
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import pytest
import tiny

from lrsl import fingerprint
from lrsl.config.schema import Config, EmbeddingConfig
from lrsl.data import load_corpus
from lrsl.run import finished, provenance, results


@pytest.fixture
def config(tiny_corpus: Path, tiny_bert: Path) -> Config:
    return tiny.config(tiny_corpus, tiny_bert)


@pytest.fixture
def measured(config: Config) -> dict[str, Any]:
    """As much of a run's results as tells whether it has finished."""
    fingerprint = load_corpus(config.dataset, config.data_dir).fingerprint()
    return {"status": "finished", "data": fingerprint, "versions": {"lrsl": version("lrsl"), "torch": "1.0"}}


def finish(config: Config, folder: Path, measured: dict[str, Any]) -> None:
    results.write(folder, measured)
    finished.record_finish(asdict(config), folder)


def known(config: Config, folder: Path) -> dict[str, Any] | None:
    return finished.results_of(config, asdict(config), folder)


def test_a_finished_run_is_known_until_its_data_change(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    tiny.write_corpus(corpus)
    moved = replace(config.dataset, train=str(corpus / "train.csv"), test=str(corpus / "test.csv"))
    config = replace(config, dataset=moved)
    finish(config, tmp_path, measured)
    assert known(config, tmp_path) == measured

    with (corpus / "test.csv").open("a", encoding="utf-8") as file:
        file.write("one card1 more,card\n")
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("kind", ["x.parquet", "saved", "x.csv.gz"])
def test_changed_contents_are_seen_whatever_holds_them(
    config: Config, measured: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    def write(seed: int) -> None:
        texts, labels = tiny.samples(240, seed)
        data = datasets.Dataset.from_dict({"text": texts, "label": [tiny.LABELS[label] for label in labels]})
        if kind == "saved":
            data.save_to_disk(str(tmp_path / kind))
        elif kind == "x.parquet":
            data.to_parquet(str(tmp_path / kind))
        else:
            plain = tiny.write_csv(tmp_path / "x.csv", 240, seed)
            (tmp_path / kind).write_bytes(gzip.compress(plain.read_bytes()))

    write(seed=1)
    config = replace(config, dataset=replace(config.dataset, train=str(tmp_path / kind)))
    finish(config, tmp_path, measured | {"data": load_corpus(config.dataset, None).fingerprint()})
    assert known(config, tmp_path) is not None
    write(seed=1)
    assert known(config, tmp_path) is not None
    write(seed=3)
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("change", [{"status": "failed"}, {"versions": {"lrsl": "0.0.0"}}, {"data": "other"}])
def test_a_run_that_failed_or_was_made_otherwise_has_not_finished(
    config: Config, measured: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    assert known(config, tmp_path) is None
    finish(config, tmp_path, measured)
    assert known(config, tmp_path) == measured
    results.write(tmp_path, measured | change)
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("change", [{"commit": "0123456789+"}, {"commit": None}, {"machine": "another"}])
def test_a_run_made_at_another_commit_or_machine_has_finished_all_the_same(
    config: Config, measured: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    finish(config, tmp_path, measured | change)
    assert known(config, tmp_path) == measured | change


def test_results_are_of_the_configuration_that_was_noted_last(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    results.write(tmp_path, measured)
    assert known(config, tmp_path) is None  # interrupted before the note
    finish(config, tmp_path, measured)
    assert known(replace(config, seed=7), tmp_path) is None
    assert known(replace(config, rerun=True, cache=False), tmp_path) == measured  # keys that change no result


@pytest.mark.parametrize("damaged", ["", "[1]", '{"seed": '])
def test_a_damaged_note_is_none(config: Config, measured: dict[str, Any], tmp_path: Path, damaged: str) -> None:
    finish(config, tmp_path, measured)
    (tmp_path / finished.CONFIGURATION).write_text(damaged)
    assert known(config, tmp_path) is None


def test_a_failure_is_recorded_over_anything_but_finished_results(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    for reason in ("no such luck", "nor this time"):
        finished.record_failure(asdict(config), tmp_path, reason)
        failed = json.loads((tmp_path / results.RESULTS).read_text())
        assert failed.items() >= {"status": "failed", "error": reason, "dataset": "tiny", "seed": 0}.items()
    finish(config, tmp_path, measured)
    finished.record_failure(asdict(config), tmp_path, "no such luck")
    assert results.read(tmp_path) == measured
    finished.record_failure(asdict(replace(config, rerun=True)), tmp_path, "no such luck")
    assert (results.read(tmp_path) or {})["status"] == "failed"


@pytest.mark.parametrize("value", [None, [], "x", 1])
@pytest.mark.parametrize(
    ("file", "key"),
    [
        *((results.RESULTS, key) for key in ("versions", "data", "status", finished.OF)),
        *((finished.MADE_OF, key) for key in ("left", "weights", "libraries", "code")),
        *((finished.CONFIGURATION, key) for key in ("trainer", "model", "dataset", "seed")),
    ],
)
def test_what_a_finished_run_says_of_itself_may_be_anything(
    config: Config, measured: dict[str, Any], tmp_path: Path, file: str, key: str, value: Any
) -> None:
    finish(config, tmp_path, measured)
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**content, key: value}))
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("name", ["hard_samples.csv", "embedding/planted.json", "predictions.jsonl"])
@pytest.mark.parametrize("change", ["deleted", "changed", "added"])
def test_files_of_a_finished_run_are_those_that_it_has_left(
    config: Config, measured: dict[str, Any], tmp_path: Path, capsys: Any, name: str, change: str
) -> None:
    (tmp_path / "embedding").mkdir()
    if change != "added":
        (tmp_path / name).write_text("1")
    finish(config, tmp_path, measured)
    assert known(config, tmp_path) == measured
    capsys.readouterr()
    if change == "deleted":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text("2")
    assert known(config, tmp_path) is None
    reason = {"deleted": "is missing", "changed": "has changed", "added": "was added"}[change]
    assert capsys.readouterr().out == f"running again, since {name} {reason}: {tmp_path}\n"


@pytest.fixture
def own(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run with weights, a view and a fusion of its own, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "embedding"):
        shutil.copytree(config.model.pretrained, tmp_path / name)
    (tmp_path / "overlap.py").write_text("from counting import counted\n\n\nclass Overlap: ...\n")
    (tmp_path / "counting.py").write_text("def counted(): return open('stop.txt').read()\n")
    (tmp_path / "sums.py").write_text("class Sum: ...\n")
    (tmp_path / "stop.txt").write_text("the")
    (tmp_path / "given.txt").write_text("the")
    view = {"_target_": "overlap.Overlap", "words": "given.txt"}
    return replace(
        config,
        model=replace(config.model, pretrained="model"),
        embedding=replace(config.embedding, pretrained=str(tmp_path / "embedding")),
        reranker=replace(
            config.reranker, rules=[{"name": "mine", "views": [view]}], fusion={"_target_": "sums.Sum", "strength": 1}
        ),
    )


def flipped(path: Path) -> None:
    """Change one bit of a file; its size and the time of its last change stay."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model/model.safetensors", "the weights in model.pretrained have changed"),
        ("model/tokenizer.json", "the weights in model.pretrained have changed"),
        ("embedding/model.safetensors", "the weights in embedding.pretrained have changed"),
        ("embedding/config.json", "the weights in embedding.pretrained have changed"),
        ("overlap.py", "the code of overlap.Overlap has changed"),
        ("counting.py", "the code of overlap.Overlap has changed"),
        ("sums.py", "the code of sums.Sum has changed"),
        ("given.txt", "what reranker.rules.0.views.0.words names has changed"),
        ("stop.txt", "stop.txt, which overlap.Overlap reads, has changed"),
    ],
)
@pytest.mark.parametrize("change", ["flipped", "gone", "moved"])
def test_a_finished_run_is_known_until_what_it_is_made_of_changes(
    own: Config, measured: dict[str, Any], tmp_path: Path, capsys: Any, name: str, reason: str, change: str
) -> None:
    run = tmp_path / "run"
    finish(own, run, measured)
    assert known(own, run) == measured
    assert capsys.readouterr().out == ""
    if change == "flipped":
        flipped(tmp_path / name)
    elif change == "gone":
        (tmp_path / name).unlink()
    else:  # the same content in another file is the same
        shutil.copy(tmp_path / name, tmp_path / "copy")
        (tmp_path / "copy").replace(tmp_path / name)
    assert known(own, run) == (measured if change == "moved" else None)
    told = capsys.readouterr().out
    if change == "flipped":
        assert told.startswith("running again, since ")
        assert told.endswith(f"{reason}: {run}\n")
    assert told.count("\n") == (change != "moved")


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("torch", "torch is 9.9 and was "),
        ("scikit-learn", "scikit-learn is 9.9 and was "),
        ("sentence-transformers", "sentence-transformers is 9.9 and was "),
        ("numpy", "numpy is 9.9 and was "),
        ("lrsl", "lrsl is 9.9 and was "),
    ],
)
def test_another_version_of_a_library_is_another_run(
    config: Config,
    measured: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    package: str,
    reason: str,
) -> None:
    finish(config, tmp_path, measured)
    of = importlib.metadata.version
    for module in (importlib.metadata, finished):
        monkeypatch.setattr(module, "version", lambda name: "9.9" if name == package else of(name))
    assert known(config, tmp_path) is None
    assert reason in capsys.readouterr().out


def test_other_code_of_this_package_is_another_run(
    config: Config, measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    finish(config, tmp_path / "run", measured)
    copy = shutil.copytree(provenance.PACKAGE, tmp_path / "lrsl", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    provenance.code.cache_clear()
    assert known(config, tmp_path / "run") == measured
    with (copy / "metrics.py").open("a") as file:
        file.write("\n# more\n")
    provenance.code.cache_clear()
    assert known(config, tmp_path / "run") is None
    assert "lrsl's code has changed" in capsys.readouterr().out
    monkeypatch.undo()
    provenance.code.cache_clear()


@pytest.mark.parametrize("damaged", [None, "", "[]", "{}", '{"hashed": [], "libraries": {}}', '{"hashed": [["x"]]}'])
def test_a_run_that_does_not_say_what_it_is_made_of_is_run_again(
    config: Config, measured: dict[str, Any], tmp_path: Path, capsys: Any, damaged: str | None
) -> None:
    finish(config, tmp_path, measured)
    if damaged is None:
        (tmp_path / finished.MADE_OF).unlink()
    else:
        (tmp_path / finished.MADE_OF).write_text(damaged)
    assert known(config, tmp_path) is None
    assert "running again, since " in capsys.readouterr().out


def test_what_cannot_be_known_is_run_again(own: Config, measured: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "counting.py").write_text("import sys\nmine = __import__(sys.argv[0])\n")
    finish(own, tmp_path / "run", measured)
    assert known(own, tmp_path / "run") is None
    assert "the code of overlap.Overlap cannot be told from others" in capsys.readouterr().out
    elsewhere = replace(own, embedding=EmbeddingConfig(name="tiny", pretrained="nobody/nothing-of-the-kind"))
    finish(elsewhere, tmp_path / "run", measured)
    assert known(elsewhere, tmp_path / "run") is None
    assert "the weights in embedding.pretrained cannot be told from others" in capsys.readouterr().out


def test_what_a_run_writes_itself_does_not_make_it_another(
    own: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    before = provenance.provenance(asdict(own))
    (tmp_path / "stop.txt").write_text("written by the view, as a log")
    results.write(tmp_path / "run", measured)
    finished.record_finish(asdict(own), tmp_path / "run", before)
    assert known(own, tmp_path / "run") == measured


def test_a_file_that_appears_after_a_run_makes_it_another(
    own: Config, measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "counting.py").write_text(
        "import os\nGIVEN = os.getenv('MINE_WORDS')\n\ndef counted(): return open('more.txt'), open('log.txt', 'a')\n"
    )
    before = provenance.provenance(asdict(own))
    (tmp_path / "log.txt").write_text("written by the view")
    results.write(tmp_path / "run", measured)
    finished.record_finish(asdict(own), tmp_path / "run", before)
    (tmp_path / "log.txt").write_text("written by another run of the view")
    assert known(own, tmp_path / "run") == measured
    (tmp_path / "more.txt").write_text("the")
    assert known(own, tmp_path / "run") is None
    assert "more.txt, which overlap.Overlap reads, has changed" in capsys.readouterr().out
    (tmp_path / "more.txt").unlink()
    assert known(own, tmp_path / "run") == measured
    monkeypatch.setenv("MINE_WORDS", "3")
    assert known(own, tmp_path / "run") is None
    assert "$MINE_WORDS, which overlap.Overlap reads, has changed" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["folder", "./folder", "folder/*.md"])
def test_folders_and_patterns_in_the_settings_of_a_view_are_read(
    own: Config, measured: dict[str, Any], tmp_path: Path, given: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "words.md").write_text("the")
    view = {"_target_": "overlap.Overlap", "words": given}
    own = replace(own, reranker=replace(own.reranker, rules=[{"name": "mine", "views": [view]}]))
    finish(own, tmp_path / "run", measured)
    assert known(own, tmp_path / "run") == measured
    (tmp_path / "folder" / "words.md").write_text("an")
    assert known(own, tmp_path / "run") is None
    finish(own, tmp_path / "run", measured)
    (tmp_path / "folder" / "other.md").write_text("an")
    assert known(own, tmp_path / "run") is None


def test_what_changes_while_a_run_trains_makes_it_another(
    own: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    before = provenance.provenance(asdict(own))
    flipped(tmp_path / "model" / "model.safetensors")
    results.write(tmp_path / "run", measured)
    finished.record_finish(asdict(own), tmp_path / "run", before)
    assert known(own, tmp_path / "run") is None


def test_nothing_slow_is_loaded_to_tell_whether_a_run_has_finished() -> None:
    program = (
        "import sys; from lrsl.run import finished, provenance; from lrsl import fingerprint\n"
        f"fingerprint.folder_of({fingerprint.MINILM!r}); fingerprint.folder_of('a/b')\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
