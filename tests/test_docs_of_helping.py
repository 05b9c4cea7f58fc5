"""The pages from a CSV to a server, and on whether that helps, are true: what they show runs, and was recorded."""

import csv
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from torch.utils.data import DataLoader

import lrsl
from experiments.runs import significance
from experiments.runs.collect import collect
from lrsl.commands import main, replay
from lrsl.config.schema import Config
from lrsl.reranking.rule import recorded_scores
from lrsl.run.rules import rule_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SERVED = re.compile(r"<!-- served: .*?-->\n(.*?)<!-- end of served -->", re.DOTALL)


def read(page):
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(code, names):
    exec(compile(code, "page", "exec"), names)
    return names


@pytest.fixture(scope="module")
def walked(tiny_bert, tmp_path_factory):
    """The folder in which all but the server of the walk-through was done, and the names that its Python has left."""
    folder = tmp_path_factory.mktemp("served")
    tiny.write_csv(folder / "all.csv", 240, 1)
    page = read("served.md")
    beside = SERVED.sub("", page)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in re.findall(r"^```(python|bash)\n(.*?)^```", beside, flags=re.MULTILINE | re.DOTALL):
            if language == "python":
                run(code.replace("where is my card?", "card0 please").replace("my card was stolen", "cash1"), names)
                continue
            for line in code.splitlines():
                assert main.main(shlex.split(line.replace(MINILM, str(tiny_bert)))[1:]) == 0, line
    return folder, names


def test_from_a_csv_to_answers(walked):
    folder, names = walked
    with (folder / "val.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 80
    assert (folder / "my-reranker" / "README.md").is_file()
    assert len((folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == len(names["new"]) == 2
    assert names["answer"].name in tiny.LABELS


def test_one_place_is_left_for_the_server():
    (part,) = SERVED.findall(read("served.md"))
    assert blocks(part, "bash") == ["lrsl serve my-reranker\n"]
    assert len(blocks(part, "python")) == 1
    assert "/rerank" in blocks(part, "python")[0]


def test_to_a_served_reranker(walked):
    folder, names = walked
    (part,) = SERVED.findall(read("served.md"))
    (line,), (code,) = blocks(part, "bash"), blocks(part, "python")
    typed = [sys.executable, "-m", *shlex.split(line), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(typed, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            (at,) = next(found for line in server.stdout if (found := re.findall(r"http://[\d.]+:\d+", line)))
            run(code.replace("http://127.0.0.1:8000", at), names)
        finally:
            server.terminate()
    reranker = lrsl.Reranker.from_pretrained(folder / "my-reranker")
    expected = reranker.answers(names["classifier"].predict_log_proba(names["new"]), names["new"])
    assert [answer["answer"] for answer in names["served"]] == [answer.name for answer in expected]


def test_what_a_verdict_says_is_shown(capsys):
    shown, control = blocks(read("how-to/does-it-help.md"), "python")
    texts, labels = tiny.samples(120, 1)
    noise = torch.randn(2, 120, 4, generator=torch.Generator().manual_seed(0))
    logits, second = noise + 2 * torch.eye(4)[labels]
    reranker = lrsl.Reranker(None, tiny.LABELS, views=[lrsl.Lexical()], rule="fitted")
    reranker.fit(logits, labels, texts, train=(*tiny.samples(120, 2), None))
    run(shown, {"reranker": reranker})
    reason, gain, hard, cost = capsys.readouterr().out.splitlines()
    verdict = reranker.report_["verdict"]
    assert reason == f"{verdict['deploy']} {verdict['reason']}"
    assert gain.startswith(f"{verdict['gain']:+.2%} of accuracy")
    assert hard == f"{verdict['n_hard']} of 120 rows are hard"
    assert cost.endswith(" s per 1,000 texts")
    held_out = {"second_logits": second, "val_logits": logits, "val_labels": torch.tensor(labels)}
    names = run(control, held_out | {"reranker": reranker})
    assert names["control"].gain > 0  # what the same knowledge and other noise say
    assert names["control"].n == 120


def test_the_gains_are_those_recorded():
    """Every row of the table stands where it says, with all of its figures in one line."""
    sources = {
        "[scikit-learn](scikit-learn.md)": read("how-to/scikit-learn.md"),
        "`experiments/results`": (ROOT / "experiments" / "results" / "README.md").read_text(encoding="utf-8"),
    }
    table = read("how-to/does-it-help.md").partition("| what was tried")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == 22
    for _, before, gain, source in rows:
        figures = re.findall(r"[+−]?\d+\.\d+(?: ± \d+\.\d+)?", f"{before} {gain}")
        lines = sources[source].splitlines()
        held = [line for line in lines if all(figure in line for figure in figures[1:])]
        assert held, (before, gain)
        assert any(figures[0] in line for line in lines), before


@pytest.mark.parametrize(
    ("data_set", "number", "folder"),
    [
        *(("Banking-77", number, f"banking77-{number}-per-class") for number in ("3", "5", "10", "20", "50")),
        ("Banking-77", "all", "banking77"),
        ("iFlyTek, multilingual-e5-small", "5", "iflytek119-fewclue-5-per-class"),
        ("iFlyTek, multilingual-e5-small", "10", "iflytek119-fewclue-10-per-class"),
        ("iFlyTek, multilingual-e5-small", "all", "iflytek119-fewclue"),
        *(("Telecom-34", number, f"telecom34-{number}-per-class") for number in ("3", "5", "10")),
        ("Telecom-34", "all", "telecom34-small"),
        ("Telecom-34", "full", "telecom34-full"),
        *(
            ("TSEC", number, f"tsec3-{number.replace(',', '')}-per-class")
            for number in ("3", "5", "10", "20", "50", "1,000")
        ),
        ("TSEC", "all", "tsec3-full"),
    ],
)
def test_the_gains_by_number_of_samples_are_those_recorded(data_set, number, folder):
    runs = [json.loads(path.read_text()) for path in (ROOT / "experiments/results" / folder).glob("*/results.json")]
    gains = [
        f"{100 * statistics.mean(run[system]['accuracy'] - run['origin']['accuracy'] for run in runs):+.2f}"
        if all(run.get(system) for run in runs)
        else ""
        for system in ("rerank", "fitted", "control")
    ]
    cells = [str(len(runs)), *(gain.replace("-", "−") for gain in gains)]
    of_data_set = read("how-to/when-it-pays.md").partition(f"| {data_set} | ")[2]
    (row,) = re.findall(rf"^(?:\| \| )?{number}\b[^|]*(\|.*\|)$", re.split(r"\n\| \w", of_data_set)[0], re.MULTILINE)
    assert [cell.strip() for cell in row.strip("|").split("|")] == cells


def test_the_verdicts_are_those_of_the_table():
    row = next(line for line in read("how-to/when-it-pays.md").splitlines() if line.startswith("| fitted | +"))
    on, _, lost, missed = (cell.strip() for cell in row.strip("| ").split("|")[3:])
    said = " ".join(read("how-to/does-it-help.md").split())
    assert f"rule was on in {on} of them, on and a loss in {lost}, off though it would have gained in {missed}" in said


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*logging interval")
def test_lightning(tiny_bert, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, used = blocks(read("how-to/lightning.md"), "python")

    def loader(n, seed):
        texts, labels = tiny.samples(n, seed)
        counts = [[text.count(label) for label in tiny.LABELS] for text in texts]
        features = torch.tensor(counts, dtype=torch.float32) + torch.randn(n, 4)
        rows = zip(features, torch.tensor(labels), torch.arange(n), strict=True)
        return texts, DataLoader([dict(zip(("features", "label", "index"), row, strict=True)) for row in rows], 20)

    torch.manual_seed(0)
    names = run(module, {"label_texts": tiny.LABELS})
    names["classifier"] = names["Classifier"](4, 4)
    for name, n in (("train", 100), ("val", 60), ("test", 60)):
        names[f"{name}_texts"], names[f"{name}_loader"] = loader(n, n)
    run(used.replace(MINILM, str(tiny_bert)), names)
    hard = names["callback"].reranked.hard
    assert 0 < names["figures"]["test/hard_fraction"] == pytest.approx(hard.float().mean().item())
    origin = names["callback"].test_logits.argmax(-1)
    assert torch.equal(names["answers"][~hard], origin[~hard])


FOLDERS = (
    {"Banking-77, all rows": "banking77", "Banking-77, all rows, folds": "banking77-folds"}
    | {f"Banking-77, {number} per label": f"banking77-{number}-per-class" for number in (3, 5, 10, 20, 50)}
    | {f"small telecom34, {number} per label": f"telecom34-{number}-per-class" for number in (3, 5, 10)}
    | {
        "Banking-77, 5 per label, folds": "banking77-5-per-class-folds",
        "small telecom34": "telecom34-small",
        "full telecom34": "telecom34-full",
        "TSEC, 50 per label, deployed in each": "tsec3-50-per-class",
        "iFlyTek, few samples": "iflytek119-fewclue",
    }
)


def test_what_the_frozen_encoder_brings_is_as_recorded():
    section = read("how-to/when-it-pays.md").partition("## What the frozen encoder brings")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| .*", section, re.MULTILINE)][1:]
    without = rule_of("rules", {"name": "it", "views": ["label_similarity", "instances", "lexical"]}, Config())
    for what, seeds, less, fitted in rows:
        runs = collect([ROOT / "experiments" / "results" / FOLDERS[what]])
        assert int(seeds) == len(runs)
        assert f"{_gain([run.folder for run in runs], without):+.2f}" == less
        results = [run.results for run in runs]
        gain = statistics.mean(run["fitted"]["if_deployed"]["accuracy"] - run["origin"]["accuracy"] for run in results)
        worth = significance.gain(runs, "origin", "fitted")  # of what is deployed
        interval = f" ({100 * worth.low:+.2f} to {100 * worth.high:+.2f})"
        deployed = all(run["verdict"]["deployed"] == "fitted" for run in results)
        assert fitted == f"{100 * gain:+.2f}" + (interval if deployed else "")
    assert {row[0] for row in rows} == FOLDERS.keys()


def _gain(folders, named):
    """Return the mean gain in points; a replay without its verdict, which takes most of the time."""
    gains = []
    for folder in folders:
        kept, val, test = replay.kept_scores(folder, named)
        labels = kept.labels["test"]
        rule = named.rule.fit(kept.logits["val"], kept.labels["val"], [recorded_scores(score) for score in val])
        answers = rule.rerank(kept.logits["test"], [recorded_scores(score) for score in test]).labels
        right, before = ((found == labels).double().mean() for found in (answers, kept.logits["test"].argmax(-1)))
        gains.append(100 * float(right - before))
    return statistics.mean(gains)
