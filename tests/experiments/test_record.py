"""Recording a sweep: what is kept, what is refused, and what studies make of it."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fabricated_results import write_failure
from fabricated_runs import write_sweep

from experiments import record, report
from experiments.record import HEADER, Allowed, with_row
from experiments.report.jobs import commands, jobs_of
from experiments.runs import significance
from experiments.runs.collect import collect
from experiments.runs.configurations import configurations
from experiments.runs.portable import portable, portable_override
from experiments.runs.predictions import predictions
from lrsl.errors import InputError
from lrsl.run import results

SECRET = "/home/somebody/models"
OLD = "| `old/` | `python run.py` | `abc` | 0 | a machine |"


def change(path: Path, **changed: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changed.items():
        *groups, last = key.split("__")
        node = content
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three seeds of one configuration, made at one commit, with data and model in folders of this machine."""
    folder = write_sweep(tmp_path / "multirun_outputs", [{"seed": seed} for seed in (0, 1, 2)])
    for run in folder.parent.parent.rglob("seed*"):
        change(run / "results.json", commit="abc1234567", machine="2 CPU cores, x86_64", precision="bf16-mixed")
        change(
            run / "config.json",
            data_dir="/srv/data",
            dataset__source="synthetic",
            model__pretrained=f"{SECRET}/of mine/bert",
        )
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    for line in lines:
        line["overrides"] += ["data_dir=/srv/data", f"model.pretrained={SECRET}/of mine/bert", "rerun=true"]
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.md").write_text("| telecom | bert | dataset.train=/srv/data/a.csv | 3 | 90.00 ± 1.00 |\n")
    (folder / "summary.csv").write_text("dataset,model\ntelecom,bert\n")
    return folder


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder of recorded results, with an index."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "README.md").write_text(f"# Results\n\n{HEADER}\n|---|---|---|---|---|\n{OLD}\n\nMore.\n")
    return folder


def content(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_folders(sweep: Path) -> list[Path]:
    return sorted(sweep.parent.parent.rglob("seed*"))


def test_what_studies_read_is_kept_and_nothing_else(sweep: Path, recorded: Path) -> None:
    (run_folders(sweep)[0] / "classifier").mkdir()
    (run_folders(sweep)[0] / "classifier" / "best.ckpt").write_bytes(b"large")
    record.record(sweep, "telecom-bert", into=recorded)
    each = [".hydra/overrides.yaml", "config.json", "predictions.jsonl.gz", "results.json"]
    assert sorted(content(recorded / "telecom-bert")) == sorted(
        [
            "summary.csv",
            "summary.md",
            "seed0/labels.json",
            *(f"seed{seed}/{file}" for seed in range(3) for file in each),
        ]
    )
    for seed, run in enumerate(run_folders(sweep)):
        kept = recorded / "telecom-bert" / f"seed{seed}"
        assert (kept / "results.json").read_bytes() == (run / "results.json").read_bytes()
        assert gzip.decompress((kept / "predictions.jsonl.gz").read_bytes()) == (run / "predictions.jsonl").read_bytes()
    assert not list(recorded.glob(".*"))


def test_significance_over_seeds_is_the_same_as_before(sweep: Path, recorded: Path) -> None:
    before = significance.gain(collect([sweep.parent.parent]), "origin", "rerank")
    record.record(sweep, "telecom-bert", into=recorded)
    shutil.rmtree(sweep.parent.parent)
    (one,) = configurations(collect([recorded]))
    assert sorted(one.runs) == [0, 1, 2]
    worth = significance.gain(list(one.runs.values()), "origin", "rerank")
    assert worth == before
    assert worth.unknown is None
    page = report.write(recorded / "telecom-bert").read_text(encoding="utf-8")
    assert "seed=0,1,2" in page
    assert "abc1234567" in page
    assert SECRET not in page


def test_a_recorded_run_and_its_original_count_once(sweep: Path, recorded: Path) -> None:
    record.record(sweep, "telecom-bert", into=recorded)
    (one,) = configurations(collect([sweep.parent.parent, recorded]))
    assert sorted(one.runs) == [0, 1, 2]


def test_no_folder_of_the_machine_is_kept(sweep: Path, recorded: Path, tmp_path: Path) -> None:
    row = record.record(sweep, "telecom-bert", into=recorded)
    for path in recorded.rglob("*"):
        if path.is_file():
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for folder in ("/home/", "/srv/", str(tmp_path)):
                assert folder.encode() not in data, path
    assert "'model.pretrained=FOLDER/bert'" in row or "model.pretrained=FOLDER/bert" in row
    assert "data_dir=FOLDER " in row
    settings = json.loads((recorded / "telecom-bert" / "seed0" / "config.json").read_text())
    assert (settings["data_dir"], settings["model"]["pretrained"]) == ("FOLDER", "FOLDER/bert")
    assert "dataset.train=FOLDER/a.csv" in (recorded / "telecom-bert" / "summary.md").read_text()


def test_the_index_gets_a_row(sweep: Path, recorded: Path) -> None:
    row = record.record(sweep, "telecom-bert", into=recorded)
    command = "python run.py dataset=telecom model=bert seed=0,1,2 data_dir=FOLDER model.pretrained=FOLDER/bert -m"
    assert row == f"| `telecom-bert/` | `{command}` | `abc1234567` | 0–2 | 2 CPU cores, x86_64; bf16-mixed |"
    text = (recorded / "README.md").read_text()
    assert text == f"# Results\n\n{HEADER}\n|---|---|---|---|---|\n{OLD}\n{row}\n\nMore.\n"
    record.record(sweep, "telecom-bert", Allowed(replace=True), into=recorded)
    assert (recorded / "README.md").read_text() == text


def more_seeds(root: Path, seeds: tuple[int, ...], **results: Any) -> Path:
    """A sweep like `sweep`, of other seeds, on a machine with folders of its own."""
    folder = write_sweep(root, [{"seed": seed} for seed in seeds])
    for run in run_folders(folder):
        change(run / "results.json", commit="def7654321", machine="2 CPU cores, x86_64", precision="32-true", **results)
        change(run / "config.json", data_dir="/mnt", dataset__source="synthetic", model__pretrained="/mnt/bert")
    return folder


def test_seeds_are_added_to_what_is_recorded(sweep: Path, recorded: Path, tmp_path: Path) -> None:
    record.record(sweep, "telecom-bert", into=recorded)
    before = content(recorded / "telecom-bert")
    row = record.record(more_seeds(tmp_path / "b", (3, 4)), "telecom-bert", Allowed(add=True), into=recorded)
    assert "| `abc1234567`, `def7654321` | 0–4 |" in row
    assert row in (recorded / "README.md").read_text().splitlines()
    after = content(recorded / "telecom-bert")
    assert {path for path in after if after[path] != before.get(path)} == {
        *("summary.md", "summary.csv"),
        *(path for path in after if path.startswith(("seed3/", "seed4/"))),
    }
    assert "| telecom | bert | 5 |" in (recorded / "telecom-bert" / "summary.md").read_text()
    (one,) = configurations(collect([recorded]))
    assert sorted(one.runs) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("seeds", "changed", "message"),
    [
        ((2, 3), {}, "seed2 is there already; add other seeds, or --replace"),
        ((3,), {"data": "other rows"}, "is of no configuration that"),
        ((3,), {"model": "roberta"}, "is of no configuration that"),
    ],
)
def test_what_is_added_are_other_seeds_of_the_same(
    sweep: Path, recorded: Path, tmp_path: Path, seeds: tuple[int, ...], changed: dict[str, Any], message: str
) -> None:
    record.record(sweep, "telecom-bert", into=recorded)
    before = content(recorded)
    with pytest.raises(InputError, match=message):
        record.record(more_seeds(tmp_path / "b", seeds, **changed), "telecom-bert", Allowed(add=True), into=recorded)
    assert content(recorded) == before


def test_seeds_are_added_to_something(sweep: Path, recorded: Path) -> None:
    with pytest.raises(InputError, match="nothing can be added; leave out --add"):
        record.record(sweep, "telecom-bert", Allowed(add=True), into=recorded)
    with pytest.raises(InputError, match="give one of them"):
        record.record(sweep, "telecom-bert", Allowed(add=True, replace=True), into=recorded)


def test_a_row_takes_the_place_of_the_one_before_or_makes_a_table() -> None:
    text = f"{HEADER}\n|---|---|---|---|---|\n{OLD}\n| `b/` | 2 |\n"
    assert with_row(text, "old", "| `old/` | new |").splitlines()[2:] == ["| `old/` | new |", "| `b/` | 2 |"]
    assert with_row("", "a", "| `a/` |").splitlines() == [HEADER, "|---|---|---|---|---|", "| `a/` |"]


def test_the_same_runs_make_the_same_bytes(sweep: Path, recorded: Path, tmp_path: Path) -> None:
    record.record(sweep, "one", into=recorded)
    for run in run_folders(sweep):
        (run / "predictions.jsonl").touch()
    record.record(sweep, "two", into=recorded)
    assert content(recorded / "one") == content(recorded / "two")


def test_texts_that_others_have_made_are_left_out_unless_asked_for(
    sweep: Path, recorded: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for run in run_folders(sweep):
        change(run / "config.json", dataset__source="https://example.org/questions")
    record.record(sweep, "without", into=recorded)
    assert "its texts are left out; --texts keeps them" in caplog.text
    record.record(sweep, "with", Allowed(texts=True), into=recorded)
    texts = {
        name: {line["text"] for line in predictions(collect([recorded / name])[1])} for name in ("without", "with")
    }
    assert texts["without"] == {""}
    assert len(texts["with"]) == 120
    worth = [significance.gain(collect([recorded / name]), "origin", "rerank") for name in texts]
    assert worth[0] == worth[1]


def test_the_command_is_the_one_typed_in_whatever_order_jobs_ended(sweep: Path) -> None:
    lines = [json.loads(line) for line in (sweep / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    typed = commands(jobs_of(sweep))
    numbered = [json.dumps(line | {"job": number}) for number, line in enumerate(lines)]
    (sweep / "runs.jsonl").write_text("\n".join(reversed(numbered)) + "\n", encoding="utf-8")
    assert len(lines) > 1
    assert commands(jobs_of(sweep)) == typed


def test_several_configurations_have_folders_of_their_own(tmp_path: Path, recorded: Path) -> None:
    runs = [{"model": model, "seed": seed} for model in ("bert", "roberta") for seed in (0, 1)]
    sweep = write_sweep(tmp_path / "multirun_outputs", runs)
    record.record(sweep, "models", commit="abc", machine="a GPU", into=recorded)
    found = sorted(path.parent.relative_to(recorded).as_posix() for path in recorded.rglob("results.json"))
    assert found == [f"models/telecom/{model}/0a1b2c3d/seed{seed}" for model in ("bert", "roberta") for seed in (0, 1)]
    assert {one.model: sorted(one.runs) for one in configurations(collect([recorded]))} == {
        "bert": [0, 1],
        "roberta": [0, 1],
    }
    assert "| `abc` | 0, 1 | a GPU |" in (recorded / "README.md").read_text()


def fail(sweep: Path) -> None:
    """Let seed 3 fail."""
    folder = run_folders(sweep)[0].parent / "seed3"
    folder.mkdir()
    write_failure(folder, f"{SECRET}/bert is no folder here", dataset="telecom", model="bert", seed=3)
    line = {"dataset": "telecom", "model": "bert", "seed": 3, "folder": str(folder), "overrides": ["seed=3"]}
    with (sweep / "runs.jsonl").open("a") as file:
        file.write(json.dumps(line | {"status": "failed", "error": f"{SECRET}/bert is no folder here"}) + "\n")


def test_a_sweep_with_failures_is_refused_unless_they_may_be_seen(sweep: Path, recorded: Path) -> None:
    fail(sweep)
    before = content(recorded)
    with pytest.raises(InputError, match=r"^1 of 4 jobs of .* failed \(seed=3: .*with --failed$"):
        record.record(sweep, "telecom-bert", into=recorded)
    assert content(recorded) == before
    row = record.record(sweep, "telecom-bert", Allowed(failed=True), into=recorded)
    assert "| 0–2 |" in row
    failed = results.read(recorded / "telecom-bert" / "seed3")
    assert failed is not None
    assert (failed["status"], failed["error"]) == ("failed", "FOLDER/bert is no folder here")
    (one,) = configurations(collect([recorded]))
    assert (sorted(one.runs), sorted(one.failed)) == ([0, 1, 2], [3])


@pytest.mark.parametrize(
    ("commit", "sentence"),
    [("abc1234567+", "made with changes that are not committed"), (None, "does not say at which commit it was made")],
)
def test_runs_that_cannot_be_made_again_are_refused(
    sweep: Path, recorded: Path, commit: str | None, sentence: str
) -> None:
    change(run_folders(sweep)[1] / "results.json", commit=commit)
    before = content(recorded)
    with pytest.raises(InputError, match=f"seed1 (was )?{sentence}") as caught:
        record.record(sweep, "telecom-bert", into=recorded)
    assert "\n" not in str(caught.value)
    assert content(recorded) == before
    if commit is None:
        assert "| `abc1234567`, `def` |" in record.record(sweep, "telecom-bert", commit="def", into=recorded)
    else:
        row = record.record(sweep, "telecom-bert", Allowed(dirty=True), into=recorded)
        assert "| `abc1234567`, `abc1234567+` |" in row


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".hidden", "two words"])
def test_a_name_is_one_of_a_folder(sweep: Path, recorded: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name for a folder"):
        record.record(sweep, name, into=recorded)


def test_the_command_line(
    sweep: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "RECORDED", recorded)
    monkeypatch.setattr(record.record, "__kwdefaults__", {"commit": None, "machine": None, "into": recorded})
    assert record.main([str(sweep), "telecom-bert"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("| `telecom-bert/` | `python run.py dataset=telecom ")
    assert "15 files, " in output.out
    assert output.err == ""
    assert record.main([str(sweep), "telecom-bert"]) == 1
    assert (
        capsys.readouterr().err
        == f"{recorded / 'telecom-bert'} is there already; choose another name, --replace it, or --add seeds to it\n"
    )
    assert record.main([str(sweep / "nowhere"), "x"]) == 1
    assert "is not a folder; name a sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv/data/x.csv", "FOLDER/x.csv"),
        ("/srv/my data/x.csv", "FOLDER/x.csv"),
        ("C:\\Users\\me\\x.csv", "FOLDER/x.csv"),
        ("~/x.csv", "FOLDER/x.csv"),
        ("dataset.train=/a/b.csv: line 3", "dataset.train=FOLDER/b.csv: line 3"),
        ("['/a/b.csv','/a/c']", "['FOLDER/b.csv','FOLDER/c']"),
        ("/a/b,/a/c", "FOLDER/b,FOLDER/c"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("https://example.org/a/b.csv", "https://example.org/a/b.csv"),
        ("data/x.csv", "data/x.csv"),
        ("mended / broken and/or 1/2", "mended / broken and/or 1/2"),
        ("/", "/"),
        ([{"data_dir": "/srv/data", "k": 3}], [{"data_dir": "FOLDER", "k": 3}]),
    ],
)
def test_paths_are_shortened_and_other_texts_left_alone(text: Any, expected: Any) -> None:
    assert portable(text) == expected
    if isinstance(text, str):
        key = "=" if text.startswith("dataset") else "model.pretrained="
        assert portable_override(f"{key}{text}") == f"{key}{expected}"


def test_overrides_may_be_quoted() -> None:
    assert portable_override("data_dir='/my data'") == "data_dir='FOLDER'"
    assert portable_override("+dataset.text='a b'") == "+dataset.text='a b'"
    assert portable_override("-m") == "-m"


@pytest.mark.parametrize("source", ["synthetic", "somebody"])
def test_suspect_labels_are_kept_without_the_texts_of_others(sweep: Path, recorded: Path, source: str) -> None:
    line = {"id": "train-1", "text": "lost my card", "given": "cash", "likelier": "card"}
    folder = run_folders(sweep)[1]
    change(folder / "config.json", dataset__source=source)
    (folder / results.SUSPECTS).write_text(json.dumps(line) + "\n", encoding="utf-8")
    record.record(sweep, "telecom-bert", into=recorded)
    (kept,) = (recorded / "telecom-bert").rglob(f"{results.SUSPECTS}.gz")
    assert kept.parent.name == "seed1"
    expected = line if source == "synthetic" else {**line, "text": ""}
    assert json.loads(gzip.decompress(kept.read_bytes())) == expected
